// Channels through layers: where they are made, used up, and scaled.
#include <ATen/ATen.h>

#include <algorithm>

#include "channels/channel_follower.h"
#include "model/layers.h"

namespace edgecompress::channels {

using Role = ChannelAxis::Role;

namespace {

/// Cells [first, first + count) of `cells`.
std::vector<Cell> part(const std::vector<Cell>& cells, std::int64_t first, std::int64_t count) {
  return {cells.begin() + first, cells.begin() + first + count};
}

}  // namespace

const Follower::Rules& Follower::layer_rules() {
  static const Rules all = {
      {"aten::conv1d", &Follower::follow_conv},
      {"aten::conv2d", &Follower::follow_conv},
      {"aten::conv3d", &Follower::follow_conv},
      {"aten::conv_transpose1d", &Follower::follow_conv_transposed},
      {"aten::conv_transpose2d", &Follower::follow_conv_transposed},
      {"aten::conv_transpose3d", &Follower::follow_conv_transposed},
      {"aten::linear", &Follower::follow_linear},
      {"aten::matmul", &Follower::follow_matmul},
      {"aten::mm", &Follower::follow_matmul},
      {"aten::bmm", &Follower::follow_matmul},
      {"aten::addmm", &Follower::follow_addmm},
      {"aten::baddbmm", &Follower::follow_addmm},
      {"aten::einsum", &Follower::follow_einsum},
      {"aten::scaled_dot_product_attention", &Follower::follow_attention},
      {"aten::batch_norm", &Follower::follow_batch_norm},
      {"aten::instance_norm", &Follower::follow_batch_norm},
      {"aten::layer_norm", &Follower::follow_layer_norm},
      {"aten::group_norm", &Follower::follow_group_norm},
      {"aten::prelu", &Follower::follow_prelu},
      {"aten::embedding", &Follower::follow_embedding},
      {"aten::lstm", &Follower::follow_recurrent},
      {"aten::gru", &Follower::follow_recurrent},
      {"aten::rnn_tanh", &Follower::follow_recurrent},
      {"aten::rnn_relu", &Follower::follow_recurrent},
  };
  return all;
}

std::vector<Cell>& Follower::attribute_axis(const std::string& attribute, std::int64_t dim,
                                            Role role, const std::string& layer) {
  const auto known = axis_of_.find({attribute, dim});
  if (known != axis_of_.end()) {
    ChannelAxis& axis = flow_.axes[known->second];
    if (role == Role::kConsumes && axis.role == Role::kProduces) axis.is_consumed_too = true;
    if (role == Role::kProduces && axis.role == Role::kConsumes) {
      axis.role = role;
      axis.is_consumed_too = true;
    }
    return axis.cells;
  }
  const std::int64_t count = model_.tensor(attribute).size(dim);
  const Cell first = flow_.sets.make(count);
  ChannelAxis axis{attribute, dim, role, layer, {}};
  for (std::int64_t i = 0; i < count; ++i) axis.cells.push_back(first + static_cast<Cell>(i));
  axis_of_[{attribute, dim}] = flow_.axes.size();
  flow_.axes.push_back(std::move(axis));
  return flow_.axes.back().cells;
}

std::optional<std::vector<Cell>> Follower::axis_cells(const Value* weight, std::int64_t dim,
                                                      Role role, const std::string& layer) {
  const Source* source = source_of(weight);
  if (source == nullptr || !source->is_attribute()) return std::nullopt;
  if (!source->elements.defined()) return attribute_axis(source->attribute, dim, role, layer);
  // Which dimension of the attribute this dimension of its moved elements runs along.
  for (std::int64_t of = 0; of < model_.tensor(source->attribute).dim(); ++of) {
    const auto positions = positions_along(*source, dim, of);
    if (!positions) continue;
    const std::vector<Cell>& all = attribute_axis(source->attribute, of, role, layer);
    std::vector<Cell> cells;
    for (const std::int64_t position : *positions) {
      cells.push_back(all[static_cast<std::size_t>(position)]);
    }
    return cells;
  }
  return std::nullopt;
}

/// A parameter of one value a channel.
void Follower::follow_channelwise(const Value* parameter, const std::vector<Cell>& cells,
                                  const std::string& layer) {
  const Source* source = source_of(parameter);
  if (source == nullptr) return;  // None
  const auto own = axis_cells(parameter, 0, Role::kFollows, layer);
  if (own) {
    unite(*own, cells);
  } else {
    unite(cells_along(map_of(parameter), 0), cells);
  }
}

void Follower::follow_conv(const RecordedStep& step) {
  const Node* node = step.node;
  const auto out_sizes = sizes_of(step.outputs[0]);
  const auto weight_sizes = sizes_of(step.inputs[1]);
  const std::int64_t groups = step.inputs[6].toInt();
  const Source* weight = source_of(node->input(1));
  const bool has_batch = out_sizes.size() == weight_sizes.size();
  if (weight == nullptr || !weight->is_attribute() || !has_batch) {
    fix_inputs(step, "the weights of " + op_of(node) + " are computed");
    return set_uniform(step);
  }
  const std::string layer = module_of(weight->attribute);
  const auto in = channel_cells(map_of(node->input(0)), 1, op_of(node));
  const auto out = axis_cells(node->input(1), 0, Role::kProduces, layer);
  const auto taps = axis_cells(node->input(1), 1, Role::kConsumes, layer);
  if (!out || (!taps && weight_sizes[1] > 1)) {
    fix_inputs(step, "the weights of " + op_of(node) + " are computed");
    return set_uniform(step);
  }
  const std::int64_t in_width = weight_sizes[1], out_width = weight_sizes[0] / groups;
  if (groups == 1) {
    unite(*taps, in);
  } else if (in_width < groups || in_width == 1) {
    // Whole groups go: what is left are fewer groups of the same width.
    for (std::int64_t group = 0; group < groups; ++group) {
      const Cell first = in[static_cast<std::size_t>(group * in_width)];
      for (const Cell cell : part(in, group * in_width, in_width)) flow_.sets.unite(first, cell);
      for (const Cell cell : part(*out, group * out_width, out_width))
        flow_.sets.unite(first, cell);
    }
    if (taps) {
      for (const Cell cell : *taps) flow_.sets.fix(cell, "groups of channels go whole");
    }
  } else {
    // The same positions go in every group.
    for (std::int64_t group = 0; group < groups; ++group) {
      unite(*taps, part(in, group * in_width, in_width));
      unite(part(*out, 0, out_width), part(*out, group * out_width, out_width));
    }
  }
  follow_channelwise(node->input(2), *out, layer);
  set_map(node->output(), line_map(out_sizes, 1, *out));
}

void Follower::follow_conv_transposed(const RecordedStep& step) {
  const Node* node = step.node;
  const auto out_sizes = sizes_of(step.outputs[0]);
  const auto weight_sizes = sizes_of(step.inputs[1]);
  const std::int64_t groups = step.inputs[6].toInt();
  const Source* weight = source_of(node->input(1));
  if (weight == nullptr || !weight->is_attribute() || out_sizes.size() != weight_sizes.size()) {
    fix_inputs(step, "the weights of " + op_of(node) + " are computed");
    return set_uniform(step);
  }
  const std::string layer = module_of(weight->attribute);
  const auto in = channel_cells(map_of(node->input(0)), 1, op_of(node));
  const auto taps = axis_cells(node->input(1), 0, Role::kConsumes, layer);
  const std::int64_t in_width = weight_sizes[0] / groups, out_width = weight_sizes[1];
  std::optional<std::vector<Cell>> out;
  if (groups == 1 || in_width >= groups) {
    out = axis_cells(node->input(1), 1, Role::kProduces, layer);
  }
  if (!taps || (!out && groups == 1)) {
    fix_inputs(step, "the weights of " + op_of(node) + " are computed");
    return set_uniform(step);
  }
  unite(*taps, in);
  std::vector<Cell> channels;
  for (std::int64_t group = 0; group < groups; ++group) {
    if (out) {
      // The same positions go in every group.
      channels.insert(channels.end(), out->begin(), out->end());
      unite(part(*taps, 0, in_width), part(*taps, group * in_width, in_width));
    } else {
      const Cell first = (*taps)[static_cast<std::size_t>(group * in_width)];
      for (const Cell cell : part(*taps, group * in_width, in_width)) flow_.sets.unite(first, cell);
      channels.insert(channels.end(), static_cast<std::size_t>(out_width), first);
    }
  }
  follow_channelwise(node->input(2), channels, layer);
  set_map(node->output(), line_map(out_sizes, 1, channels));
}

void Follower::follow_linear(const RecordedStep& step) {
  const Node* node = step.node;
  follow_weight(step, node->input(0), node->input(1), 1, node->input(2));
}

/// A weight of two dimensions, `in_dim` of which is multiplied with the input's last.
void Follower::follow_weight(const RecordedStep& step, const Value* input, const Value* weight,
                             std::int64_t in_dim, const Value* bias) {
  const Node* node = step.node;
  const auto out_sizes = sizes_of(step.outputs[0]);
  const CellMap map = map_of(input);
  const Source* source = source_of(weight);
  std::string layer;
  std::optional<std::vector<Cell>> in, out;
  if (source != nullptr && source->is_attribute() && source->map.sizes.size() == 2) {
    layer = module_of(source->attribute);
    out = axis_cells(weight, 1 - in_dim, Role::kProduces, layer);
    in = axis_cells(weight, in_dim, Role::kConsumes, layer);
  }
  if (!in || !out) {
    fix_inputs(step, "the weights of " + op_of(node) + " are computed");
    return set_uniform(step);
  }
  const auto last = static_cast<std::int64_t>(map.sizes.size()) - 1;
  unite(*in, channel_cells(map, last, op_of(node)));
  if (bias != nullptr) follow_channelwise(bias, *out, layer);
  set_map(node->output(),
          line_map(out_sizes, static_cast<std::int64_t>(out_sizes.size()) - 1, *out));
}

/// Whole heads stand along what both operands and the product have (the batch of the product),
/// their inner width along what is summed or belongs to one operand.
CellMap Follower::settle_operand(const CellMap& map, const std::string& letters,
                                 const std::string& other_letters, const std::string& out_letters) {
  const CellMap folded{map.sizes, fold(flow_.sets, map.cells).cells};
  const auto dims = folded.varying_dims();
  if (dims.size() < 2) return folded;
  const auto is_head = [&](std::int64_t dim) {
    const char letter = letters[static_cast<std::size_t>(dim)];
    return other_letters.find(letter) != std::string::npos &&
           out_letters.find(letter) != std::string::npos;
  };
  const bool wants_heads = unit_ == AttentionUnit::kHeads;
  const auto found = std::find_if(dims.rbegin(), dims.rend(),
                                  [&](std::int64_t dim) { return is_head(dim) == wants_heads; });
  return settle(folded, found == dims.rend() ? dims.back() : *found);
}

CellMap Follower::contract(const Node* node, const CellMap& a, const std::string& a_letters,
                           const CellMap& b, const std::string& b_letters,
                           const std::string& out_letters,
                           const std::vector<std::int64_t>& out_sizes) {
  const auto varying_letter = [&](const CellMap& map, const std::string& letters) {
    const auto dims = map.varying_dims();
    return dims.empty() ? '\0' : letters[static_cast<std::size_t>(dims[0])];
  };
  const CellMap left = settle_operand(a, a_letters, b_letters, out_letters);
  const CellMap right = settle_operand(b, b_letters, a_letters, out_letters);
  const char left_letter = varying_letter(left, a_letters);
  const char right_letter = varying_letter(right, b_letters);
  const auto cells_of = [&](const CellMap& map, const std::string& letters, char letter) {
    return cells_along(map, static_cast<std::int64_t>(letters.find(letter)));
  };
  const auto meet = [&](const CellMap& map, const std::string& letters, char letter,
                        const CellMap& other, const std::string& other_letters, char other_letter) {
    if (letter == '\0' || other_letters.find(letter) == std::string::npos) return;
    const auto at_other = static_cast<std::int64_t>(other_letters.find(letter));
    if (other.sizes[static_cast<std::size_t>(at_other)] == 1) return;
    if (other_letter != '\0' && other_letter != letter) {
      fix(map, op_of(node) + " joins it with channels of another dimension");
      return fix(other, op_of(node) + " joins it with channels of another dimension");
    }
    unite(cells_of(map, letters, letter), cells_along(other, at_other));
  };
  meet(left, a_letters, left_letter, right, b_letters, right_letter);
  meet(right, b_letters, right_letter, left, a_letters, left_letter);
  const auto is_summed = [&](char letter, const std::string& other_letters) {
    return letter != '\0' && other_letters.find(letter) == std::string::npos &&
           out_letters.find(letter) == std::string::npos;
  };
  if (is_summed(left_letter, b_letters)) fix(left, op_of(node) + " reduces over it");
  if (is_summed(right_letter, a_letters)) fix(right, op_of(node) + " reduces over it");
  const auto reaches = [&](char letter) {
    return letter != '\0' && out_letters.find(letter) != std::string::npos;
  };
  if (reaches(left_letter) && reaches(right_letter) && left_letter != right_letter) {
    fix(left, op_of(node) + " joins it with channels of another dimension");
    fix(right, op_of(node) + " joins it with channels of another dimension");
  }
  const bool from_left = reaches(left_letter);
  if (!from_left && !reaches(right_letter)) {
    return uniform_map(out_sizes, fixed_cell("it is joined with what has no channels to remove"));
  }
  const char letter = from_left ? left_letter : right_letter;
  return line_map(
      out_sizes, static_cast<std::int64_t>(out_letters.find(letter)),
      from_left ? cells_of(left, a_letters, letter) : cells_of(right, b_letters, letter));
}

/// Letters for a matrix product of these ranks, leading dimensions aligned from the right.
void Follower::follow_matmul(const RecordedStep& step) {
  const Node* node = step.node;
  const std::size_t ranks[] = {sizes_of(step.inputs[0]).size(), sizes_of(step.inputs[1]).size()};
  if (ranks[0] < 2 || ranks[1] < 2) {
    fix_inputs(step, op_of(node) + " with a vector");
    return set_uniform(step);
  }
  const Source* weight = source_of(node->input(1));
  const Source* input = source_of(node->input(0));
  const bool is_layer = weight != nullptr && weight->is_attribute() && ranks[1] == 2 &&
                        (input == nullptr || !input->is_attribute());
  if (is_layer) return follow_weight(step, node->input(0), node->input(1), 0, nullptr);
  const CellMap a = map_of(node->input(0)), b = map_of(node->input(1));
  const std::string batch = "abcdefgh";
  const auto leading = [&](std::size_t rank) { return batch.substr(batch.size() - (rank - 2)); };
  const std::string a_letters = leading(a.sizes.size()) + "mk";
  const std::string b_letters = leading(b.sizes.size()) + "kn";
  const std::string out = leading(std::max(a.sizes.size(), b.sizes.size())) + "mn";
  set_map(node->output(),
          contract(node, a, a_letters, b, b_letters, out, sizes_of(step.outputs[0])));
}

void Follower::follow_addmm(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap a = map_of(node->input(1)), b = map_of(node->input(2));
  const bool has_batch = a.sizes.size() == 3;
  const CellMap product = contract(node, a, has_batch ? "bmk" : "mk", b, has_batch ? "bkn" : "kn",
                                   has_batch ? "bmn" : "mn", sizes_of(step.outputs[0]));
  set_map(node->output(), merge(product, map_of(node->input(0)), op_of(node)));
}

void Follower::follow_einsum(const RecordedStep& step) {
  const Node* node = step.node;
  const auto& operands = node->input(1)->node()->inputs();
  const auto letters = parse_einsum(step.inputs[0].toStringRef());
  if (!letters || operands.size() != 2) {
    fix_inputs(step, "aten::einsum of '" + step.inputs[0].toStringRef() + "' is not understood");
    return set_uniform(step);
  }
  set_map(node->output(), contract(node, map_of(operands[0]), letters->left, map_of(operands[1]),
                                   letters->right, letters->out, sizes_of(step.outputs[0])));
}

void Follower::follow_attention(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap q = map_of(node->input(0)), k = map_of(node->input(1)), v = map_of(node->input(2));
  const std::string batch = std::string("abcdefgh").substr(0, q.sizes.size() - 2);
  std::vector<std::int64_t> scores(q.sizes.begin(), q.sizes.end() - 1);
  scores.push_back(k.sizes[k.sizes.size() - 2]);
  CellMap weights = contract(node, q, batch + "me", k, batch + "ne", batch + "mn", scores);
  if (step.inputs[3].isTensor() && step.inputs[3].toTensor().defined()) {
    weights = merge(weights, map_of(node->input(3)), op_of(node));
  }
  set_map(node->output(), contract(node, weights, batch + "mn", v, batch + "nf", batch + "mf",
                                   sizes_of(step.outputs[0])));
}

void Follower::follow_batch_norm(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap map = map_of(node->input(0));
  const auto cells = channel_cells(map, 1, op_of(node));
  for (std::size_t i = 1; i <= 4; ++i) {
    const Source* source = source_of(node->input(i));
    if (source == nullptr) continue;
    follow_channelwise(node->input(i), cells,
                       source->is_attribute() ? module_of(source->attribute) : "");
  }
  set_map(node->output(), {map.sizes, fold(flow_.sets, map.cells).cells});
}

void Follower::follow_layer_norm(const RecordedStep& step) {
  const Node* node = step.node;
  CellMap map = map_of(node->input(0));
  for (const std::size_t i : {2, 3}) {
    if (source_of(node->input(i)) != nullptr) map = merge(map, map_of(node->input(i)), op_of(node));
  }
  set_map(node->output(), map);
}

void Follower::follow_group_norm(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap map = map_of(node->input(0));
  const std::int64_t groups = step.inputs[1].toInt();
  const auto cells = channel_cells(map, 1, op_of(node));
  const std::int64_t width = static_cast<std::int64_t>(cells.size()) / groups;
  // Whole groups go, so that what is left is normalised as before; a single one shrinks.
  for (std::int64_t group = 0; groups > 1 && group < groups; ++group) {
    for (const Cell cell : part(cells, group * width, width)) {
      flow_.sets.unite(cells[static_cast<std::size_t>(group * width)], cell);
    }
  }
  for (const std::size_t i : {2, 3}) {
    const Source* source = source_of(node->input(i));
    if (source != nullptr) follow_channelwise(node->input(i), cells, module_of(source->attribute));
  }
  set_map(node->output(), {map.sizes, fold(flow_.sets, map.cells).cells});
}

void Follower::follow_prelu(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap map = map_of(node->input(0));
  const Source* weight = source_of(node->input(1));
  if (sizes_of(step.inputs[1]) != std::vector<std::int64_t>{1} && weight != nullptr) {
    follow_channelwise(node->input(1), channel_cells(map, 1, op_of(node)),
                       module_of(weight->attribute));
  }
  set_map(node->output(), map);
}

void Follower::follow_embedding(const RecordedStep& step) {
  const Node* node = step.node;
  const Source* weight = source_of(node->input(0));
  if (weight == nullptr || !weight->is_attribute()) return follow_unknown(step);
  const auto out = axis_cells(node->input(0), 1, Role::kProduces, module_of(weight->attribute));
  if (!out) return follow_unknown(step);
  const auto sizes = sizes_of(step.outputs[0]);
  set_map(node->output(), line_map(sizes, static_cast<std::int64_t>(sizes.size()) - 1, *out));
}

/// (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first). The
/// states of all layers and directions are one tensor, so their hidden positions go together.
void Follower::follow_recurrent(const RecordedStep& step) {
  const Node* node = step.node;
  if (!step.inputs[2].isTensorList()) return follow_unknown(step);  // a packed sequence
  const auto& parameters = node->input(2)->node()->inputs();
  const bool has_biases = step.inputs[3].toBool(), is_bidirectional = step.inputs[7].toBool();
  const std::int64_t directions = is_bidirectional ? 2 : 1;
  const std::int64_t per_direction = has_biases ? 4 : 2;
  const auto count = static_cast<std::int64_t>(parameters.size());
  if (count != step.inputs[4].toInt() * directions * per_direction) return follow_unknown(step);
  const auto sizes_at = [&](std::int64_t i) {
    return sizes_of(step.inputs[2].toTensorVector()[static_cast<std::size_t>(i)]);
  };
  const std::int64_t hidden = sizes_at(1).back();
  std::vector<Cell> state;
  const CellMap input = map_of(node->input(0));
  std::vector<Cell> in =
      channel_cells(input, static_cast<std::int64_t>(input.sizes.size()) - 1, op_of(node));
  for (std::int64_t i = 0; i < count; i += per_direction) {
    const bool is_first_of_layer = (i / per_direction) % directions == 0;
    if (i > 0 && is_first_of_layer) {
      in.clear();
      for (std::int64_t d = 0; d < directions; ++d) in.insert(in.end(), state.begin(), state.end());
    }
    for (std::int64_t j = 0; j < per_direction; ++j) {
      const Value* value = parameters[static_cast<std::size_t>(i + j)];
      const Source* source = source_of(value);
      if (source == nullptr || !source->is_attribute()) return follow_unknown(step);
      const std::string layer = module_of(source->attribute);
      const auto rows = axis_cells(value, 0, j == 0 ? Role::kProduces : Role::kFollows, layer);
      if (!rows) return follow_unknown(step);
      if (state.empty()) state = part(*rows, 0, hidden);
      for (std::int64_t gate = 0; gate * hidden < static_cast<std::int64_t>(rows->size()); ++gate) {
        unite(state, part(*rows, gate * hidden, hidden));
      }
      if (j > 1) continue;  // biases
      const auto columns = axis_cells(value, 1, Role::kConsumes, layer);
      if (!columns) return follow_unknown(step);
      unite(*columns, j == 0 ? in : state);
    }
  }
  std::vector<Cell> out;
  for (std::int64_t d = 0; d < directions; ++d) out.insert(out.end(), state.begin(), state.end());
  const auto follow_state = [&](const CellMap& map) {
    const CellMap states =
        line_map(map.sizes, static_cast<std::int64_t>(map.sizes.size()) - 1, state);
    return merge(map, states, op_of(node));
  };
  for (const Source& source : sources_of(node->input(1))) follow_state(map_of(source));
  for (std::size_t i = 0; i < node->outputs().size(); ++i) {
    const auto sizes = sizes_of(step.outputs[i]);
    set_map(node->outputs()[i],
            line_map(sizes, static_cast<std::int64_t>(sizes.size()) - 1, i == 0 ? out : state));
  }
}

}  // namespace edgecompress::channels
