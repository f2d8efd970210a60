#include "train/mixing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "edgecompress/error.h"
#include "util/random.h"

namespace edgecompress {

Options<MixingOptions> mixing_options() {
  Options<MixingOptions> o;
  o.add("name", &MixingOptions::name,
        "mixup averages two samples, cutmix puts a box of one into the other")
      .one_of({"mixup", "cutmix"});
  o.add("alpha", &MixingOptions::alpha,
        "shares are drawn from Beta(alpha, alpha); by default 0.2 for mixup, 1 for cutmix")
      .above(0)
      .at_most(100);
  return o;
}

namespace {

/// Gamma(shape, 1). Marsaglia & Tsang 2000, "A Simple Method for Generating Gamma Variables"
double draw_gamma(Random& random, double shape) {
  if (shape < 1) {
    return draw_gamma(random, shape + 1) * std::pow(1 - random.uniform(), 1 / shape);
  }
  const double d = shape - 1.0 / 3;
  while (true) {
    const double x = random.normal();
    const double v = std::pow(1 + x / std::sqrt(9 * d), 3);
    if (v > 0 && std::log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return d * v;
    }
  }
}

double draw_share(Random& random, double alpha) {
  const double one = draw_gamma(random, alpha), other = draw_gamma(random, alpha);
  return one + other > 0 ? one / (one + other) : 0.5;  // both can be 0 for a tiny alpha
}

void check_mixable(const Batch& batch, const std::string& name) {
  for (const at::Tensor& input : batch.inputs) {
    if (!input.is_floating_point()) {
      throw Error(ExitCode::kPass,
                  "mixing " + name + " needs inputs of floating point, found " +
                      c10::toString(input.scalar_type()),
                  "leave mixing out for this network");
    }
    if (name == "cutmix" && input.dim() != 4) {
      throw Error(ExitCode::kPass,
                  "mixing cutmix needs pictures [n, channels, height, width], found an input of " +
                      std::to_string(input.dim()) + " dimensions",
                  "choose mixup");
    }
  }
  const at::Tensor& target = batch.target;
  if (target.defined() && target.scalar_type() == at::kLong && target.dim() > 1) {
    throw Error(ExitCode::kPass, "mixing needs one class a sample, found several",
                "leave mixing out for this data");
  }
}

/// Puts the box of `partner` into `image`; returns its share of the area.
double put_box(at::Tensor& image, const at::Tensor& partner, double share, double x, double y) {
  const auto range = [&](double centre, std::int64_t size) {
    const auto half = static_cast<std::int64_t>(std::sqrt(share) * static_cast<double>(size)) / 2;
    const auto middle = static_cast<std::int64_t>(centre * static_cast<double>(size));
    return std::pair(std::max<std::int64_t>(middle - half, 0), std::min(middle + half, size));
  };
  const auto [top, bottom] = range(y, image.size(2));
  const auto [left, right] = range(x, image.size(3));
  image = image.clone();
  image.slice(2, top, bottom)
      .slice(3, left, right)
      .copy_(partner.slice(2, top, bottom).slice(3, left, right));
  return static_cast<double>((bottom - top) * (right - left)) /
         static_cast<double>(image.size(2) * image.size(3));
}

}  // namespace

void mix(Batch& batch, const MixingOptions& options, std::uint64_t seed) {
  check_mixable(batch, options.name);
  const bool is_mixup = options.name == "mixup";
  Random random(seed);
  const double share = draw_share(random, options.alpha.value_or(is_mixup ? 0.2 : 1.0));
  const double x = random.uniform(), y = random.uniform();
  const at::Tensor partners = at::tensor(random.permutation(batch.size));
  batch.other_share = share;
  for (at::Tensor& input : batch.inputs) {
    const at::Tensor partner = input.index_select(0, partners.to(input.device()));
    if (is_mixup) {
      input = at::lerp(input, partner, share);
    } else {
      batch.other_share = put_box(input, partner, share, x, y);
    }
  }
  if (batch.target.defined()) {
    batch.other_target = batch.target.index_select(0, partners.to(batch.target.device()));
  }
  batch.indices.clear();
}

}  // namespace edgecompress
