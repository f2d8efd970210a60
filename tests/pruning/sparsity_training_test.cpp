#include "pruning/sparsity_training.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

/// A network and data that teach it.
struct Bench {
  testing::TinyModel tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  DataSets data;
  Progress progress;
  TrainingContext context{progress};
  ChannelPruner pruner{{}, &data, 3, {}, progress};

  Bench() {
    data.train = testing::make_tiny_data(tiny, 256, 1);
    data.train_batch = 32;
    context.data = &data;
    context.seed = 3;
  }

  SparsityTraining train(const Json& options) {
    return train_to_sparsity(model, sparsity_training_options().parse(options, ""),
                             pruner.plan(model, 1), "test", context);
  }

  /// How far the outputs move, relative to their spread, when half of the channels go.
  double loss_by_pruning() {
    const at::NoGradGuard no_grad;
    const auto inputs = data.train->read({0, 1, 2, 3, 4, 5, 6, 7}, 0).inputs;
    const at::Tensor before = model.forward(inputs).at(0);
    pruner.prune(model, 1);
    const at::Tensor after = model.forward(inputs).at(0);
    return ((after - before).norm() / (before - before.mean(0)).norm()).item<double>();
  }
};

const Json kTraining = {{"epochs", 20}, {"optimizer", {{"lr", 0.05}}}};

Json with(const Json& more) {
  Json options = kTraining;
  options.update(more);
  return options;
}

double loss_by_pruning_after_plain_training() {
  Bench bench;
  FineTuningOptions plain = fine_tuning_options().parse(kTraining, "");
  fine_tune(bench.model, plain, "test", bench.context);
  return bench.loss_by_pruning();
}

TEST(SparsityTraining, ThatGrowsMakesWhatIsToGoAsGoodAsNothing) {
  Bench bench;
  const SparsityTraining result = bench.train(with({{"regularizer", "growing"}}));
  EXPECT_GT(result.share_before, 0.5);
  EXPECT_LT(result.share_after, 0.01);
  EXPECT_EQ(result.training.best_epoch, 20);
  EXPECT_LT(bench.loss_by_pruning(), 0.05 * loss_by_pruning_after_plain_training());
}

TEST(SparsityTraining, ByGroupLassoLeavesChannelsThatCanGo) {
  Bench bench;
  const SparsityTraining result = bench.train(with({{"strength", 0.01}}));
  EXPECT_LT(result.share_after, 0.2 * result.share_before);
  EXPECT_LT(bench.loss_by_pruning(), 0.1 * loss_by_pruning_after_plain_training());
}

TEST(SparsityTraining, SaysTheSameForTheSameSeed) {
  Bench one, two;
  one.train(with({{"epochs", 1}}));
  two.train(with({{"epochs", 1}}));
  for (const auto& [name, tensor] : one.model.named_parameters())
    EXPECT_TRUE(tensor.equal(two.model.tensor(name))) << name;
}

}  // namespace
}  // namespace edgecompress
