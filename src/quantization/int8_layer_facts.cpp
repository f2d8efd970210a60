#include "quantization/int8_layer_facts.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "model/layers.h"

namespace edgecompress {
namespace {

void add_to(std::optional<double>& sum, double value) { sum = sum.value_or(0) + value; }

/// A number of the report, null where there is none.
template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json row_of(const Int8Layer& layer, const Int8LayerFacts& facts) {
  Json row = {
      {"layer", layer.name}, {"state", layer.is_int8 ? "int8" : "float"}, {"reason", layer.reason}};
  if (layer.output) {
    const auto [scale, zero_point] = *layer.output;
    row["scale"] = scale;
    row["zero_point"] = zero_point;
    row["low"] = scale * static_cast<double>(0 - zero_point);
    row["high"] = scale * static_cast<double>(255 - zero_point);
  }
  if (facts.diagnosis) {
    row["clipped"] = facts.diagnosis->clipped;
    row["weight_sqnr_db"] = facts.diagnosis->weight_sqnr_db;
    row["output_sqnr_db"] = facts.diagnosis->output_sqnr_db;
    row["network_sqnr_db"] = or_null(facts.diagnosis->network_sqnr_db);
  }
  row["macs"] = or_null(facts.macs);
  row["float_ms"] = or_null(facts.float_ms);
  row["int8_ms"] = or_null(facts.int8_ms);
  return row;
}

/// The same members in every row: those that are known of some layer.
Json as_table(const std::vector<Json>& rows) {
  static const std::vector<std::string> columns = {
      "layer",    "state",   "reason",         "scale",          "zero_point",      "low",
      "high",     "clipped", "weight_sqnr_db", "output_sqnr_db", "network_sqnr_db", "macs",
      "float_ms", "int8_ms"};
  Json table = Json::array();
  for (const Json& row : rows) {
    Json line = Json::object();
    for (const std::string& column : columns) {
      const bool is_known = std::any_of(rows.begin(), rows.end(), [&](const Json& other) {
        return other.contains(column) && !other[column].is_null();
      });
      if (is_known) line[column] = row.contains(column) ? row[column] : Json();
    }
    table.push_back(std::move(line));
  }
  return table;
}

}  // namespace

std::optional<double> Int8LayerFacts::gain_ms() const {
  if (!float_ms || !int8_ms) return std::nullopt;
  return *float_ms - *int8_ms;
}

Int8Facts::Int8Facts(const Model& model) {
  std::unordered_map<const torch::jit::Node*, std::string> names;
  for (const Layer& layer : find_layers(model)) {
    names.emplace(layer.node, layer.name);
    order_.push_back(layer.name);
  }
  if (model.inputs().empty()) return;
  const c10::InferenceMode inference;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) {
    const auto name = names.find(node.node);
    if (name == names.end()) continue;
    std::optional<std::int64_t>& macs = facts_[name->second].macs;
    macs = macs.value_or(0) + node.macs;
  }
}

void Int8Facts::diagnose(const Model& model, const Int8Scheme& scheme, const DataSets& data,
                         Int8DiagnosisDepth depth, Progress& progress) {
  const Int8Diagnosis diagnosis =
      diagnose_int8(model, scheme, *data.calibration, data.calibration_batch, depth, progress);
  for (const Int8Op& op : scheme.plan.ops) {
    const auto found = diagnosis.find(op.node);
    if (!op.layer || found == diagnosis.end()) continue;
    auto& known = facts_[op.layer->name].diagnosis;
    known = known ? worse_of(*known, found->second) : found->second;
  }
}

void Int8Facts::time(Model& model, const Int8Scheme& scheme, Int8Network int8,
                     const NodeLatencyMeter& measure) {
  const std::vector<NodeLatency> latencies = measure({&model, &int8.model});
  const NodeLatency &float_latency = latencies.at(0), &int8_latency = latencies.at(1);
  for (const Int8Op& op : scheme.plan.ops) {
    if (!op.layer) continue;
    for (const torch::jit::Node* node : {op.node, op.activation}) {
      const auto time = float_latency.find(node);
      if (time != float_latency.end()) add_to(facts_[op.layer->name].float_ms, time->second);
    }
  }
  for (const Int8Layer& layer : int8.layers) {
    const auto time = int8_latency.find(layer.node);
    if (layer.is_int8 && time != int8_latency.end()) {
      add_to(facts_[layer.name].int8_ms, time->second);
    }
  }
}

const Int8LayerFacts& Int8Facts::of(const std::string& layer) const {
  static const Int8LayerFacts nothing;
  const auto found = facts_.find(layer);
  return found == facts_.end() ? nothing : found->second;
}

Json Int8Facts::rows(std::vector<Int8Layer> layers) const {
  const auto position = [this](const Int8Layer& layer) {
    return std::find(order_.begin(), order_.end(), layer.name) - order_.begin();
  };
  std::stable_sort(layers.begin(), layers.end(), [&](const Int8Layer& a, const Int8Layer& b) {
    return position(a) < position(b);
  });
  std::vector<Json> rows;
  for (const Int8Layer& layer : layers) rows.push_back(row_of(layer, of(layer.name)));
  return as_table(rows);
}

}  // namespace edgecompress
