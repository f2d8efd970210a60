#include "channels/channel_follower.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {
namespace channels {

namespace prim = c10::prim;

std::vector<std::int64_t> sizes_of(const c10::IValue& tensor) {
  return tensor.isTensor() && tensor.toTensor().defined() ? tensor.toTensor().sizes().vec()
                                                          : std::vector<std::int64_t>();
}

std::optional<EinsumPair> parse_einsum(std::string equation) {
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  const auto comma = equation.find(','), arrow = equation.find("->");
  const bool is_pair = comma != std::string::npos && arrow != std::string::npos &&
                       equation.find('.') == std::string::npos &&
                       equation.find(',', comma + 1) == std::string::npos;
  if (!is_pair) return std::nullopt;
  return EinsumPair{equation.substr(0, comma), equation.substr(comma + 1, arrow - comma - 1),
                    equation.substr(arrow + 2)};
}

CellMap line_map(std::vector<std::int64_t> sizes, std::int64_t dim,
                 const std::vector<Cell>& cells) {
  std::vector<std::int64_t> shape(sizes.size(), 1);
  shape[static_cast<std::size_t>(dim)] = static_cast<std::int64_t>(cells.size());
  return {std::move(sizes), at::tensor(at::ArrayRef<Cell>(cells), at::kInt).view(shape)};
}

std::int64_t positive_dim(std::int64_t dim, std::size_t rank) {
  return dim < 0 ? dim + static_cast<std::int64_t>(rank) : dim;
}

namespace {

bool is_tensor_container(const Value* value) {
  const auto& type = value->type();
  if (type->isSubtypeOf(*c10::TensorType::get())) return true;
  if (type->kind() == c10::TypeKind::OptionalType) return true;
  for (const auto& inner : type->containedTypes()) {
    if (inner->isSubtypeOf(*c10::TensorType::get())) return true;
  }
  return false;
}

/// How many channels could still be told apart if dimension `dim` were the one that does: its
/// positions, those taken as one that share a cell.
std::int64_t classes_along(const at::Tensor& cells, std::int64_t dim) {
  const at::Tensor rows = cells.movedim(dim, 0).contiguous().view({cells.size(dim), -1});
  CellSets positions;
  positions.make(rows.size(0));
  std::unordered_map<Cell, Cell> first_position;
  const Cell* cell = rows.data_ptr<Cell>();
  for (std::int64_t position = 0; position < rows.size(0); ++position) {
    for (std::int64_t i = 0; i < rows.size(1); ++i, ++cell) {
      const auto [known, is_new] = first_position.emplace(*cell, position);
      if (!is_new) positions.unite(known->second, static_cast<Cell>(position));
    }
  }
  std::set<Cell> classes;
  for (std::int64_t i = 0; i < rows.size(0); ++i) classes.insert(positions.find(i));
  return static_cast<std::int64_t>(classes.size());
}

void unite_others(CellSets& sets, const at::Tensor& cells, std::int64_t dim) {
  const at::Tensor rows = cells.movedim(dim, 0).contiguous().view({cells.size(dim), -1});
  const Cell* cell = rows.data_ptr<Cell>();
  for (std::int64_t position = 0; position < rows.size(0); ++position) {
    const Cell first = *cell;
    for (std::int64_t i = 0; i < rows.size(1); ++i, ++cell) sets.unite(first, *cell);
  }
}

}  // namespace

void Follower::follow(const RecordedRun& run) {
  for (const RecordedStep& step : run.steps) follow_step(step);
  for (const Value* output : model_.graph().outputs()) {
    for (const Source& source : sources_of(output)) {
      fix(map_of(source), "it is an output of the model");
    }
  }
  settle_rest();
  settle_parameters();
  settle_rest();
  note_attributes();
}

ChannelFlow Follower::take_flow() { return std::move(flow_); }

void Follower::add_rule(Rules& rules, const std::string& ops, Rule rule) {
  for (const std::string& op : split(ops, ' ')) rules["aten::" + op] = rule;
}

const Follower::Rules& Follower::rules() {
  static const Rules all = [] {
    Rules rules = layer_rules();
    rules.insert(movement_rules().begin(), movement_rules().end());
    rules.insert(element_rules().begin(), element_rules().end());
    return rules;
  }();
  return all;
}

void Follower::follow_step(const RecordedStep& step) {
  const Node* node = step.node;
  bool is_repeated = false;
  for (const Value* output : node->outputs()) is_repeated |= !seen_.insert(output).second;
  if (is_repeated) return fix_inputs(step, "it is used in a loop");
  if (follow_container(step)) return;
  const auto rule = rules().find(op_of(node));
  if (rule == rules().end()) return follow_unknown(step);
  (this->*rule->second)(step);
}

bool Follower::follow_container(const RecordedStep& step) {
  const Node* node = step.node;
  const auto kind = node->kind();
  if (kind == prim::If) return follow_branches(step), true;
  if (kind == prim::GetAttr) {
    const std::string path = attribute_path(node->output());
    if (!path.empty() && step.outputs[0].isTensor() && step.outputs[0].toTensor().defined()) {
      Source source;
      source.attribute = path;
      source.map.sizes = sizes_of(step.outputs[0]);
      set(node->output(), source);
    }
    return true;
  }
  const bool gathers = kind == prim::ListConstruct || kind == prim::TupleConstruct ||
                       kind == prim::DictConstruct || kind == prim::unchecked_cast ||
                       kind == prim::unchecked_unwrap_optional;
  if (gathers) {
    std::vector<Source> all;
    for (const Value* input : node->inputs()) {
      const auto part = sources_of(input);
      all.insert(all.end(), part.begin(), part.end());
    }
    sources_[node->output()] = std::move(all);
    return true;
  }
  if (kind == prim::ListUnpack || kind == prim::TupleUnpack) {
    const auto all = sources_of(node->input());
    for (std::size_t i = 0; i < node->outputs().size() && all.size() == node->outputs().size();
         ++i) {
      set(node->outputs()[i], all[i]);
    }
    return true;
  }
  if ((op_of(node) == "aten::__getitem__" || kind == prim::TupleIndex) && step.inputs[1].isInt()) {
    const auto all = sources_of(node->input(0));
    const auto index = positive_dim(step.inputs[1].toInt(), all.size());
    if (index >= 0 && index < static_cast<std::int64_t>(all.size())) {
      set(node->output(), all[static_cast<std::size_t>(index)]);
    }
    return true;
  }
  if (node->outputs().empty()) fix_inputs(step, op_of(node) + " keeps it");
  // Numbers, lists of numbers, conditions.
  return std::none_of(node->outputs().begin(), node->outputs().end(), is_tensor_container);
}

void Follower::follow_branches(const RecordedStep& step) {
  const bool condition = step.inputs[0].toBool();
  const auto* taken = step.node->blocks()[condition ? 0 : 1];
  fix_untaken(step.node->blocks()[condition ? 1 : 0]);
  for (std::size_t i = 0; i < step.node->outputs().size(); ++i) {
    sources_[step.node->outputs()[i]] = sources_of(taken->outputs()[i]);
  }
}

void Follower::fix_untaken(const torch::jit::Block* block) {
  const auto raises = [](const Node* node) { return node->kind() == prim::RaiseException; };
  if (std::any_of(block->nodes().begin(), block->nodes().end(), raises)) return;
  for (const Node* node : block->nodes()) {
    for (const auto* nested : node->blocks()) fix_untaken(nested);
    const std::string op = op_of(node);
    if (op == "aten::size" || op == "aten::dim" || op == "aten::len") continue;
    for (const Value* input : node->inputs()) {
      for (const Source& source : sources_of(input)) {
        fix(map_of(source), "it is used in a branch that the example input does not take");
      }
    }
  }
}

void Follower::follow_unknown(const RecordedStep& step) {
  fix_inputs(step, op_of(step.node) + " is not understood");
  set_uniform(step);
}

const Source* Follower::source_of(const Value* value) const {
  const auto found = sources_.find(value);
  return found == sources_.end() || found->second.size() != 1 ? nullptr : &found->second[0];
}

std::vector<Source> Follower::sources_of(const Value* value) const {
  const auto found = sources_.find(value);
  return found == sources_.end() ? std::vector<Source>() : found->second;
}

CellMap Follower::map_of(const Source& source) {
  if (!source.is_attribute()) return source.map;
  const auto known = first_element_.find(source.attribute);
  const std::int64_t count = model_.tensor(source.attribute).numel();
  const Cell first =
      known != first_element_.end()
          ? known->second
          : first_element_.emplace(source.attribute, flow_.sets.make(count)).first->second;
  return fold(flow_.sets, elements_of(source) + static_cast<std::int64_t>(first));
}

CellMap Follower::map_of(const Value* value) {
  const Source* source = source_of(value);
  if (source != nullptr) return map_of(*source);
  // The model's inputs and constants.
  std::vector<std::int64_t> sizes;
  const auto& inputs = model_.graph().inputs();
  const auto place = std::find(inputs.begin(), inputs.end(), value);
  if (place != inputs.end()) {
    const auto index = static_cast<std::size_t>(place - inputs.begin() - 1);
    return uniform_map(model_.inputs()[index].shape,
                       fixed_cell("it is joined with an input of the model"));
  }
  if (const auto constant = torch::jit::toIValue(value)) sizes = sizes_of(*constant);
  return uniform_map(sizes, fixed_cell("it is joined with what has no channels to remove"));
}

void Follower::set(const Value* value, Source source) {
  if (!source.is_attribute()) {
    flow_.values[value] = source.map;
    if (source.map.varying_dims().size() > 1) spread_.push_back(value);
  }
  sources_[value] = {std::move(source)};
}

void Follower::set_map(const Value* value, CellMap map) { set(value, {std::move(map), "", {}}); }

void Follower::set_uniform(const RecordedStep& step) {
  const Cell cell = fixed_cell("it is joined with what has no channels to remove");
  for (std::size_t i = 0; i < step.node->outputs().size(); ++i) {
    const c10::IValue& made = step.outputs[i];
    if (made.isTensor()) set_map(step.node->outputs()[i], uniform_map(sizes_of(made), cell));
    if (!made.isTensorList()) continue;
    std::vector<Source> all;
    for (const at::Tensor& tensor : made.toTensorVector()) {
      all.push_back({uniform_map(tensor.sizes().vec(), cell), "", {}});
    }
    sources_[step.node->outputs()[i]] = std::move(all);
  }
}

Cell Follower::fixed_cell(const std::string& reason) {
  const auto known = fixed_.find(reason);
  if (known != fixed_.end()) return known->second;
  const Cell cell = flow_.sets.make(1);
  flow_.sets.fix(cell, reason);
  return fixed_[reason] = cell;
}

void Follower::fix(const CellMap& map, const std::string& reason) {
  const at::Tensor cells = map.cells.contiguous();
  const Cell* first = cells.data_ptr<Cell>();
  for (std::int64_t i = 0; i < cells.numel(); ++i) flow_.sets.fix(first[i], reason);
}

void Follower::fix_inputs(const RecordedStep& step, const std::string& reason) {
  for (const Value* input : step.node->inputs()) {
    for (const Source& source : sources_of(input)) fix(map_of(source), reason);
  }
}

void Follower::unite(const std::vector<Cell>& a, const std::vector<Cell>& b) {
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) flow_.sets.unite(a[i], b[i]);
}

CellMap Follower::merge(const CellMap& a, const CellMap& b, const std::string& where) {
  const std::size_t rank = std::max(a.sizes.size(), b.sizes.size());
  const auto aligned = [&](CellMap map) {
    while (map.sizes.size() < rank) {
      map.sizes.insert(map.sizes.begin(), 1);
      map.cells = map.cells.unsqueeze(0);
    }
    map.cells = fold(flow_.sets, map.cells).cells;
    return map;
  };
  CellMap left = aligned(a), right = aligned(b);
  std::vector<std::int64_t> sizes(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    sizes[i] = left.sizes[i] == 1 ? right.sizes[i] : left.sizes[i];
  }
  const auto covers = [&](const CellMap& map, const std::vector<std::int64_t>& dims) {
    return std::all_of(dims.begin(), dims.end(),
                       [&](std::int64_t dim) { return map.sizes[dim] == sizes[dim]; });
  };
  const auto is_broadcast = [&](const CellMap& map, const std::vector<std::int64_t>& dims) {
    return std::all_of(dims.begin(), dims.end(),
                       [&](std::int64_t dim) { return map.sizes[dim] == 1; });
  };
  // What one side can't follow, since it is of size 1 there, the other gives up.
  const auto give_up = [&](CellMap& map, const CellMap& other) {
    const auto dims = map.varying_dims();
    if (is_broadcast(other, dims)) return;
    for (const std::int64_t dim : dims) {
      if (other.sizes[static_cast<std::size_t>(dim)] == 1) map = level(map, dim);
    }
  };
  give_up(left, right);
  give_up(right, left);
  const auto left_dims = left.varying_dims(), right_dims = right.varying_dims();
  if (right_dims.empty() && is_broadcast(right, left_dims)) return {sizes, left.cells};
  if (left_dims.empty() && is_broadcast(left, right_dims)) return {sizes, right.cells};
  if (covers(right, left_dims) && covers(left, right_dims)) {
    const auto both = at::broadcast_tensors({left.cells, right.cells});
    const at::Tensor one = both[0].contiguous(), other = both[1].contiguous();
    const Cell *x = one.data_ptr<Cell>(), *y = other.data_ptr<Cell>();
    for (std::int64_t i = 0; i < one.numel(); ++i) flow_.sets.unite(x[i], y[i]);
    return {sizes, fold(flow_.sets, one).cells};
  }
  fix(left, where + " joins it with channels of another dimension");
  fix(right, where + " joins it with channels of another dimension");
  return uniform_map(sizes, fixed_cell("it is joined with what has no channels to remove"));
}

CellMap Follower::settle(const CellMap& map, std::int64_t dim) {
  const at::Tensor cells = fold(flow_.sets, map.cells).cells;
  unite_others(flow_.sets, cells, dim);
  return {map.sizes, fold(flow_.sets, cells).cells};
}

CellMap Follower::level(const CellMap& map, std::int64_t dim) {
  const CellMap folded{map.sizes, fold(flow_.sets, map.cells).cells};
  if (!folded.varies_along(dim) || folded.varying_dims().size() < 2) return folded;
  const at::Tensor rows =
      folded.cells.movedim(dim, 0).contiguous().view({folded.cells.size(dim), -1});
  const Cell* first = rows.data_ptr<Cell>();
  const std::int64_t width = rows.size(1);
  for (std::int64_t i = width; i < rows.numel(); ++i) {
    flow_.sets.unite(first[i % width], first[i]);
  }
  return {map.sizes, fold(flow_.sets, folded.cells).cells};
}

CellMap Follower::unite_all(const CellMap& map) {
  const at::Tensor cells = map.cells.contiguous();
  const Cell* first = cells.data_ptr<Cell>();
  for (std::int64_t i = 1; i < cells.numel(); ++i) flow_.sets.unite(first[0], first[i]);
  return uniform_map(map.sizes, flow_.sets.find(first[0]));
}

void Follower::settle_rest() {
  for (const Value* value : spread_) {
    CellMap& map = flow_.values.at(value);
    map.cells = fold(flow_.sets, map.cells).cells;
    const auto dims = map.varying_dims();
    if (dims.size() < 2) continue;
    std::int64_t kept = dims[0], most = 0;
    for (const std::int64_t dim : dims) {
      const std::int64_t classes = classes_along(map.cells, dim);
      if (classes >= most) kept = dim;
      most = std::max(most, classes);
    }
    map = settle(map, kept);
  }
  // Settling one may have taken from another that came before it.
  for (const Value* value : spread_) {
    CellMap& map = flow_.values.at(value);
    map.cells = fold(flow_.sets, map.cells).cells;
  }
}

std::vector<Cell> Follower::channel_cells(const CellMap& map, std::int64_t dim,
                                          const std::string& where) {
  CellMap settled = map;
  if (map.varies_along(dim)) {
    for (const std::int64_t other : map.varying_dims()) {
      if (other != dim) settled = level(settled, other);
    }
  }
  for (const std::int64_t other : settled.varying_dims()) {
    if (other == dim) continue;
    fix(map, where + " takes its channels along another dimension");
    const Cell cell = fixed_cell("it is joined with what has no channels to remove");
    return std::vector<Cell>(static_cast<std::size_t>(map.sizes[dim]), cell);
  }
  return cells_along(settled, dim);
}

CellMap Follower::map_of_elements(const std::string& attribute, Cell first) const {
  const at::Tensor whole = model_.tensor(attribute);
  return fold(flow_.sets, at::arange(first, first + whole.numel(), at::kInt).view(whole.sizes()));
}

/// Elements of a parameter that are told apart along several dimensions go with the one along
/// which channels ended up.
void Follower::settle_parameters() {
  for (int round = 0; round < 3; ++round) {
    for (const auto& [name, first] : first_element_) {
      const CellMap map = map_of_elements(name, first);
      const auto dims = map.varying_dims();
      if (dims.size() < 2) continue;
      const Cell* cells = map.cells.data_ptr<Cell>();
      const std::unordered_set<Cell> distinct(cells, cells + map.cells.numel());
      const bool is_shared = static_cast<std::int64_t>(distinct.size()) < map.cells.numel();
      if (!is_shared) continue;
      // The dimension whose positions share no cells, if there is one: uniting along the others
      // then takes in only elements that nothing reads.
      const auto apart = std::find_if(dims.begin(), dims.end(), [&](std::int64_t dim) {
        return classes_along(map.cells, dim) == map.cells.size(dim);
      });
      if (apart != dims.end()) unite_others(flow_.sets, map.cells, *apart);
    }
  }
  for (const auto& [name, first] : first_element_) {
    const CellMap map = map_of_elements(name, first);
    const auto dims = map.varying_dims();
    if (dims.size() > 1) fix(map, "'" + name + "' is joined with it along several dimensions");
    for (auto axis = axis_of_.lower_bound({name, 0});
         axis != axis_of_.end() && axis->first.first == name; ++axis) {
      if (dims.size() == 1 && axis->first.second == dims[0]) continue;
      for (const Cell cell : flow_.axes[axis->second].cells) {
        flow_.sets.fix(cell, "'" + name + "' is used in another way too");
      }
    }
    if (dims.size() != 1) continue;
    ChannelAxis axis{name, dims[0], ChannelAxis::Role::kFollows, name, cells_along(map, dims[0])};
    const auto known = axis_of_.find({name, dims[0]});
    if (known != axis_of_.end()) {
      unite(flow_.axes[known->second].cells, axis.cells);
    } else {
      flow_.axes.push_back(std::move(axis));
    }
  }
}

void Follower::note_attributes() {
  std::map<std::string, std::vector<const ChannelAxis*>> axes;
  for (const ChannelAxis& axis : flow_.axes) axes[axis.tensor].push_back(&axis);
  for (const auto& [value, sources] : sources_) {
    if (sources.size() != 1 || !sources[0].is_attribute()) continue;
    for (const ChannelAxis* axis : axes[sources[0].attribute]) {
      for (std::size_t i = 0; i < sources[0].map.sizes.size(); ++i) {
        const auto dim = static_cast<std::int64_t>(i);
        const auto positions = positions_along(sources[0], dim, axis->dim);
        if (!positions) continue;
        std::vector<Cell>& line = flow_.attributes[value][dim];
        for (const std::int64_t position : *positions) {
          line.push_back(axis->cells[static_cast<std::size_t>(position)]);
        }
        break;
      }
    }
  }
}

std::optional<std::vector<std::int64_t>> Follower::positions_along(const Source& source,
                                                                   std::int64_t dim,
                                                                   std::int64_t of) const {
  const at::Tensor whole = model_.tensor(source.attribute);
  std::vector<std::int64_t> positions(static_cast<std::size_t>(whole.size(of)));
  std::iota(positions.begin(), positions.end(), 0);
  if (!source.elements.defined()) return dim == of ? std::optional(positions) : std::nullopt;
  std::int64_t stride = 1;
  for (std::int64_t inner = of + 1; inner < whole.dim(); ++inner) stride *= whole.size(inner);
  const at::Tensor position = source.elements.div(stride, "floor").remainder(whole.size(of));
  at::Tensor line = position;
  for (std::int64_t other = 0; other < line.dim(); ++other) {
    if (other != dim) line = line.narrow(other, 0, 1);
  }
  if (line.numel() <= 1 || !at::equal(position, line.expand_as(position)) ||
      at::equal(line, line.flatten()[0].expand_as(line)))
    return std::nullopt;
  const at::Tensor found = line.flatten().to(at::kLong).contiguous();
  const auto* first = found.data_ptr<std::int64_t>();
  return std::vector<std::int64_t>(first, first + found.numel());
}

}  // namespace channels

ChannelFlow follow_channels(const Model& model, const RecordedRun& run, AttentionUnit unit) {
  channels::Follower follower(model, unit);
  follower.follow(run);
  return follower.take_flow();
}

}  // namespace edgecompress
