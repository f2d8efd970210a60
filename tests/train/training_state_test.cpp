// Trainings that are cut short and go on from their checkpoints.
#include "train/training_state.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "edgecompress/error.h"
#include "support/tiny_models.h"
#include "train/networks.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

/// Keeps what was saved last.
struct Store {
  std::optional<std::string> bytes;
  int saves = 0;

  Checkpoint checkpoint(double interval_s = 1e9) {
    Checkpoint checkpoint;
    checkpoint.load = [this] { return bytes; };
    checkpoint.save = [this](const std::string& state) {
      bytes = state;
      ++saves;
    };
    checkpoint.interval_s = interval_s;
    return checkpoint;
  }
};

/// Throws once so many batches were shown, as Ctrl-C does.
class Stopping : public Progress {
 public:
  Stopping(int shows, ExitCode code) : left_(shows), code_(code) {}

 protected:
  void show(const std::string&, std::int64_t done, std::int64_t, double,
            const std::string&) override {
    if (done > 0 && --left_ == 0) throw Error(code_, "stopped");
  }

 private:
  int left_;
  ExitCode code_;
};

struct Bench {
  Bench(const std::string& network, const Json& options)
      : tiny(testing::make_tiny_model(network)),
        start(Model::from_module(tiny.module, tiny.inputs)) {
    task.name = "test";
    task.options = train_options().parse(options, "");
    task.parameters = floating_parameters(start);
    task.loss = target_loss({});
    task.data = testing::make_tiny_data(tiny, 56, 1);
    task.batch_size = 8;
    task.seed = 3;
    const auto inputs = start.example_inputs(8, 4);
    task.score = [this, inputs](const Forward& forward) {
      const at::NoGradGuard no_grad;
      scoring->begin("score", 1);
      scoring->advance(1);
      scoring->end();
      Score score;
      score.metric = "spread";
      score.value = forward(inputs)[0].std().item<double>();
      return score;
    };
  }

  /// Trains a copy of the start; nothing if it was stopped.
  std::optional<TrainResult> train_copy(Model& model, Progress& progress) {
    model = start.clone();
    scoring = &progress;
    try {
      return train(model, task, progress);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  testing::TinyModel tiny;
  Model start;
  TrainTask task;
  Progress* scoring = nullptr;
};

std::vector<at::Tensor> values_of(const Model& model) {
  std::vector<at::Tensor> values;
  for (const auto& [name, parameter] : model.named_parameters())
    values.push_back(parameter.detach());
  for (const auto& buffer : model.module().buffers()) values.push_back(buffer);
  return values;
}

void expect_same(const Model& left, const Model& right, const std::string& where) {
  const auto a = values_of(left), b = values_of(right);
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << where << ", " << i;
}

struct Case {
  const char* network;
  /// Shows that one epoch's end takes: scores and estimations of batch norms show too.
  int shows_to_judge;
  const char* options;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> cases = {
      {"cnn", 2,
       R"({"epochs": 3, "optimizer": {"lr": 0.05, "nesterov": true}, "clip_grad_norm": 1})"},
      {"transformer", 2,
       R"({"epochs": 3, "optimizer": {"name": "adamw"}, "ema": 0.9, "accumulate": 2,
                          "mixing": {"name": "mixup"}, "patience": 2})"},
      {"residual_cnn", 9, R"({"epochs": 3, "optimizer": {"name": "lamb", "lr": 0.01}, "ema": 0.5,
                           "batch_norms": "reestimate", "mixing": {"name": "cutmix"}})"},
      {"depthwise_cnn", 2,
       R"({"epochs": 2, "batch_norms": "frozen", "optimizer": {"name": "adam"}})"}};
  return cases;
}

TEST(Checkpoint, OfAnInterruptedTrainingLeadsToTheBytesOfAnUninterruptedOne) {
  for (const auto& [network, shows_to_judge, options] : cases()) {
    Bench bench(network, Json::parse(options));
    Progress silent;
    Model whole = bench.start.clone(), parts = bench.start.clone();
    const auto expected = bench.train_copy(whole, silent);
    ASSERT_TRUE(expected);
    for (const int more : {1, 2, 3, 5, 8}) {
      const int shows = shows_to_judge + more;
      Store store;
      bench.task.checkpoint = store.checkpoint();
      std::optional<TrainResult> result;
      int attempts = 0;
      for (; !result && attempts < 60; ++attempts) {
        Stopping progress(shows, ExitCode::kInterrupted);
        result = bench.train_copy(parts, progress);
      }
      const std::string where = std::string(network) + ", every " + std::to_string(shows);
      ASSERT_TRUE(result) << where;
      EXPECT_GT(attempts, 1) << where;
      expect_same(whole, parts, where);
      EXPECT_EQ(result->losses, expected->losses) << where;
      EXPECT_EQ(result->scores, expected->scores) << where;
      EXPECT_EQ(result->steps, expected->steps) << where;
      EXPECT_EQ(result->best_epoch, expected->best_epoch) << where;
    }
    bench.task.checkpoint = {};
  }
}

TEST(Checkpoint, OfTheLastIntervalServesATrainingThatWasKilled) {
  Bench bench("cnn", {{"epochs", 2}, {"ema", 0.9}});
  Progress silent;
  Model whole = bench.start.clone(), parts = bench.start.clone();
  bench.train_copy(whole, silent);
  Store store;
  bench.task.checkpoint = store.checkpoint(/*interval_s=*/0);
  Stopping progress(10, ExitCode::kInternal);  // unlike an interrupt, it leaves no time to save
  EXPECT_FALSE(bench.train_copy(parts, progress));
  const int saves = store.saves;
  EXPECT_GT(saves, 7);
  ASSERT_TRUE(bench.train_copy(parts, silent));
  EXPECT_EQ(store.saves, 14 + 2);  // of each step and each epoch's end, none of them twice
  expect_same(whole, parts, "killed");
}

TEST(Checkpoint, IsSavedAfterEachEpochAndOtherwiseInItsInterval) {
  Bench bench("mlp", {{"epochs", 3}});
  Progress silent;
  Model model = bench.start.clone();
  Store store;
  bench.task.checkpoint = store.checkpoint();
  bench.train_copy(model, silent);
  EXPECT_EQ(store.saves, 3);
}

TEST(Checkpoint, OfAFinishedTrainingGivesItsResultAtOnce) {
  Bench bench("mlp", {{"epochs", 2}, {"optimizer", {{"lr", 0.1}}}});
  Progress silent;
  Model first = bench.start.clone(), second = bench.start.clone();
  Store store;
  bench.task.checkpoint = store.checkpoint();
  const auto expected = bench.train_copy(first, silent);
  bench.task.loss = [](const auto&, const Batch&) -> at::Tensor {
    throw std::logic_error("trained");
  };
  const auto result = bench.train_copy(second, silent);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->losses, expected->losses);
  expect_same(first, second, "finished");
}

TEST(Checkpoint, OfAnotherTrainingIsNotTaken) {
  Bench bench("mlp", {{"epochs", 2}});
  Progress silent;
  Model whole = bench.start.clone(), model = bench.start.clone();
  bench.train_copy(whole, silent);
  Store store;
  bench.task.checkpoint = store.checkpoint();
  bench.task.seed = 4;
  bench.train_copy(model, silent);
  ASSERT_TRUE(store.bytes);
  bench.task.seed = 3;
  bench.train_copy(model, silent);
  expect_same(whole, model, "other seed");
}

TEST(Checkpoint, ThatIsDamagedIsRefused) {
  Bench bench("mlp", {{"epochs", 1}});
  Store store;
  store.bytes = "not a checkpoint";
  bench.task.checkpoint = store.checkpoint();
  Progress silent;
  Model model = bench.start.clone();
  try {
    train(model, bench.task, silent);
    FAIL() << "took it";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_NE(std::string(error.what()).find("checkpoint"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace edgecompress
