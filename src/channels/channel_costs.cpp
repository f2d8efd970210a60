#include "channels/channel_costs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/layers.h"

namespace edgecompress {

namespace {

constexpr std::int32_t kNoUnit = -1;

std::int64_t product_of(const std::vector<std::int64_t>& sizes) {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) product *= size;
  return product;
}

/// The values whose tensors an input or output holds: itself, or the elements of a list.
std::vector<const torch::jit::Value*> tensors_behind(const torch::jit::Value* value) {
  if (value->node()->kind() != c10::prim::ListConstruct) return {value};
  return {value->node()->inputs().begin(), value->node()->inputs().end()};
}

std::vector<at::Tensor> tensors_held_by(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  if (value.isTensorList()) return value.toTensorVector();
  return {};
}

}  // namespace

bool ChannelCosts::Shape::can_shrink() const {
  return std::any_of(units.begin(), units.end(), [](const auto& dim) { return !dim.empty(); });
}

std::vector<std::int64_t> ChannelCosts::Shape::without(const std::vector<bool>& is_removed) const {
  std::vector<std::int64_t> left = sizes;
  for (std::size_t dim = 0; dim < units.size(); ++dim) {
    for (const std::int32_t unit : units[dim]) {
      if (unit != kNoUnit && is_removed[static_cast<std::size_t>(unit)]) --left[dim];
    }
  }
  return left;
}

/// Finds the shapes of attributes and activations.
class ChannelCosts::Shapes {
 public:
  explicit Shapes(const ChannelGroups& groups) : flow_(groups.flow) {
    std::int32_t unit = 0;
    for (const ChannelGroup& group : groups.groups) {
      for (const Cell cell : group.units) unit_of_[cell] = unit++;
    }
    for (const ChannelAxis& axis : flow_.axes) axes_[{axis.tensor, axis.dim}] = &axis;
  }

  Shape of_attribute(const std::string& name, at::IntArrayRef sizes) const {
    Shape shape{sizes.vec(), {}};
    for (std::size_t dim = 0; dim < sizes.size(); ++dim) {
      const auto axis = axes_.find({name, static_cast<std::int64_t>(dim)});
      shape.units.push_back(axis == axes_.end() ? std::vector<std::int32_t>{}
                                                : units_of(axis->second->cells, sizes[dim]));
    }
    return shape;
  }

  Shape of_value(const torch::jit::Value* value, at::IntArrayRef sizes) const {
    const std::string attribute = attribute_path(value);
    if (!attribute.empty()) return of_attribute(attribute, sizes);
    Shape shape{sizes.vec(), std::vector<std::vector<std::int32_t>>(sizes.size())};
    const auto known = flow_.values.find(value);
    if (known == flow_.values.end()) return shape;
    for (const std::int64_t dim : known->second.varying_dims()) {
      const auto at = static_cast<std::size_t>(dim);
      shape.units[at] = units_of(cells_along(known->second, dim), sizes[at]);
    }
    return shape;
  }

  std::vector<Shape> of_contents(const torch::jit::Value* value, const c10::IValue& content) const {
    const auto values = tensors_behind(value);
    const auto tensors = tensors_held_by(content);
    std::vector<Shape> shapes;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (!tensors[i].defined()) return {};
      shapes.push_back(values.size() == tensors.size() ? of_value(values[i], tensors[i].sizes())
                                                       : Shape{tensors[i].sizes().vec(), {}});
    }
    return shapes;
  }

 private:
  /// Empty where no position belongs to a unit.
  std::vector<std::int32_t> units_of(const std::vector<Cell>& cells, std::int64_t size) const {
    std::vector<std::int32_t> units(static_cast<std::size_t>(size), kNoUnit);
    bool is_any = false;
    // A batch that was merged with the channels repeats their pattern.
    for (std::size_t i = 0; i < units.size(); ++i) {
      const auto known = unit_of_.find(flow_.sets.find(cells[i % cells.size()]));
      if (known == unit_of_.end()) continue;
      units[i] = known->second;
      is_any = true;
    }
    return is_any ? units : std::vector<std::int32_t>{};
  }

  const ChannelFlow& flow_;
  std::unordered_map<Cell, std::int32_t> unit_of_;
  std::map<std::pair<std::string, std::int64_t>, const ChannelAxis*> axes_;
};

ChannelCosts::ChannelCosts(const Model& model, const ChannelGroups& groups) {
  for (const ChannelGroup& group : groups.groups) {
    first_unit_.push_back(units_);
    units_ += group.units.size();
  }
  const Shapes shapes(groups);
  for (const auto& [name, tensor] : model.named_parameters()) {
    Shape shape = shapes.of_attribute(name, tensor.sizes());
    if (shape.can_shrink()) {
      parameters_.push_back(std::move(shape));
    } else {
      rest_.parameters += tensor.numel();
    }
  }
  const auto is_constant = [](const std::vector<std::vector<Shape>>& all) {
    return std::none_of(all.begin(), all.end(), [](const std::vector<Shape>& contents) {
      return std::any_of(contents.begin(), contents.end(),
                         [](const Shape& shape) { return shape.can_shrink(); });
    });
  };
  for (const RecordedStep& recorded : groups.run.steps) {
    const std::int64_t macs = macs_of(*recorded.node, recorded.inputs, recorded.outputs);
    if (macs == 0) continue;
    Step step{&recorded, {}, {}};
    for (std::size_t i = 0; i < recorded.inputs.size(); ++i)
      step.inputs.push_back(shapes.of_contents(recorded.node->inputs()[i], recorded.inputs[i]));
    for (std::size_t i = 0; i < recorded.outputs.size(); ++i)
      step.outputs.push_back(shapes.of_contents(recorded.node->outputs()[i], recorded.outputs[i]));
    if (is_constant(step.inputs) && is_constant(step.outputs)) {
      rest_.macs += macs;
    } else {
      steps_.push_back(std::move(step));
    }
  }
}

ChannelCost ChannelCosts::without(const UnitChoice& removed) const {
  std::vector<bool> is_removed(units_, false);
  for (std::size_t group = 0; group < removed.size(); ++group) {
    for (const std::int64_t unit : removed[group])
      is_removed[first_unit_[group] + static_cast<std::size_t>(unit)] = true;
  }
  const auto shrink = [&](const std::vector<std::vector<Shape>>& shapes,
                          std::vector<c10::IValue> contents) {
    for (std::size_t i = 0; i < contents.size(); ++i) {
      if (shapes[i].empty()) continue;
      c10::List<at::Tensor> list;
      for (const Shape& shape : shapes[i]) list.push_back(placeholder(shape.without(is_removed)));
      contents[i] = contents[i].isTensor() ? c10::IValue(list.get(0)) : c10::IValue(list);
    }
    return contents;
  };
  ChannelCost cost = rest_;
  for (const Shape& shape : parameters_) cost.parameters += product_of(shape.without(is_removed));
  for (const Step& step : steps_) {
    cost.macs += macs_of(*step.recorded->node, shrink(step.inputs, step.recorded->inputs),
                         shrink(step.outputs, step.recorded->outputs));
  }
  return cost;
}

std::vector<LayerWidth> layer_widths(const ChannelGroups& groups, const UnitChoice& removed) {
  std::set<Cell> gone;
  for (std::size_t i = 0; i < removed.size(); ++i) {
    for (const std::int64_t unit : removed[i])
      gone.insert(groups.groups[i].units[static_cast<std::size_t>(unit)]);
  }
  const CellSets& sets = groups.flow.sets;
  const auto& axes = groups.flow.axes;
  std::map<std::string, std::vector<const ChannelAxis*>> axes_of;
  for (const ChannelAxis& axis : axes) axes_of[axis.layer].push_back(&axis);
  const auto cells_of = [&](const ChannelAxis& axis) {
    std::set<Cell> cells;
    for (const Cell cell : axis.cells) cells.insert(sets.find(cell));
    return cells;
  };
  std::vector<LayerWidth> widths;
  std::set<std::string> seen;
  for (const ChannelAxis& axis : axes) {
    if (axis.role != ChannelAxis::Role::kProduces || !seen.insert(axis.layer).second) continue;
    // The hidden weights of an RNN hold its units once; the gates hold each several times.
    const ChannelAxis* narrowest = &axis;
    for (const ChannelAxis* other : axes_of[axis.layer]) {
      if (other->cells.size() < narrowest->cells.size() && cells_of(*other) == cells_of(axis))
        narrowest = other;
    }
    LayerWidth width{axis.layer, static_cast<std::int64_t>(narrowest->cells.size()), 0};
    for (const Cell cell : narrowest->cells) width.after += gone.count(sets.find(cell)) == 0;
    widths.push_back(std::move(width));
  }
  return widths;
}

}  // namespace edgecompress
