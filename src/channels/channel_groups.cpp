#include "channels/channel_groups.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using Role = ChannelAxis::Role;

struct AxisPosition {
  std::size_t axis;
  std::int64_t position;
};
using Places = c10::ArrayRef<AxisPosition>;

/// The places of every root cell, in the order of axes and positions.
class PlacesByCell {
 public:
  explicit PlacesByCell(const ChannelFlow& flow)
      : ends_(static_cast<std::size_t>(flow.sets.size()) + 1) {
    const auto for_each_place = [&](const auto& show) {
      for (std::size_t axis = 0; axis < flow.axes.size(); ++axis) {
        const auto& cells = flow.axes[axis].cells;
        for (std::size_t i = 0; i < cells.size(); ++i) {
          show(static_cast<std::size_t>(flow.sets.find(cells[i])),
               AxisPosition{axis, static_cast<std::int64_t>(i)});
        }
      }
    };
    for_each_place([&](std::size_t cell, AxisPosition) { ++ends_[cell + 1]; });
    std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
    places_.resize(ends_.back());
    for_each_place([&](std::size_t cell, AxisPosition place) { places_[ends_[cell]++] = place; });
  }

  Cell cells() const { return static_cast<Cell>(ends_.size() - 1); }
  Places of(Cell cell) const {
    const std::size_t first = cell == 0 ? 0 : ends_[static_cast<std::size_t>(cell) - 1];
    return Places(places_).slice(first, ends_[static_cast<std::size_t>(cell)] - first);
  }

 private:
  std::vector<std::size_t> ends_;  // in places_, of each cell's
  std::vector<AxisPosition> places_;
};

/// Which dimensions a unit touches, and how many positions of each.
using Signature = std::vector<std::pair<std::size_t, std::size_t>>;

Signature signature_of(Places places) {
  Signature signature;
  for (const AxisPosition& place : places) {
    if (signature.empty() || signature.back().first != place.axis)
      signature.emplace_back(place.axis, 0);
    ++signature.back().second;
  }
  return signature;
}

bool is_produced(const ChannelFlow& flow, Places places) {
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

void add_unit(ChannelGroup& group, const Signature& signature, Places places, Cell cell) {
  group.units.push_back(cell);
  const AxisPosition* place = places.begin();
  for (std::size_t i = 0; i < signature.size(); ++i) {
    auto& positions = group.members[i].positions.emplace_back();
    for (std::size_t left = signature[i].second; left > 0; --left)
      positions.push_back((place++)->position);
  }
}

/// In the order of the cells' numbers: layers in execution order, channels ascending.
void gather_groups(ChannelGroups& found) {
  std::map<Signature, std::size_t> group_of;
  const PlacesByCell places(found.flow);
  for (Cell cell = 0; cell < places.cells(); ++cell) {
    const Places own = places.of(cell);
    if (own.empty() || found.flow.sets.is_fixed(cell) || !is_produced(found.flow, own)) continue;
    const Signature signature = signature_of(own);
    const auto known = group_of.emplace(signature, found.groups.size());
    if (known.second) found.groups.push_back(empty_group(found.flow, signature));
    add_unit(found.groups[known.first->second], signature, own, cell);
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
