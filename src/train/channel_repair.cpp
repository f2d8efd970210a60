#include "train/channel_repair.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

#include "data/views.h"
#include "edgecompress/error.h"
#include "model/damped_cholesky.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "model/weight_matrix.h"

namespace edgecompress {
namespace {

using torch::jit::Node;

constexpr std::size_t kRounds = 8;
constexpr std::int64_t kMostSamples = 512;
constexpr double kPositionsPerColumn = 8;
constexpr double kRidge = 0.01;  // of the mean of the products' diagonal
constexpr std::int64_t kMomentFloats = std::int64_t{1} << 26;
constexpr std::int64_t kUnfoldedFloats = std::int64_t{1} << 24;

/// What the removal left of a tensor's dimension.
class KeptPositions {
 public:
  KeptPositions(const ChannelGroups& groups, const UnitChoice& removed) {
    for (std::size_t g = 0; g < groups.groups.size(); ++g) {
      if (removed[g].empty()) continue;
      for (const ChannelMember& member : groups.groups[g].members) {
        if (member.role == ChannelAxis::Role::kConsumes) consumers_.insert(member.tensor);
        auto& gone = gone_[{member.tensor, member.dim}];
        for (const std::int64_t unit : removed[g]) {
          const auto& positions = member.positions[static_cast<std::size_t>(unit)];
          gone.insert(positions.begin(), positions.end());
        }
      }
    }
  }
  /// int64, ascending.
  at::Tensor of(const std::string& tensor, std::int64_t dim, std::int64_t size) const {
    const auto gone = gone_.find({tensor, dim});
    std::vector<std::int64_t> kept;
    for (std::int64_t i = 0; i < size; ++i) {
      if (gone == gone_.end() || gone->second.count(i) == 0) kept.push_back(i);
    }
    return at::tensor(kept, at::kLong);
  }
  /// Whether the tensor multiplies with channels that are gone.
  bool is_consumer(const std::string& tensor) const { return consumers_.count(tensor) > 0; }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::set<std::int64_t>> gone_;
  std::set<std::string> consumers_;
};

/// Something that is fitted to what one place of both networks sees.
class Fit {
 public:
  virtual ~Fit() = default;
  virtual void see_before(const at::Tensor& input, const at::Tensor& output) = 0;
  virtual void see_after(const Node& node, const at::Tensor& input, const at::Tensor& output) = 0;
  /// Changes the model by what was seen; false if nothing came of it.
  virtual bool apply(Model& model) const = 0;

  std::vector<const Node*> nodes_before, nodes_after;
  std::vector<std::string> tensors;  ///< that apply() changes
};

/// Reconstruction of one layer.
class LayerFit : public Fit {
 public:
  LayerFit(const PrunableWeight& before, const PrunableWeight& after, at::Tensor kept_rows,
           const std::string& bias, std::int64_t batches)
      : weight_(after),
        kept_rows_(std::move(kept_rows)),
        bias_(bias),
        positions_a_batch_(
            static_cast<std::int64_t>(kPositionsPerColumn * static_cast<double>(after.columns()) /
                                      static_cast<double>(batches)) +
            64) {
    nodes_before = before.nodes;
    nodes_after = after.nodes;
    tensors.push_back(after.weight);
    if (!bias_.empty()) tensors.push_back(bias_);
  }

  void see_before(const at::Tensor& /*input*/, const at::Tensor& output) override {
    const at::Tensor rows = rows_of(output).index_select(0, kept_rows_);
    wanted_.push_back(rows.index_select(1, sampled(rows.size(1))).to(at::kFloat));
  }

  void see_after(const Node& node, const at::Tensor& input, const at::Tensor& output) override {
    const at::Tensor rows = rows_of(output);
    const at::Tensor positions = sampled(rows.size(1));
    const at::Tensor missing = (wanted_.front() - rows.index_select(1, positions).to(at::kFloat))
                                   .reshape({weight_.groups, -1, positions.size(0)});
    wanted_.pop_front();
    at::Tensor x = features_at(node, input, positions, rows.size(1));
    if (!bias_.empty()) x = at::cat({x, at::ones({x.size(0), 1, x.size(2)}, x.options())}, 1);
    add(products_, at::bmm(x, x.transpose(1, 2)));
    add(wishes_, at::bmm(x, missing.transpose(1, 2)));
  }

  bool apply(Model& model) const override {
    if (!products_.defined()) return false;
    const std::int64_t columns = weight_.columns();
    std::vector<at::Tensor> changes;
    for (std::int64_t group = 0; group < weight_.groups; ++group) {
      const at::Tensor products = products_[group];
      const double mean = products.diagonal().slice(0, 0, columns).mean().item<double>();
      const auto factor = damped_cholesky(products, mean > 0 ? kRidge * mean : 1);
      if (!factor) return false;
      changes.push_back(at::cholesky_solve(wishes_[group], *factor).t());
    }
    const at::Tensor change = at::cat(changes, 0);
    if (!at::isfinite(change).all().item<bool>()) return false;
    const auto add_to = [&](const std::string& name, const at::Tensor& value) {
      model.set_tensor(name, value.to(model.tensor(name).scalar_type()));
    };
    const at::Tensor matrix = weight_.to_matrix(model.tensor(weight_.weight)).to(at::kDouble);
    add_to(weight_.weight, weight_.from_matrix(matrix + change.slice(1, 0, columns)));
    if (!bias_.empty())
      add_to(bias_, model.tensor(bias_).to(at::kDouble) + change.select(1, columns));
    return true;
  }

  /// Of the sums.
  std::int64_t floats() const {
    const std::int64_t k = weight_.columns() + 1;
    return weight_.groups * k * (k + kept_rows_.size(0) / weight_.groups);
  }

 private:
  static void add(at::Tensor& sum, const at::Tensor& part) {
    if (!sum.defined()) sum = at::zeros(part.sizes(), at::kDouble);
    sum.add_(part);
  }
  /// [output channels, positions], positions as input_features() has them.
  at::Tensor rows_of(const at::Tensor& output) const {
    if (weight_.kind == LayerKind::kLinear) return output.reshape({-1, output.size(-1)}).t();
    const bool has_batch = output.dim() == static_cast<std::int64_t>(weight_.sizes.size());
    return has_batch ? output.transpose(0, 1).flatten(1) : output.flatten(1);
  }
  /// Evenly spread over the batch.
  at::Tensor sampled(std::int64_t positions) const {
    if (positions <= positions_a_batch_) return at::arange(positions, at::kLong);
    const double step = static_cast<double>(positions) / static_cast<double>(positions_a_batch_);
    return at::arange(positions_a_batch_, at::kDouble).add(0.5).mul(step).floor().to(at::kLong);
  }
  at::Tensor features_at(const Node& node, const at::Tensor& input, const at::Tensor& positions,
                         std::int64_t all) const {
    const bool has_batch = input.dim() == static_cast<std::int64_t>(weight_.sizes.size());
    if (weight_.kind == LayerKind::kLinear || !has_batch)
      return input_features(weight_, node, input.to(at::kFloat)).index_select(2, positions);
    // Samples whose unfolded inputs fit the bound together.
    const std::int64_t samples = input.size(0), of_sample = all / samples;
    const std::int64_t part = std::max<std::int64_t>(
        kUnfoldedFloats / std::max<std::int64_t>(of_sample * weight_.groups * weight_.columns(), 1),
        1);
    std::vector<at::Tensor> parts;
    for (std::int64_t first = 0; first < samples; first += part) {
      const std::int64_t last = std::min(first + part, samples);
      const at::Tensor inside = positions.masked_select((positions >= first * of_sample) &
                                                        (positions < last * of_sample));
      if (inside.numel() == 0) continue;
      parts.push_back(input_features(weight_, node, input.slice(0, first, last).to(at::kFloat))
                          .index_select(2, inside - first * of_sample));
    }
    return at::cat(parts, 2);
  }

  const PrunableWeight weight_;
  at::Tensor kept_rows_;
  std::string bias_;
  std::int64_t positions_a_batch_;
  std::deque<at::Tensor> wanted_;
  at::Tensor products_, wishes_;
};

/// Sums of a batch norm's inputs, by channel.
struct ChannelSums {
  double count = 0;
  at::Tensor sum, squares;

  void add(const at::Tensor& input) {
    std::vector<std::int64_t> dims = {0};
    for (std::int64_t dim = 2; dim < input.dim(); ++dim) dims.push_back(dim);
    const at::Tensor x = input.to(at::kDouble);
    if (!sum.defined()) sum = squares = at::zeros({input.size(1)}, at::kDouble);
    sum = sum + x.sum(dims);
    squares = squares + x.square().sum(dims);
    count += static_cast<double>(input.numel() / std::max<std::int64_t>(input.size(1), 1));
  }
  at::Tensor mean() const { return sum / count; }
  at::Tensor variance() const { return (squares / count - mean().square()).clamp_min(0); }
};

class BatchNormFit : public Fit {
 public:
  BatchNormFit(const Node* before, const Node* after, at::Tensor kept, const std::string& mean,
               const std::string& variance)
      : kept_(std::move(kept)) {
    nodes_before = {before};
    nodes_after = {after};
    tensors = {mean, variance};
  }
  void see_before(const at::Tensor& input, const at::Tensor& /*output*/) override {
    before_.add(input.index_select(1, kept_));
  }
  void see_after(const Node& /*node*/, const at::Tensor& input,
                 const at::Tensor& /*output*/) override {
    after_.add(input);
  }
  bool apply(Model& model) const override {
    if (!after_.sum.defined()) return false;
    const at::Tensor was = before_.variance(), is = after_.variance();
    // A channel that hardly varies tells nothing of how its variance changed.
    const at::Tensor tells = was > 1e-12 * (was + before_.mean().square());
    const at::Tensor ratio = at::where(tells, is / was, at::ones_like(was)).clamp(0.01, 100);
    const auto set = [&](const std::string& name, const at::Tensor& value) {
      model.set_tensor(name, value.to(model.tensor(name).scalar_type()));
    };
    set(tensors[0], model.tensor(tensors[0]).to(at::kDouble) + after_.mean() - before_.mean());
    set(tensors[1], model.tensor(tensors[1]).to(at::kDouble) * ratio);
    return true;
  }

 private:
  at::Tensor kept_;
  ChannelSums before_, after_;
};

/// Both networks, and the samples that they are compared on.
class Pair {
 public:
  Pair(Model& after, const Model& before, const DataSets& data, Progress& progress)
      : after_(after), before_(before), progress_(progress) {
    const auto& all = data.calibration;
    if (all == nullptr || all->size() == 0) {
      throw Error(ExitCode::kData, "repair: there are no calibration samples",
                  "give the recipe a data.calibration");
    }
    const std::int64_t count = std::min(all->size(), kMostSamples);
    std::vector<std::int64_t> fitted, held_out;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t sample = i * all->size() / count;
      (count >= 8 && i % 4 == 3 ? held_out : fitted).push_back(sample);
    }
    if (held_out.empty()) held_out = fitted;
    batch_size_ = data.calibration_batch;
    fitted_ = std::make_shared<SubsetDataset>(all, fitted);
    held_out_ = std::make_shared<SubsetDataset>(all, held_out);
  }

  std::int64_t batches() const { return (fitted_->size() + batch_size_ - 1) / batch_size_; }

  void observe(const std::vector<Fit*>& fits) const {
    std::unordered_map<const Node*, Fit*> before, after;
    for (Fit* fit : fits) {
      for (const Node* node : fit->nodes_before) before[node] = fit;
      for (const Node* node : fit->nodes_after) after[node] = fit;
    }
    const c10::InferenceMode inference;
    const Interpreter run_before(before_), run_after(after_);
    progress_.begin("repair", fitted_->size());
    Loader loader(fitted_, batch_size_);
    for (Batch batch; loader.next(batch);) {
      const std::vector<c10::IValue> inputs(batch.inputs.begin(), batch.inputs.end());
      run_before.run(inputs, [&](const Node& node, c10::ArrayRef<c10::IValue> in,
                                 c10::ArrayRef<c10::IValue> out) {
        const auto fit = before.find(&node);
        if (fit != before.end()) fit->second->see_before(in[0].toTensor(), out[0].toTensor());
      });
      run_after.run(inputs, [&](const Node& node, c10::ArrayRef<c10::IValue> in,
                                c10::ArrayRef<c10::IValue> out) {
        const auto fit = after.find(&node);
        if (fit != after.end()) fit->second->see_after(node, in[0].toTensor(), out[0].toTensor());
      });
      progress_.advance(batch.size);
    }
    progress_.end();
  }

  double error() const {
    const c10::InferenceMode inference;
    double wrong = 0, all = 0;
    Loader loader(held_out_, batch_size_);
    for (Batch batch; loader.next(batch);) {
      const auto expected = before_.forward(batch.inputs), found = after_.forward(batch.inputs);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (!expected[i].is_floating_point()) continue;
        const at::Tensor y = expected[i].to(at::kDouble);
        wrong += (found[i].to(at::kDouble) - y).square().sum().item<double>();
        all += y.square().sum().item<double>();
      }
    }
    return wrong / all;
  }

  /// Applies the fits round by round, in order; all are taken back if the outputs are no nearer
  /// afterwards. Returns how many stay.
  std::int64_t repair(const std::vector<std::unique_ptr<Fit>>& fits, double& error_now) {
    if (fits.empty()) return 0;
    std::map<std::string, at::Tensor> saved;
    std::int64_t applied = 0;
    const std::size_t most = (fits.size() + kRounds - 1) / kRounds;
    for (std::size_t first = 0; first < fits.size(); first += most) {
      std::vector<Fit*> round;
      for (std::size_t i = first; i < std::min(first + most, fits.size()); ++i)
        round.push_back(fits[i].get());
      observe(round);
      for (const Fit* fit : round) {
        for (const std::string& name : fit->tensors) saved.emplace(name, after_.tensor(name));
        applied += fit->apply(after_);
      }
    }
    const double error_after = error();
    if (!(error_after < error_now)) {
      for (const auto& [name, tensor] : saved) after_.set_tensor(name, tensor);
      return 0;
    }
    error_now = error_after;
    return applied;
  }

 private:
  Model& after_;
  const Model& before_;
  Progress& progress_;
  std::shared_ptr<const Dataset> fitted_, held_out_;
  std::int64_t batch_size_ = 64;
};

std::map<std::string, std::string> biases_of(const Model& model) {
  std::map<std::string, std::string> biases;
  for (const Layer& layer : find_layers(model)) {
    if (layer.weight && layer.bias) biases[*layer.weight] = *layer.bias;
  }
  return biases;
}

std::vector<std::unique_ptr<Fit>> layer_fits(const Model& after, const Model& before,
                                             const KeptPositions& kept, std::int64_t batches,
                                             std::vector<std::string>& notes) {
  std::vector<std::unique_ptr<Fit>> fits;
  const LayerFilter every({}, {});
  std::map<std::string, PrunableWeight> weights_before;
  for (const PrunableWeight& weight : find_prunable_weights(before, every))
    weights_before.emplace(weight.weight, weight);
  const auto biases = biases_of(after);
  for (const PrunableWeight& weight : find_prunable_weights(after, every)) {
    const auto was = weights_before.find(weight.weight);
    if (!kept.is_consumer(weight.weight) || was == weights_before.end()) continue;
    const bool is_grouped_transposed =
        weight.kind == LayerKind::kConvTransposed && weight.groups > 1;
    if (!weight.has_features() || is_grouped_transposed) {
      notes.push_back(weight.layer + ": its inputs can't be told apart by weight");
      continue;
    }
    const std::int64_t out = weight.kind == LayerKind::kConvTransposed ? 1 : 0;
    const auto bias = biases.find(weight.weight);
    auto fit = std::make_unique<LayerFit>(
        was->second, weight,
        kept.of(weight.weight, out, was->second.sizes[static_cast<std::size_t>(out)]),
        bias == biases.end() ? "" : bias->second, batches);
    if (fit->floats() > kMomentFloats) {
      notes.push_back(weight.layer + ": it is too wide to be reconstructed");
      continue;
    }
    fits.push_back(std::move(fit));
  }
  return fits;
}

std::vector<std::unique_ptr<Fit>> batch_norm_fits(const Model& after, const Model& before,
                                                  const KeptPositions& kept) {
  std::vector<std::unique_ptr<Fit>> fits;
  std::map<std::string, const Node*> nodes_before;
  const auto visit = [](const Model& model, const auto& found) {
    for (const Layer& layer : find_layers(model)) {
      if (layer.kind != LayerKind::kBatchNorm) continue;
      const std::string mean = attribute_path(layer.node->input(3));
      const std::string variance = attribute_path(layer.node->input(4));
      if (!mean.empty() && !variance.empty()) found(layer.node, mean, variance);
    }
  };
  visit(before, [&](const Node* node, const std::string& mean, const std::string&) {
    nodes_before.emplace(mean, node);
  });
  visit(after, [&](const Node* node, const std::string& mean, const std::string& variance) {
    const auto was = nodes_before.find(mean);
    if (was == nodes_before.end()) return;
    fits.push_back(std::make_unique<BatchNormFit>(
        was->second, node, kept.of(mean, 0, before.tensor(mean).size(0)), mean, variance));
  });
  return fits;
}

}  // namespace

ChannelRepair repair_channels(Model& model, const Model& original, const ChannelGroups& groups,
                              const UnitChoice& removed, const DataSets& data, Progress& progress) {
  const KeptPositions kept(groups, removed);
  ChannelRepair repair;
  Pair pair(model, original, data, progress);
  double error = repair.error_before = pair.error();
  repair.layers =
      pair.repair(layer_fits(model, original, kept, pair.batches(), repair.notes), error);
  repair.batch_norms = pair.repair(batch_norm_fits(model, original, kept), error);
  repair.error_after = error;
  return repair;
}

}  // namespace edgecompress
