#include "pipeline/inspect_int8.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "int8/int8_record.h"
#include "int8/quantized.h"
#include "model/layers.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// The members of a row, in the order of the table's columns.
const std::vector<std::pair<std::string, std::string>> kColumns = {
    {"layer", "layer"},
    {"state", "state"},
    {"op", "op"},
    {"scale", "scale"},
    {"zero_point", "zero point"},
    {"low", "low"},
    {"high", "high"},
    {"clipped", "clipped"},
    {"weight_scales", "weight scales"},
    {"weight_largest", "largest |q|"},
    {"weight_sqnr_db", "weight dB"},
    {"output_sqnr_db", "output dB"},
    {"network_sqnr_db", "network dB"},
    {"reason", "reason"}};

/// The name that the layer had in the float network: INT8 weights are attributes of the root.
std::string key_of(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  for (const char* suffix : {"_packed", "_weight_int8"}) {
    const auto end = name.rfind(suffix);
    if (end != std::string::npos) return name.substr(0, end);
  }
  return name;
}

/// What INT8 layers need beside them: results of a function to be looked up, scales of a table.
bool is_auxiliary(const Model& model, const Layer& layer) {
  if (layer.weights.size() != 1) return false;
  const c10::IValue value = model.attribute(layer.weights[0]);
  const bool is_lookup = value.isTensor() && value.toTensor().scalar_type() == at::kByte &&
                         value.toTensor().dim() == 1;
  return is_lookup || ends_with(layer.weights[0], "_weight_scales");
}

bool has_int8_weights(const Model& model, const Layer& layer) {
  if (is_int8_op(op_of(layer.node))) return true;
  if (layer.weights.size() != 1) return false;
  const c10::IValue value = model.attribute(layer.weights[0]);
  return value.isTensor() && value.toTensor().scalar_type() == at::kChar;
}

void add_output_range(const Layer& layer, Json& row) {
  const auto inputs = layer.node->inputs();
  if (inputs.size() < 4) return;
  const auto scale = constant_of(inputs[inputs.size() - 2]),
             zero = constant_of(inputs[inputs.size() - 1]);
  if (!scale || !scale->isDouble() || !zero || !zero->isInt()) return;
  const double step = scale->toDouble(), offset = static_cast<double>(zero->toInt());
  row["scale"] = step;
  row["zero_point"] = zero->toInt();
  row["low"] = step * (0 - offset);
  row["high"] = step * (255 - offset);
}

void add_weight(const Model& model, const Layer& layer, Json& row) {
  const std::string op = op_of(layer.node);
  const bool is_packed = layer.weights.size() == 1 && (starts_with(op, "quantized::conv") ||
                                                       starts_with(op, "quantized::linear"));
  if (!is_packed) return;
  const c10::IValue packed = model.attribute(layer.weights[0]);
  if (!packed.isObject()) return;  // packed in the graph, each time it runs
  const at::Tensor weight = unpacked_weight(op, packed);
  if (!weight.is_quantized() || weight.numel() == 0) return;
  const at::Tensor scales = weight.qscheme() == at::kPerTensorAffine
                                ? at::full({1}, weight.q_scale())
                                : weight.q_per_channel_scales();
  row["weight_scales"] = {scales.min().item<double>(), scales.max().item<double>()};
  row["weight_largest"] = weight.int_repr().to(at::kInt).abs().max().item<std::int64_t>();
}

Json int8_row_of(const Model& model, const Layer& layer) {
  Json row = {{"layer", layer.name},
              {"state", has_int8_weights(model, layer) ? "int8" : "float"},
              {"op", op_of(layer.node)}};
  if (is_int8_op(op_of(layer.node))) {
    add_output_range(layer, row);
    add_weight(model, layer, row);
  }
  return row;
}

std::string cell_text(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && value.size() == 2 && value[0].is_number() && value[1].is_number()) {
    const std::string low = fmt::format("{:.3g}", value[0].get<double>()),
                      high = fmt::format("{:.3g}", value[1].get<double>());
    return low == high ? low : low + " to " + high;
  }
  return value.is_number_float() ? fmt::format("{:.4g}", value.get<double>()) : value.dump();
}

std::string table_text(const Json& rows) {
  std::vector<std::string> titles, members;
  std::vector<Table::Align> aligns;
  for (const auto& [member, title] : kColumns) {
    const bool is_known = std::any_of(
        rows.begin(), rows.end(),
        [&, name = member](const Json& row) { return row.contains(name) && !row[name].is_null(); });
    if (!is_known) continue;
    const bool is_text =
        member == "layer" || member == "state" || member == "op" || member == "reason";
    members.push_back(member);
    titles.push_back(title);
    aligns.push_back(is_text ? Table::Align::kLeft : Table::Align::kRight);
  }
  Table table(titles, aligns);
  for (const Json& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& member : members)
      cells.push_back(cell_text(row.contains(member) ? row[member] : Json()));
    table.add_row(cells);
  }
  return table.console();
}

}  // namespace

Int8Inspection inspect_int8(const Model& model, const torch::jit::Module& stored) {
  const Json record = read_int8_record(stored);
  std::map<std::string, const Json*> known;
  if (!record.is_null()) {
    for (const Json& layer : record["layers"]) {
      if (layer.contains("layer") && layer["layer"].is_string())
        known[key_of(layer["layer"].get<std::string>())] = &layer;
    }
  }
  Json rows = Json::array();
  std::size_t int8 = 0;
  for (const Layer& layer : find_layers(model)) {
    if (is_auxiliary(model, layer)) continue;
    Json row = int8_row_of(model, layer);
    int8 += row["state"] == "int8";
    const auto found = known.find(key_of(layer.name));
    if (found != known.end()) {
      for (const auto& [member, value] : found->second->items()) {
        if (member == "layer" || !row.contains(member)) row[member] = value;
      }
    }
    rows.push_back(std::move(row));
  }
  Int8Inspection result;
  result.json = {{"engine", record.is_null() ? Json() : record["engine"]}, {"layers", rows}};
  result.text = fmt::format("{} of {} layers in INT8", int8, rows.size());
  if (!record.is_null())
    result.text += fmt::format(", made for the engine {}", record["engine"].get<std::string>());
  result.text += "\n" + table_text(rows);
  if (int8 > 0 && !record.is_null()) {
    result.text +=
        "\nclipped: share of outputs beyond the range. dB: signal over rounding noise, of the "
        "weight alone,\nof the layer alone, of the network's outputs where this layer alone is "
        "rounded.\n";
  }
  return result;
}

}  // namespace edgecompress
