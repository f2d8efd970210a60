#include "canonical/canonical.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using torch::jit::Module;
using torch::jit::testing::FileCheck;

Module root() { return Module("Net"); }

at::Tensor filled(std::vector<std::int64_t> sizes) {
  std::int64_t count = 1;
  for (const auto size : sizes) count *= size;
  return at::linspace(-1, 1, count, at::kFloat).reshape(sizes);
}

Model from_text(Module module, const std::string& forward,
                std::vector<std::vector<std::int64_t>> shapes) {
  if (!module.hasattr("training"))
    module.register_attribute("training", c10::BoolType::get(), false);
  module.define(forward);
  std::vector<InputSpec> inputs;
  for (auto& shape : shapes) inputs.push_back({std::move(shape), "float32", 2});
  Model model = Model::from_module(module, inputs);
  if (inputs.empty()) return model;
  const auto example = model.example_inputs(inputs[0].shape[0]);
  const std::vector<c10::IValue> values(example.begin(), example.end());
  const auto expected = flatten_outputs(module.clone().forward(values));
  const auto outputs = model.forward(example);
  EXPECT_EQ(outputs.size(), expected.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_TRUE(at::allclose(outputs[i], expected[i], 1e-5, 1e-6)) << model.graph().toString();
  }
  return model;
}

std::vector<Finding> findings_of(const Model& model, Finding::Kind kind) {
  std::vector<Finding> found;
  std::copy_if(model.findings().begin(), model.findings().end(), std::back_inserter(found),
               [&](const Finding& finding) { return finding.kind == kind; });
  return found;
}

testing::Matcher<std::vector<Finding>> names(const std::string& text) {
  return Contains(Field(&Finding::what, HasSubstr(text)));
}

TEST(Canonical, InlinesCallsAndKeepsDottedNames) {
  Module layer("Layer");
  layer.register_parameter("weight", filled({3, 4}), false);
  layer.register_buffer("offset", filled({3}));
  layer.define(
      "def forward(self, x):\n  return torch.linear(x, self.weight, None) * self.offset\n");
  Module block("Block");
  block.register_module("layer", layer);
  block.define("def forward(self, x):\n  return self.layer.forward(x)\n");
  Module module = root();
  module.register_module("block", block);
  const Model model =
      from_text(module, "def forward(self, x):\n  return self.block.forward(x)\n", {{2, 4}});
  FileCheck().check_not("CallMethod")->run(model.graph());
  EXPECT_TRUE(model.has_attribute("block.layer.weight"));
  EXPECT_TRUE(model.has_attribute("block.layer.offset"));
  FileCheck().check("name=\"weight\"")->check("name=\"offset\"")->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, ReadsSharedTensorsUnderOneName) {
  const at::Tensor shared = filled({4, 4});
  Module module = root();
  module.register_parameter("first", shared, false);
  module.register_parameter("second", shared, false);
  const Model model = from_text(
      module,
      "def forward(self, x):\n  return torch.linear(torch.linear(x, self.first), self.second)\n",
      {{2, 4}});
  FileCheck().check("name=\"first\"")->check_not("name=\"second\"")->run(model.graph());
}

TEST(Canonical, SpellsConvolutionsByTheirRank) {
  Module module = root();
  module.register_parameter("w1", filled({4, 3, 3}), false);
  module.register_parameter("w2", filled({4, 2, 3}), false);
  const Model model =
      from_text(module,
                "def forward(self, x):\n"
                "  y = torch._convolution(x, self.w1, None, [1], [1], [1], False, [0], 1, False, "
                "False, True, True)\n"
                "  return torch.convolution(y, self.w2, None, [2], [0], [1], True, [1], 1)\n",
                {{2, 3, 8}});
  FileCheck()
      .check_not("convolution")
      ->check("aten::conv1d")
      ->check("aten::conv_transpose1d")
      ->check_not("convolution")
      ->run(model.graph());
}

TEST(Canonical, WritesStringPaddingAsNumbersWhereItIsSymmetric) {
  Module module = root();
  module.register_parameter("odd", filled({3, 3, 3}), false);
  module.register_parameter("even", filled({3, 3, 4}), false);
  const Model model =
      from_text(module,
                "def forward(self, x):\n"
                "  y = torch.conv1d(x, self.odd, None, [1], \"same\", [2], 1)\n"
                "  return torch.conv1d(y, self.even, None, [1], \"same\", [1], 1)\n",
                {{2, 3, 8}});
  FileCheck().check_count("value=\"same\"", 1, /*exactly=*/true)->run(model.graph());
  FileCheck().check("int[] = prim::Constant[value=[2]]")->run(model.graph());
}

TEST(Canonical, SpellsMatrixProductsWithTransposedWeightsAsLinear) {
  Module module = root();
  module.register_parameter("w1", filled({5, 4}), false);
  module.register_parameter("b1", filled({5}), false);
  module.register_parameter("w2", filled({3, 5}), false);
  module.register_parameter("b2", filled({3}), false);
  const Model model = from_text(module,
                                "def forward(self, x):\n"
                                "  y = torch.addmm(self.b1, x, torch.t(self.w1))\n"
                                "  return torch.add(torch.matmul(y, torch.t(self.w2)), self.b2)\n",
                                {{2, 4}});
  FileCheck()
      .check_not("aten::addmm")
      ->check_count("aten::linear", 2, /*exactly=*/true)
      ->check_not("aten::add")
      ->run(model.graph());
  FileCheck().check_not("aten::t(")->run(model.graph());
}

TEST(Canonical, KeepsAddmmThatScales) {
  Module module = root();
  module.register_parameter("w", filled({5, 4}), false);
  module.register_parameter("b", filled({5}), false);
  const Model model =
      from_text(module,
                "def forward(self, x):\n"
                "  return torch.addmm(self.b, x, torch.t(self.w), beta=0.5, alpha=1)\n",
                {{2, 4}});
  FileCheck().check("aten::addmm")->run(model.graph());
}

TEST(Canonical, TakesFusedAttentionApart) {
  Module module = root();
  module.register_parameter("w_in", filled({12, 4}), false);
  module.register_parameter("b_in", filled({12}), false);
  module.register_parameter("w_out", filled({4, 4}), false);
  module.register_parameter("b_out", filled({4}), false);
  const Model model = from_text(module, R"(
def forward(self, x):
    y, _ = torch._native_multi_head_attention(
        x, x, x, 4, 2, self.w_in, self.b_in, self.w_out, self.b_out, None, False)
    return y
)",
                                {{2, 5, 4}});
  FileCheck()
      .check_count("aten::linear", 1)
      ->check_count("aten::softmax", 1)
      ->check_count("aten::linear", 1)
      ->check_not("_native_multi_head_attention")
      ->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, SpellsRelu6AsHardtanh) {
  const Model model =
      from_text(root(), "def forward(self, x):\n  return torch.relu6(x * 9.)\n", {{2, 4}});
  FileCheck().check_not("relu6")->check("aten::hardtanh")->run(model.graph());
}

TEST(Canonical, MakesInPlaceOperatorsFunctional) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  y = x * 2.\n"
                                "  z = torch.sigmoid(y)\n"
                                "  y.add_(z)\n"
                                "  y = torch.relu_(y)\n"
                                "  return torch.flatten(y, 1).mul_(3.)\n",
                                {{2, 4, 2}});
  FileCheck().check_not("_(")->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, WritesIntoASliceBecomeATensorWithAnotherSlice) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  y = torch.clone(x)\n"
                                "  y[1:2].zero_()\n"
                                "  y[0:1].mul_(2.)\n"
                                "  return y\n",
                                {{2, 4}});
  FileCheck().check_count("aten::slice_scatter", 2)->check_not("_(")->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, WritesIntoASliceThatIsReadAgainStay) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  y = torch.clone(x)\n"
                                "  z = y[1:2]\n"
                                "  z.zero_()\n"
                                "  return y[0:1] + z\n",
                                {{2, 4}});
  FileCheck().check("aten::zero_")->run(model.graph());
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("aten::zero_"));
}

TEST(Canonical, ReadsWhatDictionariesHold) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  d = {'low': x}\n"
                                "  y = x * 2.\n"
                                "  d['high'] = y\n"
                                "  z = d['low'] + d['high']\n"
                                "  d['low'] = z\n"
                                "  return d\n",
                                {{2, 4}});
  FileCheck().check_not("_set_item")->check_not("__getitem__")->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, ReadsOrderedDictionariesAndKnowsTheirKeys) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  d = torch.dict()\n"
                                "  had = 'low' in d\n"
                                "  d['low'] = x\n"
                                "  has_low = 'low' in d\n"
                                "  has_high = 'high' in d\n"
                                "  if has_low and not (had or has_high):\n"
                                "    y = torch.relu(d['low'])\n"
                                "  else:\n"
                                "    y = torch.tanh(d['low'])\n"
                                "  d['out'] = y\n"
                                "  return d\n",
                                {{2, 4}});
  FileCheck()
      .check_not("_set_item")
      ->check_not("__contains__")
      ->check_not("prim::If")
      ->check_not("aten::tanh")
      ->run(model.graph());
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, LeavesDictionariesThatAreWrittenAfterTheyWereGivenAway) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  d = {'low': x}\n"
                                "  kept = d.copy()\n"
                                "  d['low'] = x * 2.\n"
                                "  return kept['low'], d['low']\n",
                                {{2, 4}});
  FileCheck().check("_set_item")->run(model.graph());
}

TEST(Canonical, NamesWritesThatOthersSee) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  y = x * 2.\n"
                                "  torch.select(y, 1, 0).fill_(0.5)\n"
                                "  return y\n",
                                {{2, 4}});
  FileCheck().check("aten::fill_")->run(model.graph());
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("aten::fill_"));
}

TEST(Canonical, DecidesConditionsOnRanksAndSizesAndListsThem) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  if x.dim() == 3 and x.size(2) > 4:\n"
                                "    y = torch.relu(x)\n"
                                "  else:\n"
                                "    y = torch.sigmoid(x)\n"
                                "  return y\n",
                                {{2, 3, 8}});
  FileCheck()
      .check_not("prim::If")
      ->check("aten::relu")
      ->check_not("aten::sigmoid")
      ->run(model.graph());
  EXPECT_THAT(findings_of(model, Finding::Kind::kDecided), names("condition"));
}

TEST(Canonical, LeavesConditionsOnTheBatchSizeAndOnDataAndNamesThem) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  if x.size(0) > 1:\n"
                                "    x = x + 1.\n"
                                "  if bool(torch.sum(x) > 0):\n"
                                "    x = x * 2.\n"
                                "  return x\n",
                                {{2, 3}});
  FileCheck().check_count("prim::If", 2, /*exactly=*/true)->run(model.graph());
  EXPECT_THAT(findings_of(model, Finding::Kind::kDecided), IsEmpty());
  EXPECT_EQ(findings_of(model, Finding::Kind::kNotCanonical).size(), 2u);
}

TEST(Canonical, LeavesConditionsOnHowManyElementsPassAMask) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  kept = torch.masked_select(x, x > 100.)\n"
                                "  if kept.size(0) == 0:\n"
                                "    x = x * 2.\n"
                                "  return x\n",
                                {{2, 3}});
  FileCheck().check("prim::If")->run(model.graph());
}

TEST(Canonical, UnrollsLoopsOverSizesAndTheirLists) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  parts : List[Tensor] = []\n"
                                "  for i in range(x.size(1)):\n"
                                "    parts.append(torch.relu_(torch.select(x, 1, i) * 2.))\n"
                                "  return torch.stack(parts, 1)\n",
                                {{2, 3}});
  FileCheck()
      .check_not("prim::Loop")
      ->check_count("aten::relu(", 3, /*exactly=*/true)
      ->check_not("aten::append")
      ->run(model.graph());
}

TEST(Canonical, DecidesConditionsOnListsThatAreWrittenTo) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  shift = [3, 3].copy()\n"
                                "  if 4 >= x.size(2):\n"
                                "    shift[0] = 0\n"
                                "  shift[-1] = 0\n"
                                "  y = x\n"
                                "  if shift[0] + shift[1] > 0:\n"
                                "    y = torch.roll(x, shift, [2, 3])\n"
                                "  return y * 2.\n",
                                {{1, 2, 4, 4}});
  FileCheck()
      .check_not("aten::_set_item")
      ->check_not("prim::If")
      ->check_not("aten::roll")
      ->run(model.graph());
}

TEST(Canonical, TakesPathsThatCanBeTrained) {
  Module module = root();
  module.register_parameter("w", filled({4, 4}).set_requires_grad(true), false);
  const Model model = from_text(module,
                                "def forward(self, x):\n"
                                "  if torch.is_grad_enabled() and self.w.requires_grad:\n"
                                "    y = torch.linear(x, self.w)\n"
                                "  else:\n"
                                "    y = torch.matmul(x, self.w.t())\n"
                                "  return y\n",
                                {{2, 4}});
  FileCheck().check_not("prim::If")->check("aten::linear")->run(model.graph());
}

TEST(Canonical, DropoutFollowsTraining) {
  Model model = from_text(
      root(), "def forward(self, x):\n  return torch.dropout(x, 0.5, self.training)\n", {{2, 50}});
  const auto input = at::ones({2, 50});
  EXPECT_TRUE(at::equal(model.forward({input})[0], input));
  model.set_training(true);
  EXPECT_FALSE(at::equal(model.forward({input})[0], input));
  model.set_training(false);
  EXPECT_TRUE(at::equal(model.forward({input})[0], input));
}

Module with_statistics() {
  Module module = root();
  module.register_buffer("mean", at::zeros({3}));
  module.register_buffer("var", at::ones({3}));
  return module;
}

TEST(Canonical, BatchNormStatisticsMoveInTrainingOnly) {
  Model model =
      from_text(with_statistics(),
                "def forward(self, x):\n  return torch.batch_norm(x, None, None, self.mean, "
                "self.var, self.training, 0.1, 1e-5, True)\n",
                {{2, 3, 4}});
  const auto input = at::full({2, 3, 4}, 5.0);
  model.forward({input});
  EXPECT_TRUE(at::equal(model.tensor("mean"), at::zeros({3})));
  model.set_training(true);
  model.forward({input});
  EXPECT_TRUE(at::allclose(model.tensor("mean"), at::full({3}, 0.5)));
}

TEST(Canonical, BatchNormWithoutStatisticsKeepsUsingTheBatch) {
  const Model model =
      from_text(root(),
                "def forward(self, x):\n"
                "  return torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, True)\n",
                {{2, 3, 4}});
  EXPECT_THAT(model.findings(), IsEmpty());
}

TEST(Canonical, NamesBatchNormsThatWereTracedInTrainingMode) {
  const Model model = from_text(with_statistics(),
                                "def forward(self, x):\n  return torch.batch_norm(x, None, None, "
                                "self.mean, self.var, True, 0.1, 1e-5, True)\n",
                                {{2, 3, 4}});
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("training mode"));
}

TEST(Canonical, SaysWhenTheBatchSizeIsBakedIn) {
  const Model model =
      from_text(root(), "def forward(self, x):\n  return torch.reshape(x, [2, 12])\n", {{2, 3, 4}});
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("batch size is fixed to 2"));
}

TEST(Canonical, WorksWithoutExampleInputsAndSaysWhatThatCosts) {
  const Model model = from_text(root(),
                                "def forward(self, x):\n"
                                "  if x.dim() == 3:\n"
                                "    x = torch.relu_(x * 2.)\n"
                                "  return x\n",
                                {});
  FileCheck().check("prim::If")->check("aten::relu(")->run(model.graph());
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("no example input"));
}

TEST(Canonical, NamesStateThatTheModelChanges) {
  Module module = root();
  module.register_attribute("calls", c10::IntType::get(), 0);
  const Model model = from_text(module,
                                "def forward(self, x):\n"
                                "  self.calls = self.calls + 1\n"
                                "  return torch.relu(x)\n",
                                {{2, 3}});
  EXPECT_THAT(findings_of(model, Finding::Kind::kNotCanonical), names("'calls'"));
}

TEST(Canonical, NamesMethodsThatForwardDoesNotCall) {
  Module module = root();
  module.define("def encode(self, x):\n  return torch.relu(x)\n");
  const Model model =
      from_text(module, "def forward(self, x):\n  return torch.sigmoid(x)\n", {{2, 3}});
  EXPECT_THAT(model.findings(), Contains(Field(&Finding::where, "encode")));
}

TEST(Canonical, LeavesTheGivenModuleAlone) {
  Module module = with_statistics();
  module.register_attribute("training", c10::BoolType::get(), false);
  module.define("def forward(self, x):\n  y = x * 2.\n  return torch.relu_(y) + self.mean\n");
  const auto before = module.get_method("forward").graph()->toString();
  canonicalise(module, {{{2, 3}, "float32", 2}});
  EXPECT_EQ(module.get_method("forward").graph()->toString(), before);
  EXPECT_TRUE(module.hasattr("var"));
}

}  // namespace
}  // namespace edgecompress
