#include "pruning/sparsity_training.h"

#include <algorithm>
#include <numeric>

#include "pruning/unit_penalty.h"

namespace edgecompress {
namespace {

constexpr double kGrowingPart = 0.8;  // of the steps; the rest is for the others to settle

double strength_of(const SparsityTrainingOptions& options) {
  return options.strength.value_or(options.regularizer == "growing" ? 1 : 1e-3);
}

double mean(const std::vector<double>& values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// Of the smallest units of each group, as many as go, over the others.
double share_of_smallest(const UnitPenalty& units, const UnitChoice& going) {
  std::vector<double> smallest, others;
  const auto of_groups = units.root_mean_squares();
  for (std::size_t g = 0; g < of_groups.size(); ++g) {
    std::vector<double> sorted = of_groups[g];
    std::sort(sorted.begin(), sorted.end());
    const auto middle =
        sorted.begin() + static_cast<std::ptrdiff_t>(std::min(going[g].size(), sorted.size()));
    smallest.insert(smallest.end(), sorted.begin(), middle);
    others.insert(others.end(), middle, sorted.end());
  }
  const double of_others = mean(others);
  return of_others > 0 ? mean(smallest) / of_others : 0;
}

}  // namespace

Options<SparsityTrainingOptions> sparsity_training_options() {
  using T = SparsityTrainingOptions;
  T defaults;
  defaults.training.train.keep_best = false;
  Options<T> options(defaults);
  options
      .add("regularizer", &T::regularizer,
           "group_lasso pulls at every channel and lets training choose; growing pulls ever harder "
           "at those that are to go")
      .one_of({"group_lasso", "growing"});
  options
      .add("strength", &T::strength,
           "of the pull, at its largest; by default 0.001 for group_lasso, 1 for growing")
      .above(0);
  options.splice(&T::training, fine_tuning_options(defaults.training.train));
  return options;
}

SparsityTraining train_to_sparsity(Model& model, const SparsityTrainingOptions& options,
                                   const ChannelRemoval& planned, const std::string& pass,
                                   const TrainingContext& context) {
  const UnitPenalty going(model, planned.groups, planned.removed);
  const UnitPenalty all(model, planned.groups, every_unit(planned.groups, planned.is_open));
  const double strength = strength_of(options);
  const auto regularize = [&](std::int64_t step, std::int64_t steps) {
    if (options.regularizer == "group_lasso") return all.add_group_lasso(strength);
    const double way = static_cast<double>(step + 1) / (kGrowingPart * static_cast<double>(steps));
    going.add_decay(strength * std::min(way, 1.0));
  };
  SparsityTraining result;
  result.share_before = share_of_smallest(all, planned.removed);
  result.training = fine_tune(model, options.training, pass, context, regularize);
  result.share_after = share_of_smallest(all, planned.removed);
  return result;
}

}  // namespace edgecompress
