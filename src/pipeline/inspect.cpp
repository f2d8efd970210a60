// `inspect`: what a model is made of.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <unordered_map>

#include "channels/channel_groups.h"
#include "channels/channel_selection.h"
#include "edgecompress/error.h"
#include "eval/size.h"
#include "int8/quantized.h"
#include "model/layers.h"
#include "model/model.h"
#include "pipeline/commands.h"
#include "pipeline/input_text.h"
#include "pipeline/inspect_int8.h"
#include "pipeline/preparation.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

struct Row {
  std::string name, op;
  std::vector<std::int64_t> output;
  std::int64_t parameters = 0;
  std::optional<std::int64_t> macs;
  std::string int8;  ///< how quantize_int8 can take it: "static", "dynamic", "static or dynamic";
                     ///< "is INT8"
};

std::string int8_modes(const Layer& layer) {
  if (is_int8_op(op_of(layer.node))) return "is INT8";
  switch (layer.kind) {
    case LayerKind::kConv:
      return "static";
    case LayerKind::kLinear:
      return "static or dynamic";
    case LayerKind::kLstm:
    case LayerKind::kGru:
      return "dynamic";
    default:
      return "";
  }
}

/// Weights of a convolution or linear layer; those of RNN cells are not told.
std::int64_t packed_parameters(const std::string& op, const c10::IValue& packed) {
  const bool is_matrix = starts_with(op, "quantized::conv") || starts_with(op, "quantized::linear");
  return is_matrix ? unpacked_weight(op, packed).numel() : 0;
}

Row row_of(const Model& model, const Layer& layer) {
  Row row{layer.name, op_of(layer.node), {}, 0, std::nullopt, int8_modes(layer)};
  for (const std::string& name : layer.weights) {
    const c10::IValue value = model.attribute(name);
    if (value.isTensor()) row.parameters += value.toTensor().numel();
    if (value.isObject()) row.parameters += packed_parameters(row.op, value);
  }
  return row;
}

/// Layers in execution order and, where the inputs are known, whatever else multiplies.
std::vector<Row> list_rows(Model& model) {
  std::vector<Row> rows;
  std::unordered_map<const torch::jit::Node*, Row> layers;
  const auto found = find_layers(model);
  if (model.inputs().empty()) {
    for (const Layer& layer : found) rows.push_back(row_of(model, layer));
    return rows;
  }
  for (const Layer& layer : found) layers.emplace(layer.node, row_of(model, layer));
  const c10::InferenceMode inference;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) {
    const auto layer = layers.find(node.node);
    if (layer == layers.end() && node.macs == 0) continue;
    Row row =
        layer == layers.end() ? Row{node.name, node.op, {}, 0, std::nullopt, ""} : layer->second;
    row.output = node.output_sizes;
    row.macs = node.macs;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string sizes_text(const std::vector<std::int64_t>& sizes) {
  return fmt::format("{}", fmt::join(sizes, "x"));
}

std::string layer_table(const std::vector<Row>& rows) {
  using Align = Table::Align;
  Table table(
      {"layer", "op", "output", "parameters", "MACs", "INT8"},
      {Align::kLeft, Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kLeft});
  for (const Row& row : rows) {
    table.add_row({row.name, row.op, sizes_text(row.output), human_count(row.parameters),
                   row.macs ? human_count(*row.macs) : "", row.int8});
  }
  return table.console();
}

Json json_of(const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    list.push_back({{"name", row.name},
                    {"op", row.op},
                    {"output", row.output},
                    {"parameters", row.parameters},
                    {"macs", row.macs ? Json(*row.macs) : Json()},
                    {"int8", row.int8}});
  }
  return list;
}

const char* role_text(ChannelAxis::Role role) {
  switch (role) {
    case ChannelAxis::Role::kProduces:
      return "produces";
    case ChannelAxis::Role::kConsumes:
      return "consumes";
    default:
      return "follows";
  }
}

bool are_same(const ChannelGroup& a, const ChannelGroup& b) {
  return a.name == b.name &&
         std::equal(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(),
                    [](const ChannelMember& one, const ChannelMember& other) {
                      return one.tensor == other.tensor && one.dim == other.dim &&
                             one.positions == other.positions;
                    });
}

/// The groups that are others where attention loses width instead of heads.
std::vector<ChannelGroup> width_groups(const Model& model, const ChannelGroups& by_heads) {
  std::vector<ChannelGroup> others;
  for (const ChannelGroup& group : find_channel_groups(model, AttentionUnit::kWidth).groups) {
    const bool is_known =
        std::any_of(by_heads.groups.begin(), by_heads.groups.end(),
                    [&](const ChannelGroup& known) { return are_same(known, group); });
    if (!is_known) others.push_back(group);
  }
  return others;
}

/// Every group with its members as "tensor:dimension".
std::string groups_text(const std::vector<ChannelGroup>& groups, const std::string& title) {
  std::string text;
  for (const ChannelGroup& group : groups) {
    text += fmt::format("{} {}: {} units of {}\n", title, group.name, group.units.size(),
                        channels_per_unit(group));
    for (const auto role : {ChannelAxis::Role::kProduces, ChannelAxis::Role::kFollows,
                            ChannelAxis::Role::kConsumes}) {
      std::vector<std::string> members;
      for (const ChannelMember& member : group.members) {
        if (member.role == role) members.push_back(fmt::format("{}:{}", member.tensor, member.dim));
      }
      if (!members.empty()) text += fmt::format("  {}  {}\n", role_text(role), join(members, ", "));
    }
  }
  return text;
}

Json json_of(const std::vector<ChannelGroup>& list) {
  Json groups = Json::array();
  for (const ChannelGroup& group : list) {
    Json members = Json::array();
    for (const ChannelMember& member : group.members) {
      members.push_back({{"tensor", member.tensor},
                         {"dim", member.dim},
                         {"role", role_text(member.role)},
                         {"layer", member.layer}});
    }
    groups.push_back({{"name", group.name},
                      {"units", group.units.size()},
                      {"channels_per_unit", channels_per_unit(group)},
                      {"members", std::move(members)}});
  }
  return groups;
}

/// Appends the channel groups, then those of attention by width, then the layers that can't be
/// pruned.
void tell_groups(const Model& model, std::string& text, Json& json) {
  const ChannelGroups found = find_channel_groups(model);
  const std::vector<ChannelGroup> by_width = width_groups(model, found);
  text += "\n" + groups_text(found.groups, "group");
  text += groups_text(by_width, "with attention \"width\": group");
  Json left_alone = Json::array();
  for (const FixedLayer& layer : found.fixed) {
    text += fmt::format("left alone: {}: {}\n", layer.layer, layer.reason);
    left_alone.push_back({{"layer", layer.layer}, {"reason", layer.reason}});
  }
  json["channel_groups"] = {{"groups", json_of(found.groups)},
                            {"attention_width", json_of(by_width)},
                            {"left_alone", std::move(left_alone)}};
}

const char* kind_text(Finding::Kind kind) {
  return kind == Finding::Kind::kDecided ? "decided from the inputs" : "left as it is";
}

}  // namespace

Outcome inspect_command(const InspectRequest& request, Progress&) {
  const auto inputs = parse_inputs(request.inputs);
  if (request.groups && inputs.empty()) {
    throw Error(ExitCode::kUsage, "--groups: channel groups are found by running the model",
                "give the shape of each input with --input");
  }
  prepare_process(0, request.op_libraries);
  Model model = Model::load(request.model, inputs);
  const torch::jit::Module stored = load_as_stored(request.model);
  const Size size = measure_size(request.model, stored);
  const std::vector<Row> rows = list_rows(model);
  std::int64_t macs = 0;
  for (const Row& row : rows) macs += row.macs.value_or(0);

  Json json = {{"model", request.model}, {"layers", json_of(rows)}, {"findings", Json::array()}};
  json["size"] = {{"file_bytes", size.file_bytes},
                  {"zipped_bytes", size.zipped_bytes},
                  {"parameters", size.parameters},
                  {"nonzero_parameters", size.nonzero_parameters}};
  if (!inputs.empty()) json["macs"] = macs;
  std::string text = layer_table(rows);
  text += fmt::format("\n{} parameters ({} not zero), {} on disk, {} zipped",
                      human_count(size.parameters), human_count(size.nonzero_parameters),
                      human_bytes(size.file_bytes), human_bytes(size.zipped_bytes));
  text += inputs.empty() ? "\nGive --input for output shapes and MACs.\n"
                         : fmt::format(", {} MACs\n", human_count(macs));
  for (const Finding& finding : model.findings()) {
    text += fmt::format("{}: {}: {}\n", kind_text(finding.kind), finding.where, finding.what);
    json["findings"].push_back(
        {{"kind", kind_text(finding.kind)}, {"where", finding.where}, {"what", finding.what}});
  }
  if (request.groups) tell_groups(model, text, json);
  if (request.int8) {
    const Int8Inspection int8 = inspect_int8(model, stored);
    text += "\n" + int8.text;
    json["int8"] = int8.json;
  }
  return {ExitCode::kDone, text, json.dump(2, ' ', false, Json::error_handler_t::replace)};
}

}  // namespace edgecompress
