#include "model/model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

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

TEST(Model, SetTensorTakesAnotherShapeAndKeepsTheParameter) {
  auto model = tiny("mlp");
  const auto [name, old] = model.named_parameters().front();
  old.set_requires_grad(true);
  const auto count = model.named_parameters().size();
  model.set_tensor(name, at::ones({2, 5}));
  EXPECT_TRUE(at::equal(model.tensor(name), at::ones({2, 5})));
  EXPECT_TRUE(model.tensor(name).requires_grad());
  EXPECT_EQ(model.named_parameters().size(), count);
}

TEST(Model, ForwardReadsATensorThatWasSet) {
  auto model = tiny("mlp");
  const auto inputs = model.example_inputs(2);
  const auto before = outputs(model, inputs)[0];
  for (const auto& [name, tensor] : model.named_parameters()) {
    model.set_tensor(name, at::zeros_like(tensor));
  }
  EXPECT_FALSE(at::equal(before, at::zeros_like(before)));
  EXPECT_TRUE(at::equal(outputs(model, inputs)[0], at::zeros_like(before)));
}

TEST(Model, UnknownAttributeIsAnInternalError) {
  const auto model = tiny("mlp");
  EXPECT_FALSE(model.has_attribute("no.such.weight"));
  try {
    model.attribute("no.such.weight");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
    EXPECT_NE(std::string(error.what()).find("no.such.weight"), std::string::npos);
  }
}

TEST(Model, AddedNamesAreUnique) {
  auto model = tiny("mlp");
  const auto first = model.add_parameter("a.b", at::ones({1}));
  const auto second = model.add_attribute("a.b", c10::IntType::get(), 3);
  EXPECT_NE(first, second);
  EXPECT_TRUE(model.tensor(first).requires_grad());
  EXPECT_EQ(model.attribute(second).toInt(), 3);
}

TEST(Model, RemovesOnlyWhatTheGraphDoesNotRead) {
  auto model = tiny("residual_cnn");
  const auto inputs = model.example_inputs(2);
  const auto before = outputs(model, inputs);
  const auto added = model.add_parameter("unread", at::ones({1}));
  model.remove_unused_attributes();
  EXPECT_FALSE(model.has_attribute(added));
  EXPECT_TRUE(equal(outputs(model, inputs), before));
}

TEST(Model, CloneKeepsTiedTensorsTied) {
  torch::jit::Module module("Tied");
  const auto shared = at::ones({2}).requires_grad_(true);
  module.register_parameter("a", shared, false);
  module.register_parameter("b", shared, false);
  module.define("def forward(self, x):\n    return x * self.a + self.b\n");
  const auto copy = clone_module(module);
  EXPECT_TRUE(copy.attr("a").toTensor().is_same(copy.attr("b").toTensor()));
  EXPECT_FALSE(copy.attr("a").toTensor().is_same(shared));
}

TEST(Model, CloneOfACloneKeepsTypeNames) {
  const auto model = tiny("residual_cnn");
  const auto once = model.clone();
  const auto twice = once.clone().clone();
  EXPECT_EQ(once.module().type()->name()->qualifiedName(),
            twice.module().type()->name()->qualifiedName());
  EXPECT_EQ(once.graph().toString(false), twice.graph().toString(false));
}

TEST(Model, SavesTheSameBytesHoweverOftenItWasCloned) {
  const auto model = tiny("residual_cnn");
  const auto folder = std::filesystem::path(::testing::TempDir());
  model.save(folder / "first.pt");
  model.clone().clone().save(folder / "second.pt");
  const auto bytes = [&](const char* name) {
    std::ifstream file(folder / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_TRUE(bytes("first.pt") == bytes("second.pt"));
  EXPECT_GT(bytes("first.pt").size(), 1000U);
  std::filesystem::remove(folder / "first.pt");
  std::filesystem::remove(folder / "second.pt");
}

TEST(Model, SubmodulesMayBeNamedByAnyText) {
  torch::jit::Module stage("Stage"), root("Net");
  stage.register_parameter("weight", at::ones({4}), false);
  root.register_module("block1-0", stage);
  root.register_attribute("training", c10::BoolType::get(), false);
  root.define("def forward(self, x):\n    return x * getattr(self, 'block1-0').weight\n");
  const Model model = Model::from_module(root, {{{2, 4}, "float32", 2}});
  const auto path = std::filesystem::path(::testing::TempDir()) / "dashed.pt";
  model.clone().save(path);
  const Model stored = Model::load(path, model.inputs());
  std::filesystem::remove(path);
  EXPECT_TRUE(stored.has_attribute("block1-0.weight"));
  const auto inputs = model.example_inputs(2);
  EXPECT_TRUE(equal(outputs(stored, inputs), outputs(model, inputs)));
}

TEST(Model, FailedSaveLeavesNoFile) {
  const auto model = tiny("mlp");
  const auto folder = std::filesystem::path(::testing::TempDir()) / "no_such_folder";
  try {
    model.save(folder / "model.pt");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kOutput);
  }
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(Model, RefusesExampleInputsThatTheNetworkRefuses) {
  auto tiny_model = make_tiny_model("mlp");
  tiny_model.inputs[0].shape.back() += 1;
  try {
    Model::from_module(tiny_model.module, tiny_model.inputs);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kModel);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST(Model, ExampleInputsHangOnTheSeedAlone) {
  const std::vector<InputSpec> specs = {{{1, 3}, "float32", 2}, {{1, 4}, "int64", 10}};
  const auto a = make_example_inputs(specs, 5, 1);
  EXPECT_TRUE(equal(a, make_example_inputs(specs, 5, 1)));
  EXPECT_FALSE(equal(a, make_example_inputs(specs, 5, 2)));
  EXPECT_EQ(a[0].sizes(), (std::vector<std::int64_t>{5, 3}));
  EXPECT_EQ(a[1].scalar_type(), at::kLong);
  EXPECT_GE(a[1].min().item<std::int64_t>(), 0);
  EXPECT_LT(a[1].max().item<std::int64_t>(), 10);
}

TEST(Model, RefusesAnInputTooLargeToMake) {
  const std::vector<InputSpec> specs = {{{1, 1 << 20, 1 << 20}, "float32", 2}};
  EXPECT_THROW(make_example_inputs(specs, 1, 0), Error);
}

TEST(Model, OutputsOfTuplesListsAndDictsAreFlattened) {
  torch::jit::Module module("Nested");
  module.define(R"(
def forward(self, x):
    return (x, [x + 1, x + 2], {"a": x + 3})
)");
  const auto found = flatten_outputs(module.forward({at::zeros({1})}));
  ASSERT_EQ(found.size(), 4U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(found[i].item<float>(), static_cast<float>(i));
}

}  // namespace
}  // namespace edgecompress
