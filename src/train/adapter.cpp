#include "train/adapter.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "train/adapter_expressions.h"

namespace edgecompress {

namespace {

at::Tensor outputs_first(const Adapter& adapter, const at::Tensor& weight) {
  return adapter.has_inputs_first() ? weight.transpose(0, 1) : weight;
}

/// The norm of each row, as the expressions take it, in PEFT's shape.
at::Tensor row_norms(const Adapter& adapter, const at::Tensor& weight) {
  std::vector<std::int64_t> along;
  for (std::int64_t i = 0; i < weight.dim(); ++i) {
    if (i != (adapter.has_inputs_first() ? 1 : 0)) along.push_back(i);
  }
  const at::Tensor norms = at::norm(weight, 2, along, /*keepdim=*/true);
  return norms.reshape(factor_shapes(adapter, weight).magnitude).clone();
}

}  // namespace

double AdapterSettings::scale() const {
  const auto width = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(width) : width);
}

bool Adapter::has_inputs_first() const {
  return kind == LayerKind::kEmbedding || kind == LayerKind::kConvTransposed;
}

FactorShapes factor_shapes(const Adapter& adapter, const at::Tensor& weight) {
  FactorShapes shapes;
  shapes.a = outputs_first(adapter, weight).sizes().vec();
  shapes.b.assign(shapes.a.size(), 1);
  shapes.magnitude.assign(shapes.a.size() > 2 ? shapes.a.size() : 1, 1);
  shapes.magnitude[shapes.a.size() > 2 ? 1 : 0] = shapes.b[0] = shapes.a[0];
  shapes.b[1] = shapes.a[0] = adapter.settings.rank;
  return shapes;
}

at::Tensor adapter_matrix(const Adapter& adapter, const at::Tensor& weight) {
  return outputs_first(adapter, weight).flatten(1);
}

void start_plain(Adapter& adapter, const at::Tensor& weight, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const FactorShapes shapes = factor_shapes(adapter, weight);
  const auto type = weight.scalar_type();
  if (adapter.kind == LayerKind::kEmbedding) {
    adapter.a = at::zeros(shapes.a, weight.options());
    adapter.b = at::empty(shapes.b, at::kFloat).normal_(0, 1, generator).to(type);
  } else {
    const auto inputs = std::max<std::int64_t>(adapter_matrix(adapter, weight).size(1), 1);
    const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
    adapter.a = at::empty(shapes.a, at::kFloat).uniform_(-bound, bound, generator).to(type);
    adapter.b = at::zeros(shapes.b, weight.options());
  }
  if (adapter.settings.dora) adapter.magnitude = row_norms(adapter, weight.detach());
}

void start_pissa(Adapter& adapter, const at::Tensor& weight) {
  const at::NoGradGuard no_grad;
  const at::Tensor matrix = adapter_matrix(adapter, weight.detach()).to(at::kDouble);
  std::int64_t& rank = adapter.settings.rank;
  rank = std::min({rank, matrix.size(0), matrix.size(1)});
  const auto [u, s, v] = at::linalg_svd(matrix, /*full_matrices=*/false);
  const at::Tensor root = (s.slice(0, 0, rank) / adapter.settings.scale()).sqrt();
  const FactorShapes shapes = factor_shapes(adapter, weight);
  const auto type = weight.scalar_type();
  adapter.a = (v.slice(0, 0, rank) * root.unsqueeze(1)).reshape(shapes.a).to(type).contiguous();
  adapter.b = (u.slice(1, 0, rank) * root).reshape(shapes.b).to(type).contiguous();
  if (adapter.settings.dora) adapter.magnitude = row_norms(adapter, weight.detach());
}

double change_scale(const Adapter& adapter) {
  const double share = adapter.settings.dora ? 1 : adapter.share;
  return share * adapter.settings.scale();
}

at::Tensor weight_change(const Adapter& adapter, const at::Tensor& weight,
                         const at::Tensor& zeros) {
  const at::NoGradGuard no_grad;
  std::vector<c10::IValue> arguments = {weight, adapter.a, adapter.b, change_scale(adapter)};
  if (zeros.defined()) arguments.emplace_back(zeros);
  if (adapter.settings.dora) arguments.emplace_back(adapter.magnitude);
  return change_expression(adapter, weight.dim(), zeros.defined()).evaluate(arguments);
}

Adapter without_start(const Adapter& trained, const Adapter& start) {
  const at::NoGradGuard no_grad;
  Adapter plain = trained;
  plain.a = at::cat({trained.a, start.a}, 0);
  plain.b = at::cat({trained.b, -start.b}, 1);
  // The scale stays what it is while the rank doubles.
  plain.settings.rank = 2 * trained.settings.rank;
  plain.settings.alpha *= trained.settings.rslora ? std::sqrt(2.0) : 2.0;
  return plain;
}

}  // namespace edgecompress
