#include "quantization/int8_search.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace edgecompress {
namespace {

// A microsecond: what is less is not known to be a gain.
constexpr double kLeastGainMs = 1e-3;

bool is_slower(const Int8LayerCost& layer) { return layer.gain_ms && *layer.gain_ms <= 0; }

/// Share of the network's signal that the layer's rounding makes noise.
double noise(const Int8LayerCost& layer) { return std::pow(10.0, -layer.network_sqnr_db / 10); }

/// What is lost for what is gained by having the layer in INT8; equal gains where none is known.
double price(const Int8LayerCost& layer) {
  return noise(layer) / (layer.gain_ms ? std::max(*layer.gain_ms, kLeastGainMs) : 1.0);
}

class Int8Search {
 public:
  Int8Search(const std::vector<Int8LayerCost>& layers, const Int8Bounds& bounds,
             const std::function<Int8Worth(const Int8Candidate&)>& measure)
      : layers_(layers), bounds_(bounds), measure_(measure) {}

  Int8Choice run(bool has_dynamic) {
    std::set<std::string> floats;
    const Int8Trial all = attempt("all layers in INT8", {false, {}});
    for (const Int8LayerCost& layer : layers_) {
      if (is_slower(layer)) floats.insert(layer.name);
    }
    if (!floats.empty() && floats.size() < layers_.size()) {
      const Int8Trial faster = attempt("slower layers float", {false, floats});
      if (!is_better(faster, all)) floats.clear();
    } else {
      floats.clear();
    }
    if (has_dynamic) attempt("dynamic", {true, {}});
    bisect(std::move(floats));
    return choose();
  }

 private:
  const Int8Trial& attempt(const std::string& what, Int8Candidate candidate) {
    Int8Trial trial{what, std::move(candidate), {}, false};
    trial.worth = measure_(trial.candidate);
    trial.meets_bounds = bounds_.are_met(trial.worth);
    choice_.trials.push_back(std::move(trial));
    return choice_.trials.back();
  }

  /// Finds how many more layers have to stay float, if any.
  void bisect(std::set<std::string> floats) {
    const auto is_enough = [&](const Int8Worth& worth) {
      return worth.loss <= bounds_.max_accuracy_drop;
    };
    const bool is_met_already =
        std::any_of(choice_.trials.begin(), choice_.trials.end(), [&](const Int8Trial& trial) {
          return !trial.candidate.is_dynamic && is_enough(trial.worth);
        });
    if (is_met_already) return;
    const std::vector<std::string> order = dearest_first(floats);
    std::size_t too_few = 0, enough = order.size();  // all of them: the float network
    while (enough - too_few > 1) {
      const std::size_t count = (too_few + enough) / 2;
      std::set<std::string> more = floats;
      more.insert(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
      const std::string what =
          std::to_string(more.size()) + " of " + std::to_string(layers_.size()) + " layers float";
      (is_enough(attempt(what, {false, std::move(more)}).worth) ? enough : too_few) = count;
    }
  }

  std::vector<std::string> dearest_first(const std::set<std::string>& floats) const {
    std::vector<const Int8LayerCost*> left;
    for (const Int8LayerCost& layer : layers_) {
      if (!floats.count(layer.name)) left.push_back(&layer);
    }
    std::stable_sort(left.begin(), left.end(), [](const Int8LayerCost* a, const Int8LayerCost* b) {
      return price(*a) > price(*b);
    });
    std::vector<std::string> names;
    for (const Int8LayerCost* layer : left) names.push_back(layer->name);
    return names;
  }

  bool is_better(const Int8Trial& a, const Int8Trial& b) const {
    const auto rank = [this](const Int8Trial& trial) {
      const Int8Worth& worth = trial.worth;
      const bool is_accurate = worth.loss <= bounds_.max_accuracy_drop;
      const double last = is_accurate ? worth.latency_share.value_or(worth.size_share) : worth.loss;
      return std::make_tuple(!trial.meets_bounds, !is_accurate, last);
    };
    return rank(a) < rank(b);
  }

  /// Against the float network, which loses nothing and takes its whole time and size.
  bool is_worth_it(const Int8Trial& trial) const {
    const Int8Worth& worth = trial.worth;
    if (!worth.has_int8 || worth.loss > bounds_.max_accuracy_drop) return false;
    if (bounds_.max_size_ratio && worth.size_share < 1) return true;
    return worth.latency_share ? *worth.latency_share < 1 : worth.size_share < 1;
  }

  Int8Choice choose() {
    for (std::size_t i = 0; i < choice_.trials.size(); ++i) {
      const Int8Trial& trial = choice_.trials[i];
      if (!is_worth_it(trial)) continue;
      if (!choice_.best || is_better(trial, choice_.trials[*choice_.best])) choice_.best = i;
    }
    return std::move(choice_);
  }

  const std::vector<Int8LayerCost>& layers_;
  const Int8Bounds& bounds_;
  const std::function<Int8Worth(const Int8Candidate&)>& measure_;
  Int8Choice choice_;
};

}  // namespace

Options<Int8Bounds> int8_bound_options() {
  using T = Int8Bounds;
  Options<T> options;
  options
      .add("max_accuracy_drop", &T::max_accuracy_drop,
           "how much of the metric the float network may lose; without labels, which share of the "
           "calibration samples may change class (of outputs that are not classes: 1 - their "
           "cosine with the float ones)")
      .at_least(0)
      .only_with("mode", {"auto"});
  options
      .add("min_speedup", &T::min_speedup,
           "how many times faster than the float network it must be; as a bound of any other mode, "
           "give it to the step's gate")
      .above(0)
      .only_with("mode", {"auto"});
  options
      .add("max_size_ratio", &T::max_size_ratio,
           "which share of the float network's file it may take; as a bound of any other mode, "
           "give it to the step's gate")
      .above(0)
      .only_with("mode", {"auto"});
  return options;
}

bool Int8Bounds::are_met(const Int8Worth& worth) const {
  if (worth.loss > max_accuracy_drop) return false;
  if (min_speedup && !(worth.latency_share && *worth.latency_share * *min_speedup <= 1))
    return false;
  return !max_size_ratio || worth.size_share <= *max_size_ratio;
}

Int8Choice search_int8(const std::vector<Int8LayerCost>& layers, const Int8Bounds& bounds,
                       bool has_dynamic,
                       const std::function<Int8Worth(const Int8Candidate&)>& measure) {
  return Int8Search(layers, bounds, measure).run(has_dynamic);
}

}  // namespace edgecompress
