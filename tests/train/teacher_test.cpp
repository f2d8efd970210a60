#include "train/teacher.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

class TeacherTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TeacherTest, SaysWhatTheNetworkSays) {
  const auto made = testing::make_tiny_model(GetParam());
  Model model = Model::from_module(made.module, made.inputs);
  const auto inputs = model.example_inputs(4);
  const at::NoGradGuard no_grad;
  const at::Tensor expected = model.forward(inputs)[0];
  const InnerValue features = find_inner_value(model, std::nullopt, inputs, "test");
  const InnerOutputs outputs(model, {features});
  const at::Tensor expected_features = outputs.of(model.forward(inputs))[0];

  const Teacher teacher(Model::from_module(made.module, made.inputs), {std::nullopt},
                        {inputs[0].slice(0, 0, 2)}, "test");
  const Teacher::Outputs said = teacher(inputs);
  EXPECT_TRUE(at::allclose(said.output, expected, 1e-4, 1e-5));
  ASSERT_EQ(said.inner.size(), 1U);
  EXPECT_TRUE(at::allclose(said.inner[0], expected_features, 1e-4, 1e-5));
  EXPECT_FALSE(said.output.requires_grad());
}

INSTANTIATE_TEST_SUITE_P(TinyNetworks, TeacherTest,
                         ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& test) { return test.param; });

// What it says takes part in backward passes, as tensors of inference mode can't.
TEST(Teacher, CanBeComparedWithWhatHasGradients) {
  const auto made = testing::make_tiny_model("cnn");
  const Model model = Model::from_module(made.module, made.inputs);
  const auto inputs = model.example_inputs(2);
  const Teacher teacher(model.clone(), {}, inputs, "test");
  const at::Tensor student = at::zeros({2, 4}).set_requires_grad(true);
  at::mse_loss(student, teacher(inputs).output).backward();
  EXPECT_GT(student.grad().abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace edgecompress
