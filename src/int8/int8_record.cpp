#include "int8/int8_record.h"

#include <ATen/Context.h>

#include <cmath>
#include <vector>

#include "int8/int8_engine.h"

namespace edgecompress {
namespace {

const std::vector<std::string> kKept = {
    "layer", "state", "reason", "clipped", "weight_sqnr_db", "output_sqnr_db", "network_sqnr_db"};

/// Numbers to four digits: the record is not to weigh on the file.
Json shortened(const Json& value) {
  if (!value.is_number_float() || value == 0) return value;
  const double number = value.get<double>();
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(number))) - 3);
  return std::round(number / unit) * unit;
}

}  // namespace

void write_int8_record(Model& model, const Json& layers) {
  if (model.has_attribute(kInt8RecordAttribute)) return;
  Json columns = Json::array(), rows = Json::array();
  for (const std::string& column : kKept) {
    if (!layers.empty() && layers[0].contains(column)) columns.push_back(column);
  }
  for (const Json& layer : layers) {
    Json row = Json::array();
    for (const Json& column : columns)
      row.push_back(shortened(layer.at(column.get_ref<const std::string&>())));
    rows.push_back(std::move(row));
  }
  const Json record = {{"engine", int8_engine()}, {"columns", columns}, {"rows", rows}};
  model.add_attribute(kInt8RecordAttribute, c10::StringType::get(), record.dump());
}

Json read_int8_record(const torch::jit::Module& module) {
  if (!module.hasattr(kInt8RecordAttribute)) return nullptr;
  const c10::IValue text = module.attr(kInt8RecordAttribute);
  if (!text.isString()) return nullptr;
  const Json record = Json::parse(text.toStringRef(), nullptr, /*allow_exceptions=*/false);
  const bool is_record = record.is_object() && record.contains("engine") &&
                         record["engine"].is_string() && record.contains("columns") &&
                         record["columns"].is_array() && record.contains("rows") &&
                         record["rows"].is_array();
  if (!is_record) return nullptr;
  Json layers = Json::array();
  for (const Json& row : record["rows"]) {
    if (!row.is_array() || row.size() != record["columns"].size()) return nullptr;
    Json layer = Json::object();
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (!record["columns"][i].is_string() || row[i].is_structured()) return nullptr;
      layer[record["columns"][i].get<std::string>()] = row[i];
    }
    layers.push_back(std::move(layer));
  }
  return {{"engine", record["engine"]}, {"layers", std::move(layers)}};
}

}  // namespace edgecompress
