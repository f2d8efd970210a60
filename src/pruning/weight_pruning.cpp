#include "pruning/weight_pruning.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "pruning/sparsegpt.h"
#include "train/input_moments.h"

namespace edgecompress {
namespace {

constexpr std::size_t kRounds = 8;
constexpr std::int64_t kMomentBytes = std::int64_t{512} << 20;

Moment moment_for(PruneCriterion criterion, const PrunableWeight& weight) {
  const MomentRequest products = {&weight, Moment::kProducts};
  const bool is_wide = products.bytes() > kMomentBytes;
  return criterion == PruneCriterion::kSparseGpt && !is_wide ? Moment::kProducts : Moment::kSquares;
}

/// [first, last) of the weights that are pruned by the same forward pass.
std::size_t end_of_round(const std::vector<PrunableWeight>& weights, std::size_t first,
                         PruneCriterion criterion) {
  const std::size_t most = (weights.size() + kRounds - 1) / kRounds;
  std::int64_t bytes = 0;
  std::size_t last = first;
  for (; last < weights.size() && last - first < most; ++last) {
    bytes += MomentRequest{&weights[last], moment_for(criterion, weights[last])}.bytes();
    if (last > first && bytes > kMomentBytes) break;
  }
  return last;
}

std::map<std::string, at::Tensor> moments_of_round(const Model& model,
                                                   const std::vector<PrunableWeight>& weights,
                                                   std::size_t first, std::size_t last,
                                                   PruneCriterion criterion, const DataSets* data,
                                                   Progress& progress) {
  std::vector<MomentRequest> requests;
  for (std::size_t i = first; i < last; ++i) {
    if (weights[i].has_features())
      requests.push_back({&weights[i], moment_for(criterion, weights[i])});
  }
  return sum_input_moments(model, requests, data, progress);
}

/// Whether magnitudes would take nothing but zeros.
bool is_pruned_already(const at::Tensor& matrix, double share, const SparsityPattern& pattern,
                       std::int64_t run) {
  const at::Tensor mask = prune_mask(matrix.abs(), share, pattern, RankedWithin::kMatrix, run);
  return matrix.masked_select(mask).eq(0).all().item<bool>();
}

bool are_products(const at::Tensor& moments) { return moments.defined() && moments.dim() == 3; }

/// Weights that did not change keep their bits, whatever their dtype.
void store_pruned(Model& model, const PrunableWeight& weight, const at::Tensor& matrix) {
  const at::Tensor original = model.tensor(weight.weight).detach();
  const at::Tensor pruned = weight.from_matrix(matrix);
  model.set_tensor(weight.weight, at::where(pruned == original.to(at::kFloat), original,
                                            pruned.to(original.scalar_type())));
}

}  // namespace

at::Tensor prune_scores(const PrunableWeight& weight, const at::Tensor& matrix,
                        const at::Tensor& squares) {
  if (!squares.defined()) return matrix.abs();
  const at::Tensor norms = squares.sqrt().to(at::kFloat).unsqueeze(1);
  return (matrix.abs().reshape({weight.groups, -1, weight.columns()}) * norms)
      .reshape(matrix.sizes());
}

at::Tensor WeightPruning::prune(const PrunableWeight& weight, const at::Tensor& matrix,
                                double share, const at::Tensor& moments) const {
  if (are_products(moments)) {
    if (is_pruned_already(matrix, share, pattern, weight.run())) return matrix;
    return prune_with_compensation(matrix, moments, share, pattern, weight.run());
  }
  const RankedWithin within = moments.defined() ? RankedWithin::kRow : RankedWithin::kMatrix;
  const at::Tensor scores = prune_scores(weight, matrix, moments);
  return matrix.masked_fill(prune_mask(scores, share, pattern, within, weight.run()), 0);
}

std::vector<std::string> WeightPruning::apply(Model& model,
                                              const std::vector<PrunableWeight>& weights,
                                              const std::vector<double>& shares,
                                              const DataSets* data, Progress& progress) const {
  std::vector<std::string> notes;
  const bool is_blind = criterion == PruneCriterion::kMagnitude;
  for (std::size_t first = 0, last = 0; first < weights.size(); first = last) {
    last = is_blind ? weights.size() : end_of_round(weights, first, criterion);
    std::map<std::string, at::Tensor> moments;
    if (!is_blind)
      moments = moments_of_round(model, weights, first, last, criterion, data, progress);
    progress.begin("prune", static_cast<std::int64_t>(last - first));
    for (std::size_t i = first; i < last; ++i) {
      const PrunableWeight& weight = weights[i];
      const at::Tensor inputs = moments[weight.weight];
      if (!is_blind && !inputs.defined())
        notes.push_back(weight.layer + ": by magnitude, its inputs can't be observed");
      else if (criterion == PruneCriterion::kSparseGpt && !are_products(inputs))
        notes.push_back(weight.layer + ": by wanda, it is too wide for sparsegpt");
      const at::Tensor matrix = weight.to_matrix(model.tensor(weight.weight));
      store_pruned(model, weight, prune(weight, matrix, shares[i], inputs));
      progress.advance();
    }
    progress.end();
  }
  return notes;
}

}  // namespace edgecompress
