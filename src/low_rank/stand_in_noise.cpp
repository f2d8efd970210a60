#include "low_rank/stand_in_noise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "eval/sqnr.h"
#include "model/interpreter.h"
#include "model/weight_matrix.h"
#include "train/held_out_calibration.h"

namespace edgecompress {
namespace {

using torch::jit::Node;

constexpr std::int64_t kMostSamples = 32, kMostInNoiseBatch = 8;

/// Which stand-in each node belongs to, and its place among the nodes of that one's weight.
using Places = std::unordered_map<const Node*, std::pair<std::size_t, std::size_t>>;

Places places_of(const Model& model, const std::vector<std::string>& weights) {
  Places places;
  for (const PrunableWeight& weight : find_prunable_weights(model, LayerFilter({}, {}))) {
    const auto found = std::find(weights.begin(), weights.end(), weight.weight);
    if (found == weights.end()) continue;
    for (std::size_t i = 0; i < weight.nodes.size(); ++i)
      places[weight.nodes[i]] = {static_cast<std::size_t>(found - weights.begin()), i};
  }
  return places;
}

struct Sums {
  double signal = 0, noise = 0;
};

double squares(const at::Tensor& values) {
  return values.to(at::kDouble).square().sum().item<double>();
}

}  // namespace

std::vector<std::optional<double>> stand_in_sqnr_db(const Model& before, const Model& after,
                                                    const std::vector<StandIn>& stand_ins,
                                                    const DataSets& data, Progress& progress) {
  const c10::InferenceMode inference;
  std::vector<std::string> names_before, names_after;
  for (const StandIn& stand_in : stand_ins) {
    names_before.push_back(stand_in.before);
    names_after.push_back(stand_in.after);
  }
  const Places places_before = places_of(before, names_before),
               places_after = places_of(after, names_after);
  const Interpreter original(before), changed(after);
  const auto samples = hold_out_calibration(data, 4 * kMostSamples).held_out;
  std::vector<Sums> sums(stand_ins.size());
  progress.begin("compare", samples->size());
  Loader loader(samples, std::min(data.calibration_batch, kMostInNoiseBatch));
  for (Batch batch; loader.next(batch);) {
    const std::vector<c10::IValue> inputs(batch.inputs.begin(), batch.inputs.end());
    std::map<std::pair<std::size_t, std::size_t>, at::Tensor> outputs;
    original.run(inputs, [&](const Node& node, auto, c10::ArrayRef<c10::IValue> out) {
      const auto place = places_before.find(&node);
      if (place != places_before.end()) outputs[place->second] = out[0].toTensor();
    });
    changed.run(inputs, [&](const Node& node, auto, c10::ArrayRef<c10::IValue> out) {
      const auto place = places_after.find(&node);
      if (place == places_after.end()) return;
      const at::Tensor expected = outputs[place->second];
      if (!expected.defined()) return;
      Sums& sum = sums[place->second.first];
      sum.signal += squares(expected);
      sum.noise += squares(out[0].toTensor() - expected);
    });
    progress.advance(batch.size);
  }
  progress.end();
  std::vector<std::optional<double>> ratios;
  for (const Sums& sum : sums) {
    ratios.push_back(sum.signal > 0 ? std::optional(sqnr_db(sum.signal, sum.noise)) : std::nullopt);
  }
  return ratios;
}

}  // namespace edgecompress
