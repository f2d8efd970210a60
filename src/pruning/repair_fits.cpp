#include "pruning/repair_fits.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <utility>

#include "model/damped_cholesky.h"
#include "model/layers.h"
#include "model/weight_matrix.h"
#include "train/layer_moments.h"

namespace edgecompress {
namespace {

using torch::jit::Node;

// lambda, in means of the products' diagonal, over positions for each column: the fewer positions
// tell of a weight, the nearer it stays to what it is.
constexpr double kRidge = 0.8;

void add_to(at::Tensor& sum, const at::Tensor& part) {
  if (!sum.defined()) sum = at::zeros(part.sizes(), at::kDouble);
  sum.add_(part);
}

/// Where a layer's intercept d can go.
struct Intercept {
  at::Tensor tensor;
  double sign = 0;       ///< d is added to it, or subtracted; 0: there is none
  bool is_bias = false;  ///< else it is the running mean of the batch norm that follows
};

/// D and d of  min sum |y - y' - D x' - d|^2 + lambda |D|^2  over sampled positions.
class LayerFit : public RepairFit {
 public:
  LayerFit(const PrunableWeight& weight_before, const PrunableWeight& weight_after,
           at::Tensor kept_rows, const at::Tensor& weight, const Intercept& intercept)
      : moments_(weight_after),
        kept_rows_(std::move(kept_rows)),
        sign_(intercept.sign),
        is_bias_(intercept.is_bias) {
    before = weight_before.nodes[0];
    after = weight_after.nodes[0];
    tensors = {weight};
    if (sign_ != 0) tensors.push_back(intercept.tensor);
  }

  void see(const at::Tensor& /*input_before*/, const at::Tensor& output_before,
           const at::Tensor& input_after, double share) override {
    moments_.add(*after, input_after, moments_.rows_of(output_before).index_select(0, kept_rows_),
                 matrix(), is_bias_ ? tensors[1] : at::Tensor(), share);
  }

  bool apply() override {
    // About the means, an intercept takes care of them.
    const at::Tensor products = moments_.products(/*is_centred=*/sign_ != 0);
    const at::Tensor lacks = moments_.lacks(/*is_centred=*/sign_ != 0);
    const double columns = static_cast<double>(moments_.weight().columns());
    const double ridge = kRidge * columns / moments_.count();
    std::vector<at::Tensor> by_column;
    for (std::int64_t group = 0; group < products.size(0); ++group) {
      const double mean = products[group].diagonal().mean().item<double>();
      const auto factor = damped_cholesky(products[group], mean > 0 ? ridge * mean : 1);
      if (!factor) return false;
      by_column.push_back(at::cholesky_solve(lacks[group], *factor));
    }
    const at::Tensor change = at::stack(by_column);  // [groups, columns, rows]
    if (!at::isfinite(change).all().item<bool>()) return false;
    tensors[0].copy_(
        moments_.weight().from_matrix(matrix() + change.transpose(1, 2).reshape(matrix().sizes())));
    if (sign_ != 0) tensors[1].add_((moments_.shift(change) * sign_).to(tensors[1].scalar_type()));
    return true;
  }

  bool is_too_wide() const { return moments_.is_too_wide(); }

 private:
  at::Tensor matrix() const { return moments_.weight().to_matrix(tensors[0]); }

  LayerMoments moments_;
  at::Tensor kept_rows_;
  double sign_;
  bool is_bias_;
};

/// Mean and variance of channels (dimension 1) over batches.
class ChannelStatistics {
 public:
  void add(const at::Tensor& input) {
    std::vector<std::int64_t> dims = {0};
    for (std::int64_t dim = 2; dim < input.dim(); ++dim) dims.push_back(dim);
    const at::Tensor x = input.to(at::kDouble);
    add_to(sum_, x.sum(dims));
    add_to(squares_, x.square().sum(dims));
    count_ += static_cast<double>(input.numel()) / static_cast<double>(input.size(1));
  }
  at::Tensor mean() const { return sum_ / count_; }
  at::Tensor variance() const { return (squares_ / count_ - mean().square()).clamp_min(0); }

 private:
  double count_ = 0;
  at::Tensor sum_, squares_;
};

class BatchNormFit : public RepairFit {
 public:
  /// `mean` and `variance` are those of the network before.
  BatchNormFit(const at::Tensor& kept, const at::Tensor& mean, const at::Tensor& variance)
      : kept_(kept), mean_(mean.index_select(0, kept)), variance_(variance.index_select(0, kept)) {}

  void see(const at::Tensor& input_before, const at::Tensor& /*output_before*/,
           const at::Tensor& input_after, double /*share*/) override {
    before_.add(input_before.index_select(1, kept_));
    after_.add(input_after);
  }

  bool apply() override {
    constexpr double kLeast = 1e-2, kMost = 1e2;
    const at::Tensor was = before_.variance(), is = after_.variance();
    // A channel that hardly varied tells nothing of how its variance changed.
    const at::Tensor tells = was > 1e-9 * (was + before_.mean().square());
    const at::Tensor ratio = at::where(tells, is / was, at::ones_like(was)).clamp(kLeast, kMost);
    tensors[0].copy_(mean_ + after_.mean() - before_.mean());
    tensors[1].copy_(variance_ * ratio);
    return true;
  }

 private:
  at::Tensor kept_, mean_, variance_;
  ChannelStatistics before_, after_;
};

/// By the name of the running mean.
std::vector<std::pair<std::string, const Node*>> batch_norms_of(const Model& model) {
  std::vector<std::pair<std::string, const Node*>> norms;
  for (const Layer& layer : find_layers(model)) {
    if (layer.kind != LayerKind::kBatchNorm) continue;
    const std::string mean = attribute_path(layer.node->input(3));
    if (!mean.empty() && !attribute_path(layer.node->input(4)).empty())
      norms.emplace_back(mean, layer.node);
  }
  return norms;
}

/// By the name of the weight.
std::map<std::string, Intercept> intercepts_of(const Model& model) {
  std::map<std::string, Intercept> intercepts;
  std::map<std::string, int> uses_of_mean;
  for (const auto& [mean, node] : batch_norms_of(model)) ++uses_of_mean[mean];
  for (const Layer& layer : find_layers(model)) {
    if (!layer.weight) continue;
    if (layer.bias) {
      intercepts[*layer.weight] = {model.tensor(*layer.bias), 1, true};
      continue;
    }
    const auto& uses = layer.node->output(0)->uses();
    if (uses.size() != 1 || op_of(uses[0].user) != "aten::batch_norm") continue;
    const std::string mean = attribute_path(uses[0].user->input(3));
    if (uses_of_mean[mean] == 1) intercepts[*layer.weight] = {model.tensor(mean), -1, false};
  }
  return intercepts;
}

using WeightsByName = std::map<std::string, PrunableWeight>;

WeightsByName weights_by_name(const Model& model) {
  WeightsByName weights;
  for (const PrunableWeight& weight : find_prunable_weights(model, LayerFilter({}, {})))
    weights.emplace(weight.weight, weight);
  return weights;
}

/// Makes fits of layers of one network to those of another.
class LayerFits {
 public:
  LayerFits(const Model& after, std::vector<std::string>& notes)
      : after_(after), intercepts_(intercepts_of(after)), notes_(notes) {}

  void add(const PrunableWeight& was, const PrunableWeight& weight, const at::Tensor& kept_rows) {
    if (const std::string reason = why_not(was, weight); !reason.empty()) {
      notes_.push_back(weight.layer + ": " + reason);
      return;
    }
    const auto intercept = intercepts_.find(weight.weight);
    auto fit = std::make_unique<LayerFit>(
        was, weight, kept_rows, after_.tensor(weight.weight),
        intercept == intercepts_.end() ? Intercept() : intercept->second);
    if (fit->is_too_wide()) {
      notes_.push_back(weight.layer + ": it is too wide to be reconstructed");
      return;
    }
    fits_.push_back(std::move(fit));
  }
  std::vector<std::unique_ptr<RepairFit>> take() { return std::move(fits_); }

 private:
  std::string why_not(const PrunableWeight& was, const PrunableWeight& weight) const {
    const bool is_transposed = weight.kind == LayerKind::kConvTransposed;
    if (!weight.has_features() || (is_transposed && weight.groups > 1))
      return "what its weights are multiplied with can't be told apart";
    if (weight.nodes.size() > 1 || was.nodes.size() > 1)
      return "its weights are used in several places";
    if (weight.nodes[0]->owningBlock() != after_.graph().block())
      return "it runs in a branch or in a loop";
    return "";
  }

  const Model& after_;
  std::map<std::string, Intercept> intercepts_;
  std::vector<std::string>& notes_;
  std::vector<std::unique_ptr<RepairFit>> fits_;
};

}  // namespace

std::vector<std::unique_ptr<RepairFit>> layer_fits(const Model& before, const Model& after,
                                                   const KeptPositions& kept,
                                                   std::vector<std::string>& notes) {
  const WeightsByName all_before = weights_by_name(before);
  const auto all_after = find_prunable_weights(after, LayerFilter({}, {}));
  // Where whole layers are gone, others see new inputs that lost no channel.
  const bool is_shallower = all_after.size() < all_before.size();
  LayerFits fits(after, notes);
  for (const PrunableWeight& weight : all_after) {
    const auto was = all_before.find(weight.weight);
    const bool is_due = is_shallower || kept.is_consumer(weight.weight);
    if (!is_due || was == all_before.end()) continue;
    const std::int64_t rows = weight.kind == LayerKind::kConvTransposed ? 1 : 0;
    fits.add(was->second, weight,
             kept.of(weight.weight, rows, was->second.sizes[static_cast<std::size_t>(rows)]));
  }
  return fits.take();
}

std::vector<std::unique_ptr<RepairFit>> stand_in_fits(const Model& before, const Model& after,
                                                      const std::vector<StandIn>& stand_ins,
                                                      std::vector<std::string>& notes) {
  const WeightsByName all_before = weights_by_name(before);
  LayerFits fits(after, notes);
  for (const PrunableWeight& weight : find_prunable_weights(after, LayerFilter({}, {}))) {
    const auto stand_in =
        std::find_if(stand_ins.begin(), stand_ins.end(),
                     [&](const StandIn& known) { return known.after == weight.weight; });
    if (stand_in == stand_ins.end()) continue;
    fits.add(all_before.at(stand_in->before), weight, at::arange(weight.rows(), at::kLong));
  }
  return fits.take();
}

std::vector<std::unique_ptr<RepairFit>> batch_norm_fits(const Model& before, const Model& after,
                                                        const KeptPositions& kept) {
  const auto all_before = batch_norms_of(before);
  std::vector<std::unique_ptr<RepairFit>> fits;
  for (const auto& [mean, node] : batch_norms_of(after)) {
    const auto was =
        std::find_if(all_before.begin(), all_before.end(),
                     [&, name = mean](const auto& norm) { return norm.first == name; });
    if (was == all_before.end()) continue;
    const std::string variance = attribute_path(node->input(4));
    auto fit = std::make_unique<BatchNormFit>(kept.of(mean, 0, before.tensor(mean).size(0)),
                                              before.tensor(mean), before.tensor(variance));
    fit->before = was->second;
    fit->after = node;
    fit->tensors = {after.tensor(mean), after.tensor(variance)};
    fits.push_back(std::move(fit));
  }
  return fits;
}

}  // namespace edgecompress
