#include "low_rank/low_rank_factorization.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "edgecompress/error.h"
#include "low_rank/stand_in_noise.h"
#include "pruning/damage_meter.h"

namespace edgecompress {
namespace {

bool has_calibration(const DataSets* data) {
  return data != nullptr && data->calibration && data->calibration->size() > 0;
}

LayerCost cost_of_network(const Model& model) {
  LayerCost cost;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) cost.macs += node.macs;
  for (const auto& parameter : model.named_parameters())
    cost.parameters += parameter.second.numel();
  return cost;
}

/// A choice and, where a layer is left as it is, why.
struct Decision {
  std::optional<RankOption> option;
  std::string reason;
};

using Candidates = std::vector<LowRankCandidate>;

/// Of those that are cheaper than the layer, the one that loses least for what it saves.
Decision best_of(const LowRankCandidate& candidate, const std::vector<RankOption>& options) {
  Decision best;
  const auto loss_rate = [&](const RankOption& option) {
    return option.lost / static_cast<double>(candidate.as_it_is.macs - option.cost.macs);
  };
  for (const RankOption& option : options) {
    if (!candidate.is_cheaper(option)) {
      if (!best.option) best.reason = fmt::format("rank {} makes it no cheaper", option.rank);
    } else if (!best.option || loss_rate(option) < loss_rate(*best.option)) {
      best = {option, ""};
    }
  }
  return best;
}

/// One option of each scheme: of the rank that `rank_of` gives, rounded up.
template <class RankOf>
Decision decide_by_rank(const LowRankCandidate& candidate, std::int64_t round_to,
                        const RankOf& rank_of) {
  const std::int64_t step = candidate.rank_step(round_to);
  std::vector<RankOption> options;
  for (const auto& [scheme, approximation] : candidate.approximations) {
    const std::int64_t wanted = std::max<std::int64_t>(rank_of(approximation), 1);
    const std::int64_t rank = (wanted + step - 1) / step * step;
    if (rank <= approximation.full_rank()) options.push_back(candidate.option(scheme, rank));
  }
  if (options.empty()) return {{}, "it has no such rank"};
  return best_of(candidate, options);
}

std::int64_t rank_that_keeps(const LowRankApproximation& approximation, double energy) {
  const std::vector<double>& lost = approximation.lost();
  // Shares like 0.9 are meant, however they round.
  const auto enough = std::find_if(lost.begin(), lost.end(),
                                   [&](double share) { return share <= 1 - energy + 1e-12; });
  return enough - lost.begin();
}

/// The weight that the option puts into the place of the candidate's.
at::Tensor replaced_weight(const Model& model, const LowRankCandidate& candidate,
                           const RankOption& option) {
  const at::Tensor product =
      product_of(candidate.approximations.at(option.scheme).factors(option.rank), candidate.weight,
                 option.scheme);
  return product.to(model.tensor(candidate.weight.weight).scalar_type());
}

/// Spends a budget where it changes the network's outputs least, as far as calibration data tell.
class MeasuredChoice {
 public:
  MeasuredChoice(Model& model, const Candidates& candidates, const DataSets& data,
                 std::int64_t macs_of_network, Progress& progress)
      : model_(model),
        candidates_(candidates),
        meter_(model, data, affordable_samples(candidates.size(), macs_of_network)),
        progress_(progress) {}

  /// The damages of `layers`, measured one by one, add up only roughly: of the choices by them, by
  /// their roots and without them, the one that is best when measured as a whole.
  RankChoice choose(std::vector<RankOptions> layers, std::int64_t LayerCost::*cost,
                    std::int64_t budget) {
    measure(layers);
    RankChoice best;
    double least = std::numeric_limits<double>::infinity();
    for (const double power : {1.0, 0.5, 0.0}) {
      std::vector<RankOptions> weighed = layers;
      for (RankOptions& layer : weighed) layer.damage = std::pow(layer.damage, power);
      RankChoice choice = choose_within_budget(weighed, cost, budget);
      const double damage = damage_of(choice);
      if (!best.chosen.empty() && !(damage < least)) continue;
      least = damage;
      best = std::move(choice);
    }
    return best;
  }

 private:
  static std::int64_t affordable_samples(std::size_t layers, std::int64_t macs_of_network) {
    constexpr double kMostMacs = 1e12;
    constexpr std::int64_t kMostSamples = 64, kFewestSamples = 4;
    const double macs_of_sample = static_cast<double>(std::max<std::int64_t>(macs_of_network, 1)) *
                                  static_cast<double>(layers + 4);
    return std::clamp(static_cast<std::int64_t>(kMostMacs / macs_of_sample), kFewestSamples,
                      kMostSamples);
  }

  /// What a lost share of one does, by what about half of each layer does.
  void measure(std::vector<RankOptions>& layers) {
    progress_.begin("sensitivity", static_cast<std::int64_t>(layers.size()));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      progress_.advance();
      const RankOption* half = nullptr;
      for (const RankOption& option : layers[i].options) {
        const bool is_low = 2 * option.cost.macs <= layers[i].as_it_is.macs && option.lost > 0;
        if (is_low && (half == nullptr || option.lost < half->lost)) half = &option;
      }
      if (half == nullptr) continue;
      const std::string& name = candidates_[i].weight.weight;
      const at::Tensor weight = replaced_weight(model_, candidates_[i], *half);
      layers[i].damage = meter_.damage({{name, weight}}) / half->lost;
    }
    progress_.end();
  }

  double damage_of(const RankChoice& choice) {
    std::map<std::string, at::Tensor> weights;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (!choice.chosen[i]) continue;
      weights[candidates_[i].weight.weight] =
          replaced_weight(model_, candidates_[i], *choice.chosen[i]);
    }
    return meter_.damage(weights);
  }

  Model& model_;
  const Candidates& candidates_;
  DamageMeter meter_;
  Progress& progress_;
};

/// One network becoming another.
class Factorization {
 public:
  Factorization(const LowRankFactorization& settings, Model& model, const DataSets* data,
                Progress& progress)
      : settings_(settings),
        model_(model),
        data_(has_calibration(data) ? data : nullptr),
        progress_(progress) {}

  LowRankResult run() {
    const ShapeMap shapes = record_shapes(model_, model_.example_inputs(0));
    candidates_ = find_low_rank_candidates(model_, shapes, settings_.rules, result_.left);
    approximate(candidates_, model_, data_, progress_);
    result_.before = cost_of_network(model_);
    const std::vector<Decision> decisions = decide();
    const Model original = model_.clone();
    std::vector<StandIn> stand_ins;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (decisions[i].option) {
        stand_ins.push_back(replace(candidates_[i], *decisions[i].option));
      } else {
        result_.left.push_back({candidates_[i].weight.layer, decisions[i].reason});
      }
    }
    model_.remove_unused_attributes();
    if (data_ != nullptr && !stand_ins.empty()) {
      result_.repair = repair_stand_ins(model_, original, stand_ins, *data_, progress_);
      const auto noise = stand_in_sqnr_db(original, model_, stand_ins, *data_, progress_);
      for (std::size_t i = 0; i < noise.size(); ++i) result_.layers[i].sqnr_db = noise[i];
    }
    result_.after = cost_of_network(model_);
    return std::move(result_);
  }

 private:
  std::vector<Decision> decide() {
    const LowRankTarget& target = settings_.target;
    std::vector<Decision> decisions;
    if (target.kind == LowRankTarget::Kind::kMacs) return decide_by_budget(&LayerCost::macs);
    if (target.kind == LowRankTarget::Kind::kParameters)
      return decide_by_budget(&LayerCost::parameters);
    for (const LowRankCandidate& candidate : candidates_) {
      decisions.push_back(decide_by_rank(
          candidate, settings_.round_to, [&](const LowRankApproximation& approximation) {
            if (target.kind == LowRankTarget::Kind::kEnergy)
              return rank_that_keeps(approximation, target.value);
            const auto full = static_cast<double>(approximation.full_rank());
            return static_cast<std::int64_t>(
                std::lround(target.value < 1 ? target.value * full : target.value));
          }));
    }
    return decisions;
  }

  std::vector<Decision> decide_by_budget(std::int64_t LayerCost::*cost) {
    std::vector<RankOptions> layers;
    std::int64_t of_candidates = 0;
    for (const LowRankCandidate& candidate : candidates_) {
      layers.push_back({candidate.as_it_is, candidate.cheaper_options(settings_.round_to), 1});
      of_candidates += candidate.as_it_is.*cost;
    }
    const std::int64_t whole = result_.before.*cost;
    const double left = settings_.target.value * static_cast<double>(whole);
    // What the candidates may cost: the rest of the network costs what it did.
    const std::int64_t budget =
        static_cast<std::int64_t>(std::floor(left)) - (whole - of_candidates);
    const RankChoice choice = data_ == nullptr ? choose_within_budget(layers, cost, budget)
                                               : MeasuredChoice(model_, candidates_, *data_,
                                                                result_.before.macs, progress_)
                                                     .choose(layers, cost, budget);
    result_.is_met = choice.is_met;
    std::vector<Decision> decisions;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const char* reason =
          layers[i].options.empty() ? "no rank makes it cheaper" : "the target is met without it";
      decisions.push_back({choice.chosen[i], reason});
    }
    return decisions;
  }

  StandIn replace(const LowRankCandidate& candidate, const RankOption& option) {
    const LowRankApproximation& approximation = candidate.approximations.at(option.scheme);
    const auto dtype = model_.tensor(candidate.weight.weight).scalar_type();
    FactorPair factors = approximation.factors(option.rank);
    factors = {factors.first.to(dtype), factors.second.to(dtype)};
    FactoredLayer row;
    row.layer = candidate.weight.layer;
    row.scheme = option.scheme;
    row.rank = option.rank;
    row.full_rank = approximation.full_rank();
    row.energy_kept = 1 - option.lost;
    row.is_data_aware = candidate.is_data_aware;
    row.before = candidate.as_it_is;
    row.after = option.cost;
    result_.layers.push_back(row);
    return {candidate.weight.weight,
            replace_by_factors(model_, candidate.weight, option.scheme, factors)};
  }

  const LowRankFactorization& settings_;
  Model& model_;
  const DataSets* data_;
  Progress& progress_;
  Candidates candidates_;
  LowRankResult result_;
};

}  // namespace

LowRankResult LowRankFactorization::apply(Model& model, const DataSets* data,
                                          Progress& progress) const {
  if (model.inputs().empty()) {
    throw Error(ExitCode::kPass, "what a layer costs is known from a run of the model",
                "give the shapes of the model's inputs (model.inputs)");
  }
  const at::NoGradGuard no_grad;
  return Factorization(*this, model, data, progress).run();
}

}  // namespace edgecompress
