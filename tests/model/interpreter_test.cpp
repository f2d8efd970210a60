#include "model/interpreter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>

#include "model/model.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using c10::IValue;

// Runs the module's own graph, not brought to any form, node by node.
std::vector<at::Tensor> interpret(const torch::jit::Module& module,
                                  const std::vector<IValue>& inputs) {
  const auto graph = torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
  return flatten_outputs(Interpreter(*graph, module._ivalue()).run(inputs).at(0));
}

void expect_same_as_torchscript(torch::jit::Module module, const std::vector<IValue>& inputs) {
  const auto expected = flatten_outputs(module.forward(inputs));
  const auto found = interpret(module, inputs);
  ASSERT_EQ(found.size(), expected.size());
  ASSERT_FALSE(found.empty());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(at::equal(found[i], expected[i]));
}

class InterpreterOfTinyModels : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Interpreter, InterpreterOfTinyModels,
                         ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& name) { return name.param; });

TEST_P(InterpreterOfTinyModels, GivesTheOutputsOfForward) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const auto model = Model::from_module(tiny.module, tiny.inputs);
  const auto inputs = model.example_inputs(3);
  at::NoGradGuard no_grad;
  const auto found = Interpreter(model).run({inputs.begin(), inputs.end()});
  EXPECT_TRUE(at::equal(flatten_outputs(found.at(0)).at(0), model.forward(inputs).at(0)));
}

TEST_P(InterpreterOfTinyModels, RunsTheStoredGraphToo) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const auto inputs = make_example_inputs(tiny.inputs, 2, 5);
  at::NoGradGuard no_grad;
  expect_same_as_torchscript(tiny.module, {inputs.begin(), inputs.end()});
}

TEST(Interpreter, FollowsBothBranches) {
  torch::jit::Module module("Branches");
  module.define(R"(
def forward(self, x):
    y = x + 1
    if bool(x.sum() > 0):
        z = y * 2
    else:
        z = y
    return z + y
)");
  expect_same_as_torchscript(module, {at::ones({2})});
  expect_same_as_torchscript(module, {-at::ones({2})});
}

TEST(Interpreter, FollowsLoops) {
  torch::jit::Module module("Loops");
  module.define(R"(
def forward(self, x, n: int):
    y = x
    for i in range(n):
        if i % 2 == 0:
            y = y + x
        else:
            y = y * 2
    while bool(y.sum() < 100):
        y = y * 3
    return y
)");
  for (const std::int64_t trips : {0, 1, 4}) {
    expect_same_as_torchscript(module, {at::ones({2}), trips});
  }
}

TEST(Interpreter, BuildsListsTuplesAndDicts) {
  torch::jit::Module module("Containers");
  module.define(R"(
def forward(self, x):
    pair = (x, x + 1)
    items = [pair[0], pair[1], x * 2]
    table = {"a": torch.cat(items), "b": x.view([x.size(0), -1])}
    a, b, c = items
    return table["a"], [table["b"], a + b + c], table
)");
  expect_same_as_torchscript(module, {at::ones({2, 3})});
}

TEST(Interpreter, CallsMethodsAndReadsAndWritesAttributes) {
  torch::jit::Module module("Stateful");
  module.register_attribute("count", c10::IntType::get(), 1);
  module.define(R"(
def helper(self, x):
    self.count = self.count + 1
    return x * self.count

def forward(self, x):
    return self.helper(x) + self.helper(x)
)");
  // 2x + 3x, then 4x + 5x.
  EXPECT_EQ(interpret(module, {at::ones({1})})[0].item<float>(), 5.0F);
  EXPECT_EQ(interpret(module, {at::ones({1})})[0].item<float>(), 9.0F);
}

TEST_P(InterpreterOfTinyModels, StopsAtANodeAndGoesOn) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const auto model = Model::from_module(tiny.module, tiny.inputs);
  const auto inputs = model.example_inputs(3);
  const std::vector<IValue> values(inputs.begin(), inputs.end());
  at::NoGradGuard no_grad;
  const Interpreter interpreter(model);
  // What each node of the top level is given and gives, in a run that doesn't stop.
  std::vector<std::pair<const torch::jit::Node*, std::vector<at::Tensor>>> seen;
  interpreter.run(values, [&](const torch::jit::Node& node, c10::ArrayRef<IValue> in,
                              c10::ArrayRef<IValue> out) {
    if (node.owningBlock() != model.graph().block() || in.empty()) return;
    if (!in[0].isTensor() || !out[0].isTensor()) return;
    seen.push_back({&node, {in[0].toTensor(), out[0].toTensor()}});
  });
  ASSERT_GT(seen.size(), 2U);
  PausedRun every(interpreter, values), some(interpreter, values);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    for (PausedRun* run : {&every, &some}) {
      if (run == &some && i % 3 != 0) continue;
      ASSERT_TRUE(run->advance_to(seen[i].first));
      EXPECT_TRUE(run->inputs()[0].toTensor().equal(seen[i].second[0]));
      EXPECT_GT(run->live_bytes(), 0);
      EXPECT_TRUE(run->step()[0].toTensor().equal(seen[i].second[1]));
    }
  }
  EXPECT_FALSE(every.advance_to(seen[0].first));
}

TEST(Interpreter, RaisesWhatTheModelRaises) {
  torch::jit::Module module("Raises");
  module.define(R"(
def forward(self, x):
    assert x.dim() == 2, "two dimensions only"
    return x
)");
  EXPECT_ANY_THROW(interpret(module, {at::ones({2})}));
  EXPECT_NO_THROW(interpret(module, {at::ones({2, 2})}));
}

TEST(Interpreter, RefusesAWrongNumberOfInputs) {
  torch::jit::Module module("One");
  module.define("def forward(self, x):\n    return x\n");
  EXPECT_ANY_THROW(interpret(module, {}));
  EXPECT_ANY_THROW(interpret(module, {at::ones({1}), at::ones({1})}));
}

TEST(Interpreter, ShowsEveryNodeWithItsValues) {
  torch::jit::Module module("Chain");
  module.define("def forward(self, x):\n    return torch.mul(torch.add(x, x), x)\n");
  const auto graph = torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
  std::vector<std::string> kinds;
  std::vector<float> results;
  Interpreter(*graph, module._ivalue())
      .run({at::full({1}, 3.0)}, [&](const torch::jit::Node& node, c10::ArrayRef<IValue> inputs,
                                     c10::ArrayRef<IValue> outputs) {
        EXPECT_EQ(inputs.size(), node.inputs().size());
        kinds.emplace_back(node.kind().toQualString());
        results.push_back(outputs[0].toTensor().item<float>());
      });
  EXPECT_EQ(kinds, (std::vector<std::string>{"aten::add", "aten::mul"}));
  EXPECT_EQ(results, (std::vector<float>{6.0F, 18.0F}));
}

TEST(Interpreter, ReleasesAValueAfterItsLastUse) {
  torch::jit::Module module("Long");
  module.define("def forward(self, x):\n    return torch.relu(torch.neg(torch.abs(x)))\n");
  const auto graph = torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> made;
  Interpreter(*graph, module._ivalue())
      .run({at::ones({1})},
           [&](const torch::jit::Node&, c10::ArrayRef<IValue>, c10::ArrayRef<IValue> outputs) {
             // While relu is shown, abs's result was last read a node ago.
             if (made.size() == 2) {
               EXPECT_TRUE(made[0].expired());
               EXPECT_FALSE(made[1].expired());
             }
             made.emplace_back(outputs[0].toTensor().getIntrusivePtr());
           });
  EXPECT_EQ(made.size(), 3U);
}

TEST(RecordShapes, KnowsInputsWeightsAndResults) {
  torch::jit::Module module("Linear");
  module.register_parameter("weight", at::ones({4, 3}), false);
  module.define("def forward(self, x):\n    return torch.linear(x, self.weight)\n");
  const auto model = Model::from_module(module, {{{2, 3}, "float32", 2}});
  const auto shapes = record_shapes(model, {at::ones({5, 3})});
  const auto& graph = model.graph();
  EXPECT_EQ(shapes.at(graph.inputs()[1]).sizes, (std::vector<std::int64_t>{5, 3}));
  EXPECT_EQ(shapes.at(graph.outputs()[0]).sizes, (std::vector<std::int64_t>{5, 4}));
  EXPECT_EQ(shapes.at(graph.outputs()[0]).dtype, at::kFloat);
}

}  // namespace
}  // namespace edgecompress
