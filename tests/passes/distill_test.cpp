#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "passes/training_bench.h"

namespace edgecompress {
namespace {

using testing::TrainingBench;

double distance(const Model& left, const Model& right, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  return (left.forward(inputs)[0] - right.forward(inputs)[0]).abs().mean().item<double>();
}

/// A student that is its teacher with the last layer disturbed.
void disturb(Model& model) {
  const at::Tensor weight = model.tensor("fc.weight").detach();
  model.set_tensor("fc.weight", weight + 0.3 * weight.flip(0));
}

// The lstm: without dropout and batch norm, a network in training is the one it is at rest.
TEST(Distill, BringsAStudentBackToItsTeacherWithoutLabels) {
  for (const char* soft_loss : {"kl", "mse"}) {
    TrainingBench bench("lstm");
    const Model teacher = bench.context.load_teacher("original");
    disturb(bench.model);
    const auto inputs = teacher.example_inputs(64, 9);
    const double before = distance(teacher, bench.model, inputs);
    bench.data.train = std::make_shared<TensorDataset>(teacher.example_inputs(256, 1));
    const PassResult result = bench.run("distill", {{"alpha", 1},
                                                    {"soft_loss", soft_loss},
                                                    {"epochs", 10},
                                                    {"optimizer", {{"name", "adamw"}}}});
    EXPECT_LT(distance(teacher, bench.model, inputs), 0.8 * before) << soft_loss;
    EXPECT_TRUE(result.changed);
    EXPECT_EQ(result.details["teacher"], "original");
  }
}

TEST(Distill, LeavesAStudentThatIsItsTeacherWhereItIs) {
  TrainingBench bench("lstm");
  const Model teacher = bench.context.load_teacher("original");
  bench.run("distill",
            {{"alpha", 1}, {"optimizer", {{"lr", 0.1}, {"momentum", 0}, {"weight_decay", 0}}}});
  EXPECT_LT(distance(teacher, bench.model, teacher.example_inputs(16, 9)), 1e-4);
}

TEST(Distill, WithAlphaZeroIsFinetuning) {
  TrainingBench distilled("mlp");
  TrainingBench finetuned("mlp");
  distilled.context.seed = finetuned.context.seed;
  distilled.run("distill", {{"alpha", 0}, {"epochs", 2}});
  finetuned.run("finetune", {{"epochs", 2}});
  EXPECT_LT(distance(distilled.model, finetuned.model, finetuned.model.example_inputs(16, 9)),
            1e-5);
}

TEST(Distill, NamesBothShapesIfTheTeacherHasOtherClasses) {
  TrainingBench bench;
  bench.context.load_teacher = [](const std::string&) {
    torch::jit::Module net("__torch__.Net");
    net.register_attribute("training", c10::BoolType::get(), false);
    net.register_parameter("weight", at::randn({10, 432}), false);
    net.define("def forward(self, x):\n  return torch.linear(torch.flatten(x, 1), self.weight)\n");
    return Model::from_module(net, {{{1, 3, 12, 12}}});
  };
  try {
    bench.run("distill", {{"teacher", "other.pt"}});
    FAIL() << "distilled from ten classes to four";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    const std::string message = error.what();
    EXPECT_NE(message.find("'other.pt' gives [10]"), std::string::npos) << message;
    EXPECT_NE(message.find("student [4]"), std::string::npos) << message;
  }
}

TEST(Distill, NeedsLabelsUnlessAlphaIsOne) {
  const PassDescription description = find_pass("distill").description;
  const auto needs = [&](const Json& options) {
    return description.needs_with(description.options.resolve(options, ""));
  };
  EXPECT_TRUE(needs(Json::object()).labels);
  EXPECT_FALSE(needs({{"alpha", 1}}).labels);
  EXPECT_FALSE(needs({{"alpha", 1.0}}).labels);
  EXPECT_TRUE(needs({{"alpha", 1}}).training);
}

TEST(Distill, TakesTheRecipeOfTheReadme) {
  const PassDescription description = find_pass("distill").description;
  EXPECT_NO_THROW(description.options.resolve(Json::parse(R"({"teacher": "original", "epochs": 5,
                      "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}})"),
                                              ""));
  EXPECT_THROW(description.options.resolve({{"temperature", 0}}, ""), Error);
  EXPECT_THROW(description.options.resolve({{"alpha", 1.5}}, ""), Error);
}

}  // namespace
}  // namespace edgecompress
