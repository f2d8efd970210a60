#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "passes/training_bench.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using ::testing::HasSubstr;
using testing::make_tiny_model;
using testing::TrainingBench;

Model tiny(const std::string& name, std::uint64_t seed = 1) {
  const auto made = make_tiny_model(name, seed);
  return Model::from_module(made.module, made.inputs);
}

std::vector<std::string> parameter_names(const Model& model) {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : model.named_parameters()) names.push_back(name);
  return names;
}

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
    const Model teacher = bench.context.load_network("original");
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
    EXPECT_EQ(result.details["teachers"][0]["name"], "original");
  }
}

TEST(Distill, LeavesAStudentThatIsItsTeacherWhereItIs) {
  TrainingBench bench("lstm");
  const Model teacher = bench.context.load_network("original");
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
  bench.context.load_network = [](const std::string&) {
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

TEST(Distill, BringsInnerValuesNearerToTheTeachers) {
  for (const char* loss : {"mse", "attention", "distance", "angle"}) {
    TrainingBench bench("cnn");
    bench.model = tiny("cnn", 2);
    const auto names = parameter_names(bench.model);
    const Json feature = {{"student", "conv1"}, {"teacher", "conv2"}, {"loss", loss}};
    const PassResult result =
        bench.run("distill", {{"alpha", 1},
                              {"soft_loss", "mse"},
                              {"features", {feature}},
                              {"epochs", 4},
                              {"optimizer", {{"name", "adamw"}, {"lr", 0.01}}}});
    const auto losses = result.details["losses"].get<std::vector<double>>();
    EXPECT_LT(losses.back(), losses.front()) << loss;
    EXPECT_EQ(result.details["features"][0]["teacher_sizes"], (Json{16, 3, 3}));
    EXPECT_EQ(parameter_names(bench.model), names);
    EXPECT_EQ(bench.model.forward(bench.model.example_inputs(2)).size(), 1U);
  }
}

TEST(Distill, FollowsTheMeanOfSeveralTeachers) {
  TrainingBench bench("lstm");
  const auto made = make_tiny_model("lstm");
  bench.context.load_network = [&](const std::string& name) {
    Model teacher = Model::from_module(made.module, made.inputs);
    teacher.set_tensor("fc.bias", teacher.tensor("fc.bias").detach() + (name == "up.pt" ? 1 : -3));
    return teacher;
  };
  // Of outputs that differ by +1 and -3, the mean is at -1: what a student at -1 already gives.
  bench.model.set_tensor("fc.bias", bench.model.tensor("fc.bias").detach() - 1);
  const PassResult result = bench.run("distill", {{"teacher", "up.pt"},
                                                  {"other_teachers", {"down.pt"}},
                                                  {"soft_loss", "mse"},
                                                  {"alpha", 1},
                                                  {"optimizer", {{"lr", 1e-9}}}});
  EXPECT_NEAR(result.details["losses"][0].get<double>(), 0, 1e-9);
  EXPECT_EQ(result.details["teachers"].size(), 2U);
}

TEST(Distill, MakesAStudentOfTheTeacherWithFewerChannelsAndBlocks) {
  TrainingBench bench("residual_cnn");
  const auto inputs = bench.model.example_inputs(3);
  const PassResult result = bench.run(
      "distill", {{"student", {{"from", "teacher"}, {"width", 0.5}, {"depth", 0}}}, {"epochs", 2}});
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(bench.model.tensor("stem.weight").size(0), 4);
  EXPECT_FALSE(bench.model.has_attribute("conv1.weight"));
  EXPECT_EQ(result.details["student"]["blocks_removed"], 1);
  EXPECT_LT(result.details["student"]["parameters"].get<int>(),
            result.details["teachers"][0]["parameters"].get<int>() / 2);
  EXPECT_EQ(bench.model.forward(inputs)[0].sizes(), (at::IntArrayRef{3, 4}));
}

TEST(Distill, TrainsAnotherFileInTheModelsPlace) {
  TrainingBench bench("cnn");
  bench.context.load_network = [](const std::string& name) {
    return name == "small.pt" ? tiny("concat_cnn") : tiny("cnn");
  };
  // Its inputs may be of any size.
  const PassResult result =
      bench.run("distill", {{"student", {{"from", "small.pt"}}}, {"epochs", 1}});
  EXPECT_TRUE(result.changed);
  EXPECT_TRUE(bench.model.has_attribute("merge.weight"));
  EXPECT_EQ(result.details["student"]["from"], "small.pt");
}

TEST(Distill, AsksTeachersOnceWhereTheDataStays) {
  const testing::TemporaryFolder folder;
  TrainingBench asked("cnn"), kept("cnn");
  kept.context.scratch = [&](std::int64_t bytes) {
    return std::make_unique<ScratchFile>(folder.path(), bytes);
  };
  const Json options = {{"epochs", 3}, {"features", {{{"loss", "distance"}}}}};
  for (TrainingBench* bench : {&asked, &kept}) disturb(bench->model);
  const PassResult every_batch = asked.run("distill", options);
  const PassResult once = kept.run("distill", options);
  EXPECT_THAT(every_batch.note, HasSubstr("teachers asked for every batch: there is no folder"));
  EXPECT_THAT(once.details["teachers_asked"].get<std::string>(), HasSubstr("asked once"));
  EXPECT_LT(distance(asked.model, kept.model, asked.model.example_inputs(8, 3)), 1e-4);

  TrainingBench refused("cnn");
  refused.context.scratch = kept.context.scratch;
  EXPECT_THAT(refused.run("distill", {{"epochs", 2}, {"cache_mib", 0}}).note,
              HasSubstr("asked for every batch: the answers would take 4.1 kB, allowed are 0 B"));
}

TEST(Distill, RefusesFeaturesOfATeacherThatIsNotThere) {
  expect_error(ExitCode::kRecipe, "features/0/of is 1, expected less than the number of teachers",
               [] {
                 TrainingBench().run("distill", {{"features", {{{"of", 1}}}}});
               });
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
