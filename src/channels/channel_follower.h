// The working state of follow_channels: one object a run, its rules in three files by kind of op
// (channel_elements, channel_layers, channel_movement).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "channels/channel_flow.h"
#include "model/model.h"

namespace edgecompress::channels {

using torch::jit::Node;
using torch::jit::Value;

/// A tensor on its way. One that is an attribute, or moved elements of one, is told by these
/// elements, since it may serve as a weight, whose dimensions are channels of different layers.
struct Source {
  CellMap map;
  std::string attribute;  ///< "" for others
  at::Tensor elements;    ///< int32 flat indices into the attribute; undefined: the attribute whole
  bool is_attribute() const { return !attribute.empty(); }
};

class Follower {
 public:
  Follower(const Model& model, AttentionUnit unit) : model_(model), unit_(unit) {}

  void follow(const RecordedRun& run);
  ChannelFlow take_flow();

 private:
  using Rule = void (Follower::*)(const RecordedStep&);
  using Rules = std::map<std::string, Rule>;
  /// `ops`: names without "aten::", a space between.
  static void add_rule(Rules& rules, const std::string& ops, Rule rule);
  static const Rules& rules();
  static const Rules& element_rules();
  static const Rules& layer_rules();
  static const Rules& movement_rules();

  // Containers and control flow.
  void follow_step(const RecordedStep& step);
  bool follow_container(const RecordedStep& step);
  void follow_branches(const RecordedStep& step);
  void fix_untaken(const torch::jit::Block* block);
  void follow_unknown(const RecordedStep& step);

  // Ops that treat each element alone, or rows of elements.
  void follow_pointwise(const RecordedStep& step);
  void follow_reduction(const RecordedStep& step);
  void follow_softmax(const RecordedStep& step);
  void follow_spatial(const RecordedStep& step);
  void follow_fill(const RecordedStep& step);
  void follow_write(const RecordedStep& step);

  // Ops that only move data.
  void follow_movement(const RecordedStep& step);
  void follow_slice_scatter(const RecordedStep& step);
  void follow_pad(const RecordedStep& step);
  void follow_index(const RecordedStep& step);
  void follow_index_select(const RecordedStep& step, const CellMap& map, std::int64_t dim);
  void follow_roll(const RecordedStep& step);
  void follow_glu(const RecordedStep& step);

  // Layers.
  void follow_conv(const RecordedStep& step);
  void follow_conv_transposed(const RecordedStep& step);
  void follow_linear(const RecordedStep& step);
  void follow_weight(const RecordedStep& step, const Value* input, const Value* weight,
                     std::int64_t in_dim, const Value* bias);
  void follow_matmul(const RecordedStep& step);
  void follow_addmm(const RecordedStep& step);
  void follow_einsum(const RecordedStep& step);
  void follow_attention(const RecordedStep& step);
  void follow_batch_norm(const RecordedStep& step);
  void follow_layer_norm(const RecordedStep& step);
  void follow_group_norm(const RecordedStep& step);
  void follow_prelu(const RecordedStep& step);
  void follow_embedding(const RecordedStep& step);
  void follow_recurrent(const RecordedStep& step);

  // What rules are made of.
  const Source* source_of(const Value* value) const;
  std::vector<Source> sources_of(const Value* value) const;
  CellMap map_of(const Value* value);
  CellMap map_of(const Source& source);
  void set(const Value* value, Source source);
  void set_map(const Value* value, CellMap map);
  void set_uniform(const RecordedStep& step);
  Cell fixed_cell(const std::string& reason);
  void fix(const CellMap& map, const std::string& reason);
  void fix_inputs(const RecordedStep& step, const std::string& reason);
  CellMap merge(const CellMap& a, const CellMap& b, const std::string& where);
  void unite(const std::vector<Cell>& a, const std::vector<Cell>& b);
  /// A tensor stays a box when channels go, so that in the end its cells may vary along one
  /// dimension only. Which one is left open until something asks for it.
  /// Along `dim`, by uniting what differs along the others.
  CellMap settle(const CellMap& map, std::int64_t dim);
  /// Not along `dim`, if it varies along others: by uniting what differs along it.
  CellMap level(const CellMap& map, std::int64_t dim);
  /// An operand of a product, with its dimensions as letters.
  CellMap settle_operand(const CellMap& map, const std::string& letters,
                         const std::string& other_letters, const std::string& out_letters);
  CellMap unite_all(const CellMap& map);
  /// Every tensor that nothing asked of: along the dimension that leaves the most channels.
  void settle_rest();
  /// The cells along `dim`; all is fixed, and they are one, if the map varies along others only.
  std::vector<Cell> channel_cells(const CellMap& map, std::int64_t dim, const std::string& where);
  /// The cells of a weight's dimension; nothing if the weight is computed.
  std::optional<std::vector<Cell>> axis_cells(const Value* weight, std::int64_t dim,
                                              ChannelAxis::Role role, const std::string& layer);
  std::vector<Cell>& attribute_axis(const std::string& attribute, std::int64_t dim,
                                    ChannelAxis::Role role, const std::string& layer);
  void follow_channelwise(const Value* parameter, const std::vector<Cell>& cells,
                          const std::string& layer);
  at::Tensor elements_of(const Source& source) const;
  /// Which of its positions along dimension `of` of the attribute each position along `dim` of the
  /// source is, if that is all that tells them; else nothing.
  std::optional<std::vector<std::int64_t>> positions_along(const Source& source, std::int64_t dim,
                                                           std::int64_t of) const;
  CellMap contract(const Node* node, const CellMap& a, const std::string& a_letters,
                   const CellMap& b, const std::string& b_letters, const std::string& out_letters,
                   const std::vector<std::int64_t>& out_sizes);
  /// The elements of an attribute as they are tied by now; `first`: the cell of its first one.
  CellMap map_of_elements(const std::string& attribute, Cell first) const;
  void settle_parameters();
  void note_attributes();

  const Model& model_;
  AttentionUnit unit_;
  ChannelFlow flow_;
  std::unordered_map<const Value*, std::vector<Source>> sources_;
  std::unordered_set<const Value*> seen_;
  std::vector<const Value*> spread_;  ///< whose cells varied along several dimensions
  std::map<std::pair<std::string, std::int64_t>, std::size_t> axis_of_;
  std::map<std::string, Cell> first_element_;  ///< of attributes whose elements have cells
  std::map<std::string, Cell> fixed_;
};

std::vector<std::int64_t> sizes_of(const c10::IValue& tensor);
/// "ab,bc->ac" in its parts; nothing where it is no product of two operands, or leaves dimensions
/// open ("...").
struct EinsumPair {
  std::string left, right, out;
};
std::optional<EinsumPair> parse_einsum(std::string equation);
/// A map that varies along `dim` only.
CellMap line_map(std::vector<std::int64_t> sizes, std::int64_t dim, const std::vector<Cell>& cells);
std::int64_t positive_dim(std::int64_t dim, std::size_t rank);

}  // namespace edgecompress::channels
