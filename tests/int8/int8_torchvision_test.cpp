// INT8 of networks that stock PyTorch saved.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <set>

#include "data/tensor_dataset.h"
#include "int8/int8_islands.h"
#include "int8/int8_rewrite.h"
#include "model/runtime.h"
#include "support/int8_schemes.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

using torch::jit::Node;
using torch::jit::Value;

struct Expected {
  std::string network;
  std::vector<std::int64_t> shape;
  /// Float ops between INT8 ops; none: INT8 from end to end.
  std::vector<std::string> islands;
};

std::vector<Expected> networks() {
  return {{"resnet18", {4, 3, 32, 32}, {}},           {"mobilenet_v2", {4, 3, 32, 32}, {}},
          {"mobilenet_v3_small", {4, 3, 32, 32}, {}}, {"efficientnet_b0", {4, 3, 32, 32}, {}},
          {"densenet121", {4, 3, 32, 32}, {}},        {"squeezenet1_1", {4, 3, 64, 64}, {}},
          {"googlenet", {4, 3, 64, 64}, {}},          {"vit", {4, 3, 32, 32}, {"aten::softmax"}}};
}

bool is_quantize(const Node* node) {
  const std::string op = op_of(node);
  return op == "aten::quantize_per_tensor" || op == "aten::_make_per_tensor_quantized_tensor";
}

/// Whether the numbers come from INT8 through ops that do nothing but convert or move them.
bool is_only_converted(const Value* value) {
  const std::string op = op_of(value->node());
  if (op == "aten::dequantize" || op == "aten::int_repr") return true;
  const bool moves = op == "aten::to" || op == "aten::permute" || op == "aten::reshape" ||
                     op == "aten::view_as" || op == "aten::transpose" || op == "aten::flatten";
  return moves && is_only_converted(value->node()->input(0));
}

std::int64_t count(const torch::jit::Block* block, const std::function<bool(const Node*)>& asks) {
  std::int64_t found = 0;
  for (const Node* node : block->nodes()) {
    for (const torch::jit::Block* nested : node->blocks()) found += count(nested, asks);
    found += asks(node);
  }
  return found;
}

class Int8Torchvision : public ::testing::TestWithParam<std::tuple<Expected, std::string>> {};

TEST_P(Int8Torchvision, StaysInt8BetweenLayers) {
  initialise_runtime();
  const at::NoGradGuard no_grad;
  const auto& [expected, form] = GetParam();
  const testing::TemporaryFolder folder;
  const std::string command = "/usr/bin/python3 -W ignore " EDGECOMPRESS_SOURCE_DIR
                              "/tests/support/make_torchvision_models.py " +
                              folder.path().string() + " " + expected.network + " 2>&1";
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "stock PyTorch could not save the network";
  Model model = Model::load(folder.path() / (expected.network + "_" + form + ".pt"),
                            {{expected.shape, "float32", 2}});
  const at::Tensor images = at::randn(expected.shape, at::detail::createCPUGenerator(1));
  Int8Scheme scheme = testing::make_int8_scheme(
      model, std::make_shared<TensorDataset>(std::vector<at::Tensor>{images}));
  share_ranges_with_concatenations(scheme);
  std::set<std::string> islands;
  for (const FloatIslandOp& op : find_float_islands(model, scheme.plan)) islands.insert(op.op);
  for (const std::string& op : expected.islands) EXPECT_TRUE(islands.count(op)) << op;
  const at::Tensor reference = model.forward({images})[0];
  rewrite_static_int8(model, scheme);
  const at::Tensor error = model.forward({images})[0] - reference;
  EXPECT_LE(error.norm().item<double>(), 0.4 * reference.norm().item<double>());

  const torch::jit::Block* graph = model.graph().block();
  const auto cancels = [](const Node* node) {
    return is_quantize(node) && is_only_converted(node->input(0));
  };
  EXPECT_EQ(count(graph, cancels), 0);
  if (!expected.islands.empty()) return;
  EXPECT_TRUE(islands.empty()) << *islands.begin();
  EXPECT_TRUE(scheme.plan.float_layers.empty()) << scheme.plan.float_layers[0].name;
  const auto is = [](const char* op) {
    return [op](const Node* node) { return op_of(node) == op; };
  };
  EXPECT_EQ(count(graph, is_quantize), 1 + count(graph, is("aten::index_select")))
      << "the input, and what tables make of bytes";
  EXPECT_EQ(count(graph, is("aten::dequantize")), 1);
  EXPECT_EQ(count(graph, is("aten::int_repr")), count(graph, is("aten::index_select")))
      << "only tables look at bytes";
}

INSTANTIATE_TEST_SUITE_P(Networks, Int8Torchvision,
                         ::testing::Combine(::testing::ValuesIn(networks()),
                                            ::testing::Values(std::string("traced"),
                                                              std::string("scripted"))),
                         [](const auto& made) {
                           return std::get<0>(made.param).network + "_" + std::get<1>(made.param);
                         });

}  // namespace
}  // namespace edgecompress
