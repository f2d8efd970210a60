#include "low_rank/low_rank_candidates.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "train/input_moments.h"

namespace edgecompress {
namespace {

// Of zeros, from which on a weight counts as pruned: single zeros are chance.
constexpr double kPrunedShare = 0.05;
constexpr std::int64_t kMostMoments = std::int64_t{512} << 20;

double share_of_zeros(const at::Tensor& weight) {
  const auto zeros = (weight.detach() == 0).sum().item<std::int64_t>();
  return static_cast<double>(zeros) /
         static_cast<double>(std::max<std::int64_t>(weight.numel(), 1));
}

bool was_reached(const PrunableWeight& weight, const ShapeMap& shapes) {
  return std::all_of(weight.nodes.begin(), weight.nodes.end(), [&](const torch::jit::Node* node) {
    return shapes.count(node->input(0)) > 0 && shapes.count(node->output()) > 0;
  });
}

std::string why_left(const Model& model, const PrunableWeight& weight, const ShapeMap& shapes,
                     bool takes_pruned) {
  if (const std::string reason = why_not_factored(model, weight); !reason.empty()) return reason;
  if (!was_reached(weight, shapes)) return "the example input does not reach it";
  const double zeros = share_of_zeros(model.tensor(weight.weight));
  if (zeros > kPrunedShare && !takes_pruned) {
    return fmt::format(
        "{:.0f} % of its weights are zero, and no longer would be (factor_pruned takes it)",
        100 * zeros);
  }
  return "";
}

bool can_be_observed(const PrunableWeight& weight) {
  return weight.has_features() && MomentRequest{&weight, Moment::kProducts}.bytes() <= kMostMoments;
}

/// [first, last) of the candidates whose moments fit into memory together.
std::size_t end_of_moments(const std::vector<LowRankCandidate>& candidates, std::size_t first) {
  std::int64_t bytes = 0;
  std::size_t last = first;
  for (; last < candidates.size(); ++last) {
    const PrunableWeight& weight = candidates[last].weight;
    if (can_be_observed(weight)) bytes += MomentRequest{&weight, Moment::kProducts}.bytes();
    if (bytes > kMostMoments) break;
  }
  return std::max(last, first + 1);
}

}  // namespace

RankOption LowRankCandidate::option(FactorScheme of, std::int64_t rank) const {
  const LayerCost& unit = cost_of_rank.at(of);
  return {of,
          rank,
          {unit.macs * rank, unit.parameters * rank},
          approximations.at(of).lost()[static_cast<std::size_t>(rank)]};
}

bool LowRankCandidate::is_cheaper(const RankOption& option) const {
  return option.cost.macs < as_it_is.macs && option.cost.parameters < as_it_is.parameters;
}

std::int64_t LowRankCandidate::rank_step(std::int64_t round_to) const {
  return round_to / std::gcd(round_to, weight.groups);
}

std::vector<RankOption> LowRankCandidate::cheaper_options(std::int64_t round_to) const {
  std::vector<RankOption> options;
  const std::int64_t step = rank_step(round_to);
  for (const auto& [scheme, approximation] : approximations) {
    for (std::int64_t rank = step; rank <= approximation.full_rank(); rank += step) {
      const RankOption found = option(scheme, rank);
      if (!is_cheaper(found)) break;
      options.push_back(found);
    }
  }
  return options;
}

std::vector<LowRankCandidate> find_low_rank_candidates(const Model& model, const ShapeMap& shapes,
                                                       const CandidateRules& rules,
                                                       std::vector<LayerLeft>& left) {
  for (const Layer& layer : find_layers(model)) {
    const bool is_kind = layer.kind == LayerKind::kConv || layer.kind == LayerKind::kLinear;
    if (is_kind && !layer.weight && rules.filter.accepts(layer.name))
      left.push_back({layer.name, "its weight is computed by the network"});
  }
  std::vector<LowRankCandidate> candidates;
  for (const PrunableWeight& weight : find_prunable_weights(model, rules.filter)) {
    const std::string reason = why_left(model, weight, shapes, rules.takes_pruned);
    if (!reason.empty()) {
      left.push_back({weight.layer, reason});
      continue;
    }
    LowRankCandidate candidate;
    candidate.weight = weight;
    candidate.as_it_is = cost_of_layer(weight, shapes);
    const bool has_spatial = has_spatial_scheme(weight);
    for (const FactorScheme scheme : {FactorScheme::kChannel, FactorScheme::kSpatial}) {
      const bool is_had = scheme == FactorScheme::kChannel || has_spatial;
      const bool is_asked = !rules.scheme || *rules.scheme == scheme || !has_spatial;
      if (is_had && is_asked) candidate.cost_of_rank[scheme] = cost_of_rank(weight, scheme, shapes);
    }
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

void approximate(std::vector<LowRankCandidate>& candidates, const Model& model,
                 const DataSets* data, Progress& progress) {
  const bool has_data = data != nullptr && data->calibration && data->calibration->size() > 0;
  for (std::size_t first = 0, last = 0; first < candidates.size(); first = last) {
    last = has_data ? end_of_moments(candidates, first) : candidates.size();
    std::vector<MomentRequest> requests;
    for (std::size_t i = first; has_data && i < last; ++i) {
      if (can_be_observed(candidates[i].weight))
        requests.push_back({&candidates[i].weight, Moment::kProducts});
    }
    auto moments = has_data ? sum_input_moments(model, requests, data, progress)
                            : std::map<std::string, at::Tensor>();
    progress.begin("decompose", static_cast<std::int64_t>(last - first));
    for (std::size_t i = first; i < last; ++i) {
      LowRankCandidate& candidate = candidates[i];
      const PrunableWeight& weight = candidate.weight;
      const at::Tensor products = moments[weight.weight];
      candidate.is_data_aware = products.defined();
      const at::Tensor matrix = weight.to_matrix(model.tensor(weight.weight));
      for (const auto& [scheme, cost] : candidate.cost_of_rank)
        candidate.approximations.try_emplace(scheme, weight, scheme, matrix, products);
      moments.erase(weight.weight);
      progress.advance();
    }
    progress.end();
  }
}

}  // namespace edgecompress
