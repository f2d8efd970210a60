#include "model/model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/freeze_module.h>

#include "edgecompress/error.h"
#include "model/clone.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::make_tiny_model;

Model tiny(const std::string& name) {
  const auto tiny_model = make_tiny_model(name);
  return Model::from_module(tiny_model.module, tiny_model.inputs);
}

std::vector<at::Tensor> outputs(const Model& model, const std::vector<at::Tensor>& inputs) {
  at::NoGradGuard no_grad;
  return model.forward(inputs);
}

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

class EveryTinyModel : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Model, EveryTinyModel, ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& name) { return name.param; });

TEST_P(EveryTinyModel, ForwardEqualsTheStoredModule) {
  auto tiny_model = make_tiny_model(GetParam());
  const auto model = Model::from_module(tiny_model.module, tiny_model.inputs);
  const auto inputs = model.example_inputs(3);
  at::NoGradGuard no_grad;
  const auto expected = flatten_outputs(tiny_model.module.forward({inputs.begin(), inputs.end()}));
  const auto found = model.forward(inputs);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(at::allclose(found[i], expected[i], 1e-5, 1e-6));
  }
}

TEST_P(EveryTinyModel, CloneGivesTheSameOutputs) {
  const auto model = tiny(GetParam());
  const auto inputs = model.example_inputs(3);
  EXPECT_TRUE(equal(outputs(model.clone(), inputs), outputs(model, inputs)));
}

TEST_P(EveryTinyModel, CloneSharesNoTensor) {
  const auto model = tiny(GetParam());
  const auto inputs = model.example_inputs(3);
  const auto before = outputs(model, inputs);
  auto clone = model.clone();
  at::NoGradGuard no_grad;
  for (auto& [name, tensor] : clone.named_parameters()) tensor.fill_(7.0);
  for (const auto& buffer : clone.module().named_buffers()) buffer.value.zero_();
  EXPECT_TRUE(equal(outputs(model, inputs), before));
  const auto clone_before = outputs(clone, inputs);
  auto original = model.clone();
  for (auto& [name, tensor] : model.named_parameters()) tensor.zero_();
  EXPECT_TRUE(equal(outputs(clone, inputs), clone_before));
}

TEST_P(EveryTinyModel, CloneKeepsParametersTrainable) {
  const auto model = tiny(GetParam());
  const auto clone = model.clone();
  const auto before = model.named_parameters();
  const auto after = clone.named_parameters();
  ASSERT_EQ(before.size(), after.size());
  ASSERT_FALSE(before.empty());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].first, after[i].first);
    EXPECT_EQ(before[i].second.requires_grad(), after[i].second.requires_grad());
    EXPECT_TRUE(after[i].second.is_leaf());
  }
}

TEST_P(EveryTinyModel, EditOfACloneLeavesTheOriginal) {
  const auto model = tiny(GetParam());
  const auto text = model.graph().toString(false);
  const auto inputs = model.example_inputs(2);
  const auto before = outputs(model, inputs);
  auto clone = model.clone();
  auto graph = clone.edit();
  {
    torch::jit::WithInsertPoint at_end(graph->return_node());
    auto* output = graph->outputs()[0];
    auto* negated = graph->insert(at::Symbol::fromQualString("aten::neg"), {output});
    graph->return_node()->replaceInput(0, negated);
  }
  EXPECT_EQ(model.graph().toString(false), text);
  EXPECT_TRUE(equal(outputs(model, inputs), before));
  EXPECT_TRUE(at::equal(outputs(clone, inputs)[0], -before[0]));
}

TEST_P(EveryTinyModel, SavedFileLoadsWithTheSameOutputs) {
  const auto model = tiny(GetParam());
  const auto inputs = model.example_inputs(3);
  const auto path = std::filesystem::path(::testing::TempDir()) / (GetParam() + ".pt");
  model.save(path);
  auto stored = load_as_stored(path);
  at::NoGradGuard no_grad;
  EXPECT_TRUE(equal(flatten_outputs(stored.forward({inputs.begin(), inputs.end()})),
                    outputs(model, inputs)));
  const auto again = Model::load(path, model.inputs());
  EXPECT_TRUE(equal(outputs(again, inputs), outputs(model, inputs)));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace edgecompress
