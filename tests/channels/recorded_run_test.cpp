#include "channels/recorded_run.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "model/interpreter.h"
#include "model/model.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using Sizes = std::vector<std::int64_t>;
/// By the name of the value.
using SizesOfValues = std::map<std::string, Sizes>;

void note(SizesOfValues& sizes, const torch::jit::Value* value, const c10::IValue& content) {
  if (content.isTensor() && content.toTensor().defined())
    sizes[value->debugName()] = content.toTensor().sizes().vec();
}

SizesOfValues recorded_sizes(const Model& model, const std::vector<at::Tensor>& inputs) {
  SizesOfValues sizes;
  for (const RecordedStep& step : record_run(model, inputs).steps) {
    for (std::size_t i = 0; i < step.outputs.size(); ++i)
      note(sizes, step.node->outputs()[i], step.outputs[i]);
  }
  return sizes;
}

/// Of a run in which every op computes.
SizesOfValues true_sizes(const Model& model, const std::vector<at::Tensor>& inputs) {
  SizesOfValues sizes;
  const at::NoGradGuard no_grad;
  Interpreter(model).run({inputs.begin(), inputs.end()},
                         [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue>,
                             c10::ArrayRef<c10::IValue> outputs) {
                           for (std::size_t i = 0; i < outputs.size(); ++i)
                             note(sizes, node.outputs()[i], outputs[i]);
                         });
  return sizes;
}

class RecordedRunOf : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(RecordedRun, RecordedRunOf,
                         ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& name) { return name.param; });

TEST_P(RecordedRunOf, HasTheSizesOfARunInWhichEverythingIsComputed) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  for (const std::int64_t batch : {1, 3}) {
    const auto inputs = model.example_inputs(batch);
    EXPECT_EQ(recorded_sizes(model, inputs), true_sizes(model, inputs));
  }
}

Model from_text(const std::string& forward, const std::vector<Sizes>& shapes) {
  torch::jit::Module module("Net");
  module.register_attribute("training", c10::BoolType::get(), false);
  module.register_parameter("weight", at::linspace(-1, 1, 8).view({2, 4}), false);
  module.define(forward);
  std::vector<InputSpec> inputs;
  for (const Sizes& shape : shapes) inputs.push_back({shape, "float32", 2});
  return Model::from_module(module, inputs);
}

TEST(RecordedRun, ComputesWhereSizesHangOnActivations) {
  for (const char* pick : {"y[y > 0.]", "torch.nonzero(y)", "x[0:int(torch.sum(y > 0.))]"}) {
    const Model model = from_text(
        std::string("def forward(self, x):\n    y = torch.linear(x, self.weight)\n    return ") +
            pick + "\n",
        {{8, 4}});
    const auto inputs = model.example_inputs(8);
    EXPECT_EQ(recorded_sizes(model, inputs), true_sizes(model, inputs)) << pick;
  }
}

TEST(RecordedRun, KeepsWhatHangsOnAttributesAlone) {
  const Model model = from_text(
      "def forward(self, x):\n"
      "    scale = torch.matmul(self.weight, torch.transpose(self.weight, 0, 1))\n"
      "    return torch.matmul(torch.linear(x, self.weight), scale)\n",
      {{3, 4}});
  const at::Tensor weight = model.tensor("weight");
  bool is_found = false;
  for (const RecordedStep& step : record_run(model, model.example_inputs(3)).steps) {
    if (step.outputs[0].isTensor() && step.outputs[0].toTensor().dim() == 2 &&
        step.inputs.size() == 2 && step.inputs[1].isTensor() &&
        step.inputs[1].toTensor().sizes() == at::IntArrayRef({2, 2})) {
      EXPECT_TRUE(at::allclose(step.inputs[1].toTensor(), weight.matmul(weight.t())));
      is_found = true;
    }
  }
  EXPECT_TRUE(is_found);
}

}  // namespace
}  // namespace edgecompress
