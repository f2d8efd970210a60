#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <numeric>

#include "int8/quantized.h"
#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

using Parameters = std::vector<std::pair<std::string, at::Tensor>>;

Model load_text(const Parameters& parameters, const std::string& expression,
                const std::vector<std::vector<std::int64_t>>& shapes,
                const std::string& arguments) {
  Module module("Net");
  for (const auto& [name, tensor] : parameters) module.register_parameter(name, tensor, false);
  module.define("def forward(self, " + arguments + "):\n  return " + expression + "\n");
  std::vector<InputSpec> inputs;
  for (const auto& shape : shapes) inputs.push_back({shape, "float32", 2});
  return Model::from_module(module, inputs);
}

std::int64_t total_macs(const Model& model) {
  const auto counts = count_macs(model, model.example_inputs(model.inputs()[0].shape[0]));
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0},
                         [](std::int64_t sum, const NodeMacs& node) { return sum + node.macs; });
}

std::int64_t macs_of(const Parameters& parameters, const std::string& expression,
                     const std::vector<std::vector<std::int64_t>>& shapes,
                     const std::string& arguments = "x") {
  return total_macs(load_text(parameters, expression, shapes, arguments));
}

TEST(Macs, OfAConvolutionAreOutputsTimesKernelTimesInputsOfAGroup) {
  const std::string groups_of_two = "torch.conv2d(x, self.w, None, [2, 2], [1, 1], [1, 1], 2)";
  // 2 images, 6 channels, 4x4 outputs; each sums 2 channels x 3x3.
  EXPECT_EQ(macs_of({{"w", at::ones({6, 2, 3, 3})}}, groups_of_two, {{2, 4, 8, 8}}),
            2 * 6 * 16 * 2 * 9);
}

TEST(Macs, OfOneAndThreeDimensionalConvolutions) {
  EXPECT_EQ(macs_of({{"w", at::ones({5, 3, 4})}}, "torch.conv1d(x, self.w)", {{1, 3, 10}}),
            5 * 7 * 3 * 4);
  EXPECT_EQ(
      macs_of({{"w", at::ones({2, 3, 2, 2, 2})}}, "torch.conv3d(x, self.w)", {{1, 3, 4, 4, 4}}),
      2 * 27 * 3 * 8);
}

TEST(Macs, OfATransposedConvolutionAreInputsTimesKernelTimesOutputs) {
  // 3 channels x 5x5 inputs, each spread over 4 channels x 2x2.
  EXPECT_EQ(macs_of({{"w", at::ones({3, 4, 2, 2})}},
                    "torch.conv_transpose2d(x, self.w, None, [2, 2])", {{1, 3, 5, 5}}),
            3 * 25 * 4 * 4);
}

TEST(Macs, OfMatrixProducts) {
  EXPECT_EQ(macs_of({{"w", at::ones({7, 5})}}, "torch.linear(x, self.w)", {{2, 3, 5}}), 6 * 7 * 5);
  EXPECT_EQ(macs_of({}, "torch.matmul(x, y)", {{2, 3, 4, 5}, {2, 3, 5, 6}}, "x, y"), 6 * 4 * 6 * 5);
  EXPECT_EQ(macs_of({}, "torch.bmm(x, y)", {{2, 4, 5}, {2, 5, 6}}, "x, y"), 2 * 4 * 6 * 5);
  EXPECT_EQ(macs_of({{"b", at::ones({2, 4, 6})}}, "torch.baddbmm(self.b, x, y)",
                    {{2, 4, 5}, {2, 5, 6}}, "x, y"),
            2 * 4 * 6 * 5);
}

TEST(Macs, OfRecurrentLayersCountEachLayerAndDirectionOnceAStep) {
  // 2 samples x 5 steps; input 3, hidden 4: (3 + 4) * 4 * gates.
  const Parameters lstm = {{"i", at::ones({16, 3})}, {"h", at::ones({16, 4})}};
  EXPECT_EQ(
      macs_of(lstm,
              "torch.lstm(x, [torch.zeros([1, x.size(0), 4]), torch.zeros([1, x.size(0), 4])], "
              "[self.i, self.h], False, 1, 0.0, False, False, True)[0]",
              {{2, 5, 3}}),
      10 * 16 * 7);
  const Parameters gru = {{"i", at::ones({12, 3})},
                          {"h", at::ones({12, 4})},
                          {"j", at::ones({12, 3})},
                          {"k", at::ones({12, 4})}};
  EXPECT_EQ(
      macs_of(gru,
              "torch.gru(x, torch.zeros([2, x.size(0), 4]), [self.i, self.h, self.j, self.k], "
              "False, 1, 0.0, False, True, True)[0]",
              {{2, 5, 3}}),
      10 * 2 * 12 * 7);
}

TEST(Macs, OfAnInt8LayerAreThoseOfTheFloatOne) {
  const at::Tensor weight = at::ones({6, 3, 3, 3});
  Model model = load_text({{"w", weight}}, "torch.conv2d(x, self.w, None, [1, 1], [1, 1])",
                          {{1, 3, 4, 4}}, "x");
  const c10::IValue packed =
      pack_conv(quantize_weight(weight, {}), at::zeros({6}), {{1, 1}, {1, 1}, {1, 1}, 1});
  const std::string name = model.add_attribute("packed", packed.type(), packed);
  const auto graph = model.edit();
  torch::jit::Value* attribute = insert_attribute(*graph, model, name);
  torch::jit::WithInsertPoint guard(graph->return_node());
  const auto insert = [&](const char* op, const std::vector<torch::jit::Value*>& inputs) {
    return graph->insertNode(graph->create(c10::Symbol::fromQualString(op), inputs))->output();
  };
  torch::jit::Value* scale = graph->insertConstant(0.1);
  torch::jit::Value* zero_point = graph->insertConstant(64);
  torch::jit::Value* input =
      insert("aten::quantize_per_tensor", {graph->inputs()[1], scale, zero_point,
                                           graph->insertConstant(static_cast<int>(at::kQUInt8))});
  torch::jit::Value* conv = insert("quantized::conv2d", {input, attribute, scale, zero_point});
  graph->block()->replaceOutput(0, insert("aten::dequantize", {conv}));
  torch::jit::EliminateDeadCode(graph);
  EXPECT_EQ(total_macs(model), 6 * 16 * 27);
}

TEST(Macs, AreListedByLayerNameInExecutionOrder) {
  const Model model =
      load_text({{"w", at::ones({5, 4})}}, "torch.matmul(torch.linear(x, self.w), y)",
                {{2, 4}, {5, 3}}, "x, y");
  const auto counts = count_macs(model, {at::ones({2, 4}), at::ones({5, 3})});
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].name, "w");
  EXPECT_EQ(counts[0].op, "aten::linear");
  EXPECT_EQ(counts[0].output_sizes, (std::vector<std::int64_t>{2, 5}));
  EXPECT_EQ(counts[1].name, "matmul#1");
  EXPECT_EQ(counts[1].macs, 2 * 3 * 5);
}

}  // namespace
}  // namespace edgecompress
