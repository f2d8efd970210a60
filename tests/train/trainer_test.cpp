#include "train/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "support/tiny_models.h"
#include "train/networks.h"

namespace edgecompress {
namespace {

using testing::data_of;
using testing::linear_model;

TrainTask task_for(const Model& model, std::shared_ptr<const Dataset> data) {
  TrainTask task;
  task.name = "test";
  task.parameters = floating_parameters(model);
  task.options.schedule.name = "constant";
  task.options.optimizer = {"sgd", 0.1, 0, false, 0};
  task.loss = target_loss({});
  task.data = std::move(data);
  task.batch_size = 16;
  task.seed = 3;
  return task;
}

TrainResult run(Model& model, const TrainTask& task) {
  Progress progress;
  return train(model, task, progress);
}

std::vector<at::Tensor> weights_of(const Model& model) {
  std::vector<at::Tensor> weights;
  for (const auto& parameter : model.named_parameters()) {
    weights.push_back(parameter.second.detach().clone());
  }
  for (const auto& buffer : model.module().buffers()) weights.push_back(buffer.clone());
  return weights;
}

bool are_equal(const std::vector<at::Tensor>& left, const std::vector<at::Tensor>& right) {
  bool equal = left.size() == right.size();
  for (std::size_t i = 0; equal && i < left.size(); ++i) equal = left[i].equal(right[i]);
  return equal;
}

Model tiny(const std::string& name) {
  const auto model = testing::make_tiny_model(name);
  return Model::from_module(model.module, model.inputs);
}

std::shared_ptr<const Dataset> tiny_data(const std::string& name, std::int64_t samples = 48) {
  return testing::make_tiny_data(testing::make_tiny_model(name), samples, 1);
}

/// Gives the scores in turn, the first for the untrained model.
std::function<Score(const Forward&)> scripted_scores(std::vector<double> scores,
                                                     bool higher_is_better = true) {
  auto next = std::make_shared<std::size_t>(0);
  return [=](const Forward&) {
    Score score;
    score.metric = "top1";
    score.value = scores.at((*next)++);
    score.higher_is_better = higher_is_better;
    return score;
  };
}

// One sample x = (1, 2), y = 3, and f(x) = w x + b with w = (0.5, -1), b = 0.25: f = -1.25,
// so d mse / df = 2 (f - y) = -8.5, and the gradients are (-8.5, -17) and -8.5.
struct ByHand {
  Model model = linear_model(at::tensor({0.5F, -1.0F}).view({1, 2}), at::tensor({0.25F}));
  std::shared_ptr<const Dataset> data =
      data_of(at::tensor({1.0F, 2.0F}).view({1, 2}), at::tensor({3.0F}).view({1, 1}));

  void expect(double w0, double w1, double b) const {
    EXPECT_NEAR(model.tensor("fc.weight")[0][0].item<double>(), w0, 1e-5);
    EXPECT_NEAR(model.tensor("fc.weight")[0][1].item<double>(), w1, 1e-5);
    EXPECT_NEAR(model.tensor("fc.bias")[0].item<double>(), b, 1e-5);
  }
};

TEST(Train, TakesOneStepAgainstTheGradientOfALinearLayer) {
  ByHand hand;
  const TrainResult result = run(hand.model, task_for(hand.model, hand.data));
  hand.expect(0.5 + 0.85, -1 + 1.7, 0.25 + 0.85);
  EXPECT_EQ(result.steps, 1);
  EXPECT_EQ(result.parameters, 3);
  ASSERT_EQ(result.losses.size(), 1U);
  EXPECT_NEAR(result.losses[0], 4.25 * 4.25, 1e-5);
}

TEST(Train, ClipsTheCommonNormOfTheGradients) {
  ByHand hand;
  TrainTask task = task_for(hand.model, hand.data);
  task.options.clip_grad_norm = 1;
  run(hand.model, task);
  const double norm = 8.5 * std::sqrt(1.0 + 4.0 + 1.0);
  hand.expect(0.5 + 0.85 / norm, -1 + 1.7 / norm, 0.25 + 0.85 / norm);
}

TEST(Train, FollowsTheScheduleStepByStep) {
  ByHand hand;
  TrainTask task = task_for(hand.model, hand.data);
  task.options.epochs = 2;
  task.options.schedule = {"step", 0, 0.5, {0.5}};
  run(hand.model, task);
  // After the first step w = (1.35, 0.7), b = 1.1, f = 3.85, d = 1.7; the second takes lr 0.05.
  hand.expect(1.35 - 0.085, 0.7 - 0.17, 1.1 - 0.085);
}

TEST(Train, AccumulatesBatchesAsIfTheyWereOne) {
  Model once = tiny("lstm");
  Model parts = once.clone();
  TrainTask task = task_for(once, tiny_data("lstm", 44));  // the last step has fewer
  task.options.epochs = 2;
  const TrainResult expected = run(once, task);
  task.batch_size = 4;
  task.options.accumulate = 4;
  const TrainResult result = run(parts, task);
  EXPECT_EQ(result.steps, 6);
  EXPECT_NEAR(result.losses[1], expected.losses[1], 1e-5);
  const auto left = weights_of(once), right = weights_of(parts);
  for (std::size_t i = 0; i < left.size(); ++i)
    EXPECT_TRUE(at::allclose(left[i], right[i], 1e-4, 1e-6)) << i;
}

TEST(Train, EndsWithTheAverageOfTheWeightsAndScoresIt) {
  ByHand hand;
  TrainTask task = task_for(hand.model, hand.data);
  task.options.epochs = 2;
  task.options.ema = 0.2;
  // w = 0.5, 1.35, then as in FollowsTheSchedule but with lr 0.1: 1.35 - 0.17 = 1.18. The decay is
  // min(0.2, 2 / 11) in step one, 0.2 in step two.
  const double first = 2.0 / 11 * 0.5 + 9.0 / 11 * 1.35;
  const double second = 0.2 * first + 0.8 * 1.18;
  std::vector<double> scored;
  task.score = [&](const Forward&) {
    scored.push_back(hand.model.tensor("fc.weight")[0][0].item<double>());
    Score score;
    score.value = static_cast<double>(scored.size());
    return score;
  };
  run(hand.model, task);
  ASSERT_EQ(scored.size(), 3U);
  EXPECT_NEAR(scored[1], first, 1e-5);
  EXPECT_NEAR(scored[2], second, 1e-5);
  EXPECT_NEAR(hand.model.tensor("fc.weight")[0][0].item<double>(), second, 1e-5);
  task.score = {};
  ByHand unscored;
  run(unscored.model, task);
  EXPECT_NEAR(unscored.model.tensor("fc.weight")[0][0].item<double>(), second, 1e-5);
}

TEST(Train, AveragesStatisticsOfBatchNormsToo) {
  Model model = tiny("cnn");
  Model plain = model.clone();
  TrainTask task = task_for(model, tiny_data("cnn", 16));
  const at::Tensor before = model.tensor("bn1.running_mean").clone();
  run(plain, task);
  task.options.ema = 0.9;
  run(model, task);  // one step: the decay is 2 / 11
  const at::Tensor expected = at::lerp(before, plain.tensor("bn1.running_mean"), 9.0 / 11);
  EXPECT_TRUE(at::allclose(model.tensor("bn1.running_mean"), expected, 1e-5, 1e-6));
}

TEST(Train, MixesSamplesAnewInEveryBatch) {
  Model model = tiny("cnn");
  TrainTask task = task_for(model, tiny_data("cnn"));
  task.options.mixing = MixingOptions{"mixup", 1.0};
  std::vector<double> shares;
  const LossFunction loss = task.loss;
  task.loss = [&](const std::vector<at::Tensor>& outputs, const Batch& batch) {
    EXPECT_TRUE(batch.other_target.defined());
    shares.push_back(batch.other_share);
    return loss(outputs, batch);
  };
  run(model, task);
  ASSERT_EQ(shares.size(), 3U);
  EXPECT_NE(shares[0], shares[1]);
  EXPECT_NE(shares[1], shares[2]);
}

TEST(Train, WithFrozenBatchNormsUsesTheirStatisticsAndLeavesThem) {
  Model model = tiny("cnn");
  TrainTask task = task_for(model, tiny_data("cnn", 16));
  task.options.batch_norms = "frozen";
  const std::string graph = model.graph().toString();
  const at::Tensor mean = model.tensor("bn1.running_mean").clone();
  const at::Tensor scale = model.tensor("bn1.weight").detach().clone();
  Batch batch = task.data->read({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0);
  const double in_eval_mode = task.loss(model.forward(batch.inputs), batch).item<double>();
  const TrainResult result = run(model, task);
  EXPECT_NEAR(result.losses[0], in_eval_mode, 1e-5);
  EXPECT_TRUE(model.tensor("bn1.running_mean").equal(mean));
  EXPECT_FALSE(model.tensor("bn1.weight").equal(scale));
  EXPECT_EQ(model.graph().toString(), graph);
}

TEST(Train, CanMeasureStatisticsOfBatchNormsAnewAfterEachEpoch) {
  Model model = tiny("cnn");
  TrainTask task = task_for(model, tiny_data("cnn"));
  task.options.batch_norms = "reestimate";
  run(model, task);
  const std::shared_ptr<const Dataset> data = task.data;
  std::vector<std::int64_t> all(48);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  const at::NoGradGuard no_grad;
  const at::Tensor input = data->read(all, 0).inputs[0];
  const at::Tensor x =
      at::conv2d(input, model.tensor("conv1.weight"), model.tensor("conv1.bias"), 1, 1);
  const at::Tensor mean = x.mean(at::IntArrayRef{0, 2, 3});
  ASSERT_EQ(mean.sizes(), model.tensor("bn1.running_mean").sizes());
  EXPECT_TRUE(at::allclose(model.tensor("bn1.running_mean"), mean, 1e-4, 1e-5));
}

TEST(Train, TrainsOnlyTheChosenParametersAndRestoresTheFlags) {
  ByHand hand;
  TrainTask task = task_for(hand.model, hand.data);
  task.parameters = {{{"fc.bias"}}};
  const TrainResult result = run(hand.model, task);
  hand.expect(0.5, -1, 0.25 + 0.85);
  EXPECT_EQ(result.parameters, 1);
  for (const auto& [name, parameter] : hand.model.named_parameters()) {
    EXPECT_TRUE(parameter.requires_grad()) << name;
    EXPECT_FALSE(parameter.grad().defined()) << name;
  }
}

TEST(Train, LeavesAGroupAsItIsUntilItsStart) {
  ByHand hand;
  TrainTask task = task_for(hand.model, hand.data);
  ParameterGroup late = {{"fc.weight"}, /*lr_factor=*/2, /*start=*/0.5};
  task.parameters = {{{"fc.bias"}}, late};
  task.options.epochs = 2;
  task.regularize = [&](std::int64_t step, std::int64_t) {
    EXPECT_EQ(hand.model.tensor("fc.weight").grad().defined(), step == 1);
  };
  run(hand.model, task);
  // After the first step b = 1.1, f = -0.4, d = -6.8; the second step moves both.
  hand.expect(0.5 + 2 * 0.68, -1 + 2 * 1.36, 1.1 + 0.68);
}

TEST(Train, LowersTheLossOfEveryTinyNetwork) {
  for (const std::string& name : testing::tiny_model_names()) {
    Model model = tiny(name);
    TrainTask task = task_for(model, tiny_data(name));
    task.options.epochs = 8;
    task.options.optimizer = {"adamw", 0.01, 0, false, 0};
    const TrainResult result = run(model, task);
    EXPECT_LT(result.losses.back(), 0.9 * result.losses.front()) << name;
    EXPECT_EQ(result.steps, 24) << name;
  }
}

TEST(Train, MovesTheStatisticsOfBatchNormsAndLeavesTheModelInEvalMode) {
  Model model = tiny("cnn");
  const at::Tensor mean = model.tensor("bn1.running_mean").clone();
  run(model, task_for(model, tiny_data("cnn")));
  EXPECT_GT((model.tensor("bn1.running_mean") - mean).abs().max().item<double>(), 1e-3);
  EXPECT_FALSE(model.is_training());

  const at::Tensor after = model.tensor("bn1.running_mean").clone();
  model.forward(model.example_inputs(4));
  EXPECT_TRUE(model.tensor("bn1.running_mean").equal(after));
}

TEST(Train, GivesTheSameWeightsForTheSameSeedWhateverWasDrawnBefore) {
  Model first = tiny("transformer");  // has dropout
  Model second = first.clone();
  Model third = first.clone();
  TrainTask task = task_for(first, tiny_data("transformer"));
  run(first, task);
  at::randn({5});
  run(second, task);
  EXPECT_TRUE(are_equal(weights_of(first), weights_of(second)));
  task.seed = 4;
  run(third, task);
  EXPECT_FALSE(are_equal(weights_of(first), weights_of(third)));
}

TEST(Train, LeavesTheGlobalRandomNumbersAsTheyWere) {
  Model model = tiny("mlp");
  const TrainTask task = task_for(model, tiny_data("mlp"));
  at::manual_seed(5);
  const at::Tensor expected = at::randn({3});
  at::manual_seed(5);
  run(model, task);
  EXPECT_TRUE(at::randn({3}).equal(expected));
}

TEST(Train, StoresConvolutionWeightsContiguousWhateverLayoutItTrainedIn) {
  Model model = tiny("cnn");
  run(model, task_for(model, tiny_data("cnn")));
  for (const auto& [name, parameter] : model.named_parameters()) {
    const at::Tensor fresh = at::empty(parameter.sizes());
    EXPECT_EQ(parameter.strides(), fresh.strides()) << name;
  }
}

TEST(Train, KeepsPrunedWeightsAtZeroUnlessToldOtherwise) {
  for (const char* optimizer : {"sgd", "adamw"}) {
    Model model = tiny("cnn");
    const at::Tensor weight = model.tensor("conv2.weight").detach();
    const at::Tensor zeros = weight.abs() < 0.1;
    ASSERT_GT(zeros.sum().item<std::int64_t>(), 10);
    model.set_tensor("conv2.weight", weight.masked_fill(zeros, 0));
    TrainTask task = task_for(model, tiny_data("cnn"));
    task.options.epochs = 3;
    task.options.optimizer = {optimizer, 0.01, 0.9, false, 0.1};
    Model free = model.clone();
    run(model, task);
    EXPECT_TRUE((model.tensor("conv2.weight") == 0).equal(zeros)) << optimizer;

    task.options.keep_zeros = false;
    run(free, task);
    EXPECT_FALSE((free.tensor("conv2.weight") == 0).equal(zeros)) << optimizer;
  }
}

TEST(Train, EndsWithTheWeightsOfTheBestEpoch) {
  Model two_epochs = tiny("cnn");
  Model model = two_epochs.clone();
  TrainTask task = task_for(model, tiny_data("cnn"));
  task.options.epochs = 2;
  run(two_epochs, task);

  task.options.epochs = 4;
  task.score = scripted_scores({0.1, 0.2, 0.8, 0.3, 0.8});
  const TrainResult result = run(model, task);
  EXPECT_EQ(result.best_epoch, 2);
  EXPECT_EQ(result.scores, (std::vector<double>{0.2, 0.8, 0.3, 0.8}));
  EXPECT_TRUE(are_equal(weights_of(model), weights_of(two_epochs)));
}

TEST(Train, GivesTheUntrainedWeightsBackIfNoEpochIsBetter) {
  Model model = tiny("cnn");
  const auto before = weights_of(model);
  TrainTask task = task_for(model, tiny_data("cnn"));
  task.options.epochs = 2;
  task.score = scripted_scores({0.3, 0.4, 0.5}, /*higher_is_better=*/false);
  const TrainResult result = run(model, task);
  EXPECT_EQ(result.best_epoch, 0);
  EXPECT_EQ(result.score_before, 0.3);
  EXPECT_TRUE(are_equal(weights_of(model), before));
}

TEST(Train, KeepsTheLastWeightsIfTheBestAreNotAskedFor) {
  Model model = tiny("mlp");
  Model unscored = model.clone();
  TrainTask task = task_for(model, tiny_data("mlp"));
  run(unscored, task);
  task.options.keep_best = false;
  task.score = scripted_scores({0.9, 0.1});
  EXPECT_EQ(run(model, task).best_epoch, 1);
  EXPECT_TRUE(are_equal(weights_of(model), weights_of(unscored)));
}

TEST(Train, StopsEarlyAfterPatienceEpochsWithoutABetterScore) {
  Model model = tiny("mlp");
  TrainTask task = task_for(model, tiny_data("mlp"));
  task.options.epochs = 10;
  task.options.patience = 2;
  task.score = scripted_scores({0.1, 0.5, 0.4, 0.5, 0.9});
  const TrainResult result = run(model, task);
  EXPECT_EQ(result.losses.size(), 3U);
  EXPECT_EQ(result.best_epoch, 1);
  EXPECT_TRUE(result.stopped_early);
}

TEST(Train, NamesEpochStepAndLearningRateOfALossThatIsNotFinite) {
  Model model = tiny("mlp");
  TrainTask task = task_for(model, tiny_data("mlp"));
  task.options.epochs = 5;
  task.options.optimizer.lr = 1e30;
  try {
    run(model, task);
    FAIL() << "trained with a learning rate of 1e30";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    const std::string message = error.what();
    EXPECT_NE(message.find("epoch 1, step"), std::string::npos) << message;
    EXPECT_NE(message.find("1e+30"), std::string::npos) << message;
    EXPECT_NE(error.hint().find("clip_grad_norm"), std::string::npos) << error.hint();
  }
  EXPECT_FALSE(model.is_training());
}

/// Interrupts after so many batches, as Ctrl-C does.
class Interrupting : public Progress {
 public:
  explicit Interrupting(int batches) : left_(batches) {}

 protected:
  void show(const std::string&, std::int64_t done, std::int64_t, double,
            const std::string&) override {
    if (done > 0 && --left_ == 0) throw Error(ExitCode::kInterrupted, "interrupted");
  }

 private:
  int left_;
};

TEST(Train, LeavesAModelThatRunsWhenInterrupted) {
  Model model = tiny("cnn");
  TrainTask task = task_for(model, tiny_data("cnn"));
  task.options.epochs = 3;
  Interrupting progress(4);
  EXPECT_THROW(train(model, task, progress), Error);
  EXPECT_FALSE(model.is_training());
  EXPECT_TRUE(model.forward(model.example_inputs(2)).at(0).isfinite().all().item<bool>());
  for (const auto& [name, parameter] : model.named_parameters()) {
    EXPECT_EQ(parameter.strides(), at::empty(parameter.sizes()).strides()) << name;
    EXPECT_FALSE(parameter.grad().defined()) << name;
  }
}

TEST(Train, LeavesOutALastBatchOfOneSample) {
  Model model = tiny("cnn");
  const TrainResult result = run(model, task_for(model, tiny_data("cnn", 33)));
  EXPECT_EQ(result.steps, 2);
}

TEST(MakeTask, SaysThatTrainingSamplesAreMissing) {
  try {
    const DataSets empty;
    Progress progress;
    TrainingContext context(progress);
    context.data = &empty;
    make_task("finetune", {}, context);
    FAIL() << "made a task of nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
  }
}

TEST(TrainOptions, ParseAsARecipeGivesThem) {
  const TrainOptions options = train_options().parse(
      Json::parse(
          R"({"epochs": 5, "mixing": {"name": "cutmix"}, "ema": 0.99, "accumulate": 2, "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.8},
                      "schedule": {"name": "step", "milestones": [0.3]}, "clip_grad_norm": 1})"),
      "/passes/0");
  EXPECT_EQ(options.epochs, 5);
  EXPECT_EQ(options.optimizer.lr, 0.05);
  EXPECT_EQ(options.optimizer.momentum, 0.8);
  EXPECT_EQ(options.schedule.milestones, std::vector<double>{0.3});
  EXPECT_EQ(options.clip_grad_norm, 1);
  ASSERT_TRUE(options.mixing);
  EXPECT_EQ(options.mixing->name, "cutmix");
  EXPECT_EQ(options.ema, 0.99);
  EXPECT_EQ(options.accumulate, 2);
  EXPECT_TRUE(options.keep_zeros);
}

TEST(TrainOptions, RefuseAnUnknownOptimizer) {
  EXPECT_THROW(train_options().parse({{"optimizer", {{"name", "adadelta"}}}}, "/passes/0"), Error);
  EXPECT_THROW(train_options().parse({{"epochs", 0}}, "/passes/0"), Error);
}

}  // namespace
}  // namespace edgecompress
