#include "model/weight_matrix.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <map>

#include "edgecompress/error.h"
#include "model/conv_geometry.h"

namespace edgecompress {
namespace {

void check_can_be_ranked(const std::string& name, const at::Tensor& weight) {
  if (at::isfinite(weight.detach()).all().item<bool>()) return;
  throw Error(ExitCode::kPass, "'" + name + "' holds values that are not finite",
              "the weights of the model are damaged; nothing can be ranked");
}

bool is_plain(LayerKind kind) {
  return kind == LayerKind::kConv || kind == LayerKind::kConvTransposed ||
         kind == LayerKind::kLinear;
}

bool is_recurrent(LayerKind kind) {
  return kind == LayerKind::kLstm || kind == LayerKind::kGru || kind == LayerKind::kRnn;
}

/// Collects weights in execution order, shared ones once.
class WeightFinder {
 public:
  explicit WeightFinder(const Model& model) : model_(model) {}

  void add(const Layer& layer, const std::string& name) {
    const auto known = positions_.find(name);
    if (known != positions_.end()) {
      found_[known->second].nodes.push_back(layer.node);
      return;
    }
    const c10::IValue value = model_.attribute(name);
    if (!value.isTensor() || !value.toTensor().is_floating_point() || value.toTensor().dim() < 2)
      return;
    check_can_be_ranked(name, value.toTensor());
    PrunableWeight weight{layer.name, name, layer.kind, value.toTensor().sizes().vec(), 1, {}};
    weight.nodes.push_back(layer.node);
    const c10::IValue groups = constant_argument(layer.node, "groups");
    if (groups.isInt()) weight.groups = groups.toInt();
    positions_[name] = found_.size();
    found_.push_back(std::move(weight));
  }

  std::vector<PrunableWeight> take() { return std::move(found_); }

 private:
  const Model& model_;
  std::vector<PrunableWeight> found_;
  std::map<std::string, std::size_t> positions_;
};

/// [n, channels, spatial...] as a stride-1 convolution with the flipped kernel would read it: zeros
/// between the values, and so many around them that the output is that of the transposed one.
at::Tensor spread_for_transposed(const at::Tensor& input, const ConvGeometry& geometry,
                                 at::IntArrayRef kernel) {
  auto sizes = input.sizes().vec();
  std::vector<std::int64_t> padding;
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    sizes[i + 2] = (sizes[i + 2] - 1) * geometry.stride[i] + 1;
    const std::int64_t edge = geometry.dilation[i] * (kernel[i] - 1) - geometry.padding[i];
    padding.insert(padding.begin(), {edge, edge + geometry.output_padding[i]});
  }
  const at::Tensor spread = at::zeros(sizes, input.options());
  at::Tensor places = spread;
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    places = places.slice(static_cast<std::int64_t>(i) + 2, 0, sizes[i + 2], geometry.stride[i]);
  }
  places.copy_(input);
  return at::constant_pad_nd(spread, padding, 0);
}

at::Tensor pad_input(const at::Tensor& input, const ConvGeometry& geometry) {
  std::vector<std::int64_t> padding;
  for (const std::int64_t edge : geometry.padding) padding.insert(padding.begin(), {edge, edge});
  return at::constant_pad_nd(input, padding, 0);
}

/// [groups, kernel positions x channels, n x output positions].
at::Tensor unfold_convolution(const PrunableWeight& weight, const ConvGeometry& geometry,
                              const at::Tensor& input) {
  const auto kernel = at::IntArrayRef(weight.sizes).slice(2);
  const auto rank = static_cast<std::int64_t>(kernel.size());
  const bool is_transposed = weight.kind == LayerKind::kConvTransposed;
  const at::Tensor batch = input.dim() == rank + 1 ? input.unsqueeze(0) : input;
  at::Tensor windows =
      is_transposed ? spread_for_transposed(batch, geometry, kernel) : pad_input(batch, geometry);
  std::vector<std::int64_t> kernel_dims;
  for (std::int64_t i = 0; i < rank; ++i) {
    const auto d = static_cast<std::size_t>(i);
    const std::int64_t reach = geometry.dilation[d] * (kernel[d] - 1) + 1;
    windows = windows.unfold(2 + i, reach, is_transposed ? 1 : geometry.stride[d])
                  .slice(-1, 0, reach, geometry.dilation[d]);
    if (is_transposed) windows = windows.flip({-1});
    kernel_dims.push_back(3 + rank + i);
  }
  // [n, groups, channels, positions..., kernel...] -> [groups, kernel..., channels, n,
  // positions...]
  auto sizes = windows.sizes().vec();
  sizes[1] /= geometry.groups;
  sizes.insert(sizes.begin() + 1, geometry.groups);
  std::vector<std::int64_t> order = {1};
  order.insert(order.end(), kernel_dims.begin(), kernel_dims.end());
  order.insert(order.end(), {2, 0});
  for (std::int64_t i = 0; i < rank; ++i) order.push_back(3 + i);
  return windows.reshape(sizes).permute(order).reshape({geometry.groups, weight.columns(), -1});
}

}  // namespace

std::int64_t PrunableWeight::size() const { return c10::multiply_integers(sizes); }

std::int64_t PrunableWeight::run() const {
  return kind == LayerKind::kConvTransposed ? sizes[0] / groups : sizes[1];
}

std::int64_t PrunableWeight::columns() const {
  return run() * c10::multiply_integers(at::IntArrayRef(sizes).slice(2));
}

std::int64_t PrunableWeight::rows() const { return size() / std::max<std::int64_t>(columns(), 1); }

at::Tensor PrunableWeight::to_matrix(const at::Tensor& weight) const {
  const at::Tensor values = weight.detach().to(at::kFloat);
  const std::int64_t positions = columns() / std::max<std::int64_t>(run(), 1);
  const at::Tensor rows_first =
      kind == LayerKind::kConvTransposed
          ? values.reshape({groups, run(), sizes[1], positions}).permute({0, 2, 3, 1})
          : values.reshape({sizes[0], run(), positions}).permute({0, 2, 1});
  return rows_first.reshape({rows(), columns()}).clone(at::MemoryFormat::Contiguous);
}

at::Tensor PrunableWeight::from_matrix(const at::Tensor& matrix) const {
  const std::int64_t positions = columns() / std::max<std::int64_t>(run(), 1);
  const at::Tensor weight_order =
      kind == LayerKind::kConvTransposed
          ? matrix.reshape({groups, sizes[1], positions, run()}).permute({0, 3, 1, 2})
          : matrix.reshape({sizes[0], positions, run()}).permute({0, 2, 1});
  return weight_order.reshape(sizes).contiguous();
}

bool PrunableWeight::has_features() const {
  return std::all_of(nodes.begin(), nodes.end(), [this](const torch::jit::Node* node) {
    const std::string op = op_of(node);
    if (op == "aten::linear") return true;
    const bool is_canonical = op.rfind("aten::conv", 0) == 0 && op != "aten::convolution";
    return is_canonical && conv_geometry(node, sizes).has_value();
  });
}

std::vector<PrunableWeight> find_prunable_weights(const Model& model, const LayerFilter& filter) {
  WeightFinder finder(model);
  for (const Layer& layer : find_layers(model)) {
    if (!filter.accepts(layer.name)) continue;
    if (is_recurrent(layer.kind)) {
      for (const std::string& weight : layer.weights) finder.add(layer, weight);
    } else if (is_plain(layer.kind) && layer.weight) {
      finder.add(layer, *layer.weight);
    }
  }
  return finder.take();
}

at::Tensor input_features(const PrunableWeight& weight, const torch::jit::Node& node,
                          const at::Tensor& input) {
  if (weight.kind == LayerKind::kLinear)
    return input.reshape({-1, weight.columns()}).t().unsqueeze(0);
  return unfold_convolution(weight, *conv_geometry(&node, weight.sizes), input);
}

std::vector<at::Tensor> split_for_features(const PrunableWeight& weight, const at::Tensor& input,
                                           std::int64_t positions) {
  constexpr std::int64_t kMostFloats = std::int64_t{1} << 24;
  const bool has_batch = input.dim() >= static_cast<std::int64_t>(weight.sizes.size());
  const std::int64_t unfolded = positions * weight.groups * weight.columns();
  if (!has_batch || unfolded <= kMostFloats) return {input};
  const std::int64_t parts = (unfolded + kMostFloats - 1) / kMostFloats;
  return input.split(std::max<std::int64_t>(input.size(0) / parts, 1));
}

}  // namespace edgecompress
