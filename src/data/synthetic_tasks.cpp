#include "data/synthetic_tasks.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::int64_t or_default(std::int64_t given, std::int64_t fallback) {
  return given == 0 ? fallback : given;
}
double noise_of(const SyntheticOptions& options, double fallback) {
  return options.noise < 0 ? fallback : options.noise;
}

[[noreturn]] void too_many_classes(const SyntheticOptions& options, std::size_t limit) {
  throw Error(ExitCode::kData, fmt::format("synthetic task '{}' with {} classes: it has at most {}",
                                           options.task, options.classes, limit));
}

/// A figure in its own coordinates: is (u, v), both about -1 to 1, inside? `phase` shifts patterns.
struct Figure {
  const char* name;
  bool (*contains)(double u, double v, double phase);
};

bool in_box(double u, double v) { return std::max(std::abs(u), std::abs(v)) < 0.9; }
bool wave(double position, double phase) { return std::sin(3.2 * kPi * position + phase) > 0; }

constexpr std::array<Figure, 10> kFigures = {{
    {"disc", [](double u, double v, double) { return u * u + v * v < 1; }},
    {"ring", [](double u, double v, double) { return u * u + v * v < 1 && u * u + v * v > 0.3; }},
    {"square", [](double u, double v, double) { return in_box(u, v); }},
    {"frame", [](double u, double v, double) { return in_box(u, v) && !in_box(1.7 * u, 1.7 * v); }},
    {"triangle",
     [](double u, double v, double) { return std::abs(v) < 0.9 && std::abs(u) < (v + 0.9) / 1.8; }},
    {"cross",
     [](double u, double v, double) {
       return std::min(std::abs(u), std::abs(v)) < 0.3 && std::max(std::abs(u), std::abs(v)) < 1;
     }},
    {"horizontal stripes",
     [](double u, double v, double phase) { return in_box(u, v) && wave(v, phase); }},
    {"vertical stripes",
     [](double u, double v, double phase) { return in_box(u, v) && wave(u, phase); }},
    {"diagonal stripes",
     [](double u, double v, double phase) { return in_box(u, v) && wave((u + v) * 0.75, phase); }},
    {"checker", [](double u, double v,
                   double phase) { return in_box(u, v) && wave(u, phase) != wave(v, phase); }},
}};

using Color = std::array<double, 3>;

Color random_color(Random& random, double low, double high) {
  return {random.uniform(low, high), random.uniform(low, high), random.uniform(low, high)};
}

/// Where a figure lies in the image and how it is tilted.
struct Placement {
  double x, y, radius, tilt, phase;
};

Placement random_placement(Random& random, double size) {
  Placement place;
  place.radius = random.uniform(0.2, 0.42) * size;
  place.x = random.uniform(place.radius, size - place.radius);
  place.y = random.uniform(place.radius, size - place.radius);
  place.tilt = random.uniform(-0.2, 0.2);
  place.phase = random.uniform(0, 2 * kPi);
  return place;
}

void draw_figure(const Figure& figure, double noise, Random& random, at::Tensor& sample) {
  const auto size = sample.size(0);
  const auto place = random_placement(random, static_cast<double>(size));
  const double cosine = std::cos(place.tilt), sine = std::sin(place.tilt);
  // The figure is lighter or darker than its ground, never by its colour alone.
  const bool is_light = random.coin();
  const Color ink = is_light ? random_color(random, 0.55, 1) : random_color(random, 0, 0.45);
  const Color corner = is_light ? random_color(random, 0, 0.5) : random_color(random, 0.5, 1);
  const Color slope = random_color(random, -0.25, 0.25);
  const double direction = random.uniform(0, 2 * kPi);
  auto* pixel = sample.data_ptr<std::uint8_t>();
  for (std::int64_t row = 0; row < size; ++row)
    for (std::int64_t column = 0; column < size; ++column) {
      const double x = column + 0.5, y = row + 0.5;
      const double dx = (x - place.x) / place.radius, dy = (y - place.y) / place.radius;
      const bool is_inside =
          figure.contains(cosine * dx + sine * dy, cosine * dy - sine * dx, place.phase);
      const double along = (x * std::cos(direction) + y * std::sin(direction)) / size;
      // One draw of bits is noise enough for three channels: uniform, of standard deviation
      // `noise`.
      auto bits = random.bits();
      for (int channel = 0; channel < 3; ++channel, bits >>= 16) {
        const double grain = (static_cast<double>(bits & 0xffff) / 0xffff - 0.5) * std::sqrt(12.0);
        const double ground = corner[channel] + along * slope[channel];
        const double value = (is_inside ? ink[channel] : ground) + noise * grain;
        *pixel++ = static_cast<std::uint8_t>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
      }
    }
}

using Wave = double (*)(double turn);  // turn in [0, 1) -> about [-1, 1]
struct WaveForm {
  const char* name;
  Wave at;
};
constexpr std::array<WaveForm, 4> kWaves = {{
    {"sine", [](double turn) { return std::sin(2 * kPi * turn); }},
    {"square", [](double turn) { return turn < 0.5 ? 1.0 : -1.0; }},
    {"saw", [](double turn) { return 2 * turn - 1; }},
    {"pulse", [](double turn) { return turn < 0.15 ? 1.5 : -0.3; }},
}};
/// Turns over the whole sequence, lowest and highest, of each band.
constexpr std::array<std::array<double, 2>, 3> kBands = {{{1.5, 2.5}, {3.5, 5}, {7, 9}}};

std::vector<float> normal_values(Random random, std::int64_t count, double scale) {
  std::vector<float> values(count);
  for (auto& value : values) value = static_cast<float>(scale * random.normal());
  return values;
}

}  // namespace

SyntheticTask shapes_task(const SyntheticOptions& options) {
  const auto classes = static_cast<std::size_t>(or_default(options.classes, kFigures.size()));
  if (classes > kFigures.size()) too_many_classes(options, kFigures.size());
  SyntheticTask task{{options.size, options.size, 3}, at::kByte, {}, {}};
  for (std::size_t i = 0; i < classes; ++i) task.class_names.push_back(kFigures[i].name);
  task.draw = [noise = noise_of(options, 0.12)](std::int64_t label, Random& random,
                                                at::Tensor& sample) {
    draw_figure(kFigures[label], noise, random, sample);
    return static_cast<double>(label);
  };
  return task;
}

SyntheticTask sequences_task(const SyntheticOptions& options) {
  const auto limit = kWaves.size() * kBands.size();
  const auto classes = static_cast<std::size_t>(or_default(options.classes, 8));
  if (classes > limit) too_many_classes(options, limit);
  SyntheticTask task{{options.length, or_default(options.features, 1)}, at::kFloat, {}, {}};
  for (std::size_t i = 0; i < classes; ++i)
    task.class_names.push_back(
        fmt::format("{} band {}", kWaves[i % kWaves.size()].name, i / kWaves.size()));
  task.draw = [noise = noise_of(options, 0.3)](std::int64_t label, Random& random,
                                               at::Tensor& sample) {
    const auto form = kWaves[label % kWaves.size()];
    const auto band = kBands[label / kWaves.size()];
    const auto length = sample.size(0), features = sample.size(1);
    const double turns = random.uniform(band[0], band[1]);
    auto* value = sample.data_ptr<float>();
    for (std::int64_t feature = 0; feature < features; ++feature) {
      const double start = random.uniform(), amplitude = random.uniform(0.6, 1.4);
      for (std::int64_t step = 0; step < length; ++step) {
        const double turn = start + turns * step / length;
        value[step * features + feature] = static_cast<float>(
            amplitude * form.at(turn - std::floor(turn)) + noise * random.normal());
      }
    }
    return static_cast<double>(label);
  };
  return task;
}

SyntheticTask vectors_task(const SyntheticOptions& options) {
  const auto features = or_default(options.features, 16), classes = or_default(options.classes, 10);
  SyntheticTask task{{features}, at::kFloat, {}, {}};
  for (std::int64_t i = 0; i < classes; ++i) task.class_names.push_back(fmt::format("class {}", i));
  // Two clouds a class, of unit distance from the origin a coordinate.
  const auto centres = normal_values(Random(derive_seed(options.seed, "vectors/centres")),
                                     2 * classes * features, 1.0);
  task.draw = [centres, features, noise = noise_of(options, 0.6)](
                  std::int64_t label, Random& random, at::Tensor& sample) {
    const auto* centre = &centres[(2 * label + random.index(2)) * features];
    auto* value = sample.data_ptr<float>();
    for (std::int64_t i = 0; i < features; ++i)
      value[i] = static_cast<float>(centre[i] + noise * random.normal());
    return static_cast<double>(label);
  };
  return task;
}

SyntheticTask regression_task(const SyntheticOptions& options) {
  constexpr std::int64_t kHidden = 16;
  const auto features = or_default(options.features, 16);
  const auto first = normal_values(Random(derive_seed(options.seed, "regression/first")),
                                   kHidden * features, 1 / std::sqrt(features));
  const auto second = normal_values(Random(derive_seed(options.seed, "regression/second")), kHidden,
                                    1 / std::sqrt(kHidden));
  SyntheticTask task{{features}, at::kFloat, {}, {}};
  task.draw = [first, second, features, noise = noise_of(options, 0.05)](
                  std::int64_t, Random& random, at::Tensor& sample) {
    auto* value = sample.data_ptr<float>();
    for (std::int64_t i = 0; i < features; ++i) value[i] = static_cast<float>(random.normal());
    double target = noise * random.normal();
    for (std::int64_t unit = 0; unit < kHidden; ++unit) {
      double sum = 0;
      for (std::int64_t i = 0; i < features; ++i) sum += first[unit * features + i] * value[i];
      target += second[unit] * std::tanh(2 * sum);
    }
    return target;
  };
  return task;
}

}  // namespace edgecompress
