#include "quantization/int8_auto.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "eval/reference_outputs.h"

namespace edgecompress {
namespace {

Forward forward_through(const Model& model) {
  return [&model](const std::vector<at::Tensor>& inputs) { return model.forward(inputs); };
}

/// How much worse than the float network another one is.
class LossMeter {
 public:
  LossMeter(const Model& model, const Int8Measures& measures, const DataSets& data)
      : score_(measures.score), data_(data), reference_(forward_through(model)) {
    if (score_) before_ = score_(forward_through(model));
  }

  double loss(const Model& candidate) {
    if (score_) return accuracy_drop(before_, score_(forward_through(candidate)));
    Progress silent;
    const Fidelity fidelity =
        evaluate_fidelity(forward_through(candidate), reference_, *data_.calibration,
                          data_.calibration_batch, "calibration", silent);
    return 1 - fidelity.top1_agreement.value_or(fidelity.cosine);
  }

 private:
  const std::function<Score(const Forward&)>& score_;
  const DataSets& data_;
  ReferenceOutputs reference_;
  Score before_;
};

Json row_of(const Int8Trial& trial, bool is_best) {
  const Int8Worth& worth = trial.worth;
  return {{"trial", trial.what},
          {"accuracy_drop", worth.loss},
          {"latency_share", worth.latency_share ? Json(*worth.latency_share) : Json()},
          {"size_share", worth.size_share},
          {"bounds", trial.meets_bounds ? "met" : "missed"},
          {"written", is_best ? "yes" : "no"}};
}

class Int8Auto {
 public:
  Int8Auto(Model& model, const Int8Scheme& scheme, const LayerRefusal& refusal,
           const Int8Makers& makers, const Int8Measures& measures)
      : model_(model),
        scheme_(scheme),
        refusal_(refusal),
        makers_(makers),
        measures_(measures),
        facts_(model) {}

  Int8AutoResult run(const Int8Bounds& bounds, const DataSets& data, Progress& progress) {
    look_at_layers(data, progress);
    const std::vector<Int8LayerCost> costs = layer_costs();
    LossMeter meter(model_, measures_, data);
    progress.begin("try INT8 networks", 0);
    const Int8Choice choice = search_int8(
        costs, bounds, makers_.make_dynamic != nullptr, [&](const Int8Candidate& candidate) {
          const Int8Network network = make(candidate);
          Int8Worth worth;
          worth.has_int8 = std::any_of(network.layers.begin(), network.layers.end(),
                                       [](const Int8Layer& layer) { return layer.is_int8; });
          worth.loss = meter.loss(network.model);
          if (measures_.latency_share) worth.latency_share = measures_.latency_share(network.model);
          if (measures_.size_share) worth.size_share = measures_.size_share(network.model);
          progress.advance();
          return worth;
        });
    progress.end();
    return result(choice);
  }

 private:
  void look_at_layers(const DataSets& data, Progress& progress) {
    facts_.diagnose(model_, scheme_, data, Int8DiagnosisDepth::kNetwork, progress);
    if (measures_.node_latency)
      facts_.time(model_, scheme_, makers_.make_static(model_, scheme_), measures_.node_latency);
  }

  std::vector<Int8LayerCost> layer_costs() const {
    std::vector<Int8LayerCost> costs;
    std::set<std::string> seen;
    for (const Int8Op& op : scheme_.plan.ops) {
      if (!op.layer || !seen.insert(op.layer->name).second) continue;
      const Int8LayerFacts& facts = facts_.of(op.layer->name);
      if (!facts.diagnosis) continue;
      costs.push_back(
          {op.layer->name, facts.diagnosis->network_sqnr_db.value_or(0), facts.gain_ms()});
    }
    return costs;
  }

  Int8Network make(const Int8Candidate& candidate) const {
    if (candidate.is_dynamic) return makers_.make_dynamic(model_);
    const auto refuse = [&](const Layer& layer) {
      return candidate.floats.count(layer.name) ? why_float(layer.name) : refusal_(layer);
    };
    return makers_.make_static(model_, scheme_.without(model_, refuse));
  }

  std::string why_float(const std::string& layer) const {
    const Int8LayerFacts& facts = facts_.of(layer);
    const auto gain = facts.gain_ms();
    if (gain && *gain <= 0) return "INT8 is slower here";
    return fmt::format(
        "kept for accuracy: rounding it alone leaves the network's outputs {:.1f} dB",
        facts.diagnosis->network_sqnr_db.value_or(0));
  }

  Int8AutoResult result(const Int8Choice& choice) {
    Int8AutoResult result{std::nullopt, facts_, Json::array(), ""};
    for (std::size_t i = 0; i < choice.trials.size(); ++i)
      result.trials.push_back(row_of(choice.trials[i], choice.best == i));
    if (!choice.best) {
      result.note = measures_.latency_share
                        ? "no INT8 network is within max_accuracy_drop and faster than float"
                        : "no INT8 network is within max_accuracy_drop and smaller than float";
      return result;
    }
    const Int8Trial& best = choice.trials[*choice.best];
    result.best = make(best.candidate);
    result.note = fmt::format("{}, the best of {} tried", best.what, choice.trials.size());
    if (!best.meets_bounds) result.note += "; none met every bound";
    return result;
  }

  Model& model_;
  const Int8Scheme& scheme_;
  const LayerRefusal& refusal_;
  const Int8Makers& makers_;
  const Int8Measures& measures_;
  Int8Facts facts_;
};

}  // namespace

Int8AutoResult choose_int8_layers(Model& model, const Int8Scheme& scheme,
                                  const LayerRefusal& refusal, const Int8Makers& makers,
                                  const Int8Bounds& bounds, const Int8Measures& measures,
                                  const DataSets& data, Progress& progress) {
  return Int8Auto(model, scheme, refusal, makers, measures).run(bounds, data, progress);
}

}  // namespace edgecompress
