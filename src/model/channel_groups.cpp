#include "model/channel_groups.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using Role = ChannelAxis::Role;

struct AxisPosition {
  std::size_t axis;
  std::int64_t position;
};

/// By root cell, in the order of their numbers: layers in execution order, channels ascending.
std::map<Cell, std::vector<AxisPosition>> places_by_cell(const ChannelFlow& flow) {
  std::map<Cell, std::vector<AxisPosition>> places;
  for (std::size_t axis = 0; axis < flow.axes.size(); ++axis) {
    const auto& cells = flow.axes[axis].cells;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      places[flow.sets.find(cells[i])].push_back({axis, static_cast<std::int64_t>(i)});
    }
  }
  return places;
}

/// Which dimensions a unit touches, and how many positions of each.
using Signature = std::vector<std::pair<std::size_t, std::size_t>>;

Signature signature_of(const std::vector<AxisPosition>& places) {
  std::map<std::size_t, std::size_t> counts;
  for (const AxisPosition& place : places) ++counts[place.axis];
  return {counts.begin(), counts.end()};
}

bool is_produced(const ChannelFlow& flow, const std::vector<AxisPosition>& places) {
  return std::any_of(places.begin(), places.end(), [&](const AxisPosition& place) {
    return flow.axes[place.axis].role == Role::kProduces;
  });
}

ChannelGroup empty_group(const ChannelFlow& flow, const Signature& signature) {
  ChannelGroup group;
  for (const auto& [axis, count] : signature) {
    const ChannelAxis& of = flow.axes[axis];
    if (group.name.empty() && of.role == Role::kProduces) group.name = of.layer;
    group.members.push_back({of.tensor, of.dim, of.role, of.layer, {}});
  }
  return group;
}

void add_unit(ChannelGroup& group, const Signature& signature,
              const std::vector<AxisPosition>& places, Cell cell) {
  group.units.push_back(cell);
  for (std::size_t i = 0; i < signature.size(); ++i) {
    std::vector<std::int64_t> positions;
    for (const AxisPosition& place : places) {
      if (place.axis == signature[i].first) positions.push_back(place.position);
    }
    std::sort(positions.begin(), positions.end());
    group.members[i].positions.push_back(std::move(positions));
  }
}

void gather_groups(ChannelGroups& found) {
  std::map<Signature, std::size_t> group_of;
  for (const auto& [cell, places] : places_by_cell(found.flow)) {
    if (found.flow.sets.is_fixed(cell) || !is_produced(found.flow, places)) continue;
    const Signature signature = signature_of(places);
    const auto known = group_of.emplace(signature, found.groups.size());
    if (known.second) found.groups.push_back(empty_group(found.flow, signature));
    add_unit(found.groups[known.first->second], signature, places, cell);
  }
}

void name_fixed_layers(ChannelGroups& found) {
  std::set<std::string> named;
  for (const ChannelAxis& axis : found.flow.axes) {
    if (axis.role != Role::kProduces) continue;
    for (const Cell cell : axis.cells) {
      if (!found.flow.sets.is_fixed(cell)) continue;
      if (named.insert(axis.layer).second) {
        found.fixed.push_back({axis.layer, found.flow.sets.reason(cell)});
      }
      break;
    }
  }
}

}  // namespace

ChannelGroups find_channel_groups(const Model& model, AttentionUnit unit) {
  if (model.inputs().empty()) {
    throw Error(ExitCode::kPass, "channel groups are found by running the model",
                "give its example inputs");
  }
  ChannelGroups found;
  const auto inputs = model.example_inputs(0);
  found.run = record_run(model, inputs);
  const std::int64_t batch = inputs[0].dim() > 0 ? inputs[0].size(0) : 1;
  try {
    found.other_run = record_run(model, model.example_inputs(batch + 1));
  } catch (const std::exception&) {  // LibTorch 1.13 throws others than its own for sizes
    // A traced model that holds its batch size.
  }
  found.flow = follow_channels(model, found.run, unit);
  gather_groups(found);
  name_fixed_layers(found);
  return found;
}

}  // namespace edgecompress
