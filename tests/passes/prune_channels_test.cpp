#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "channels/channel_importance.h"
#include "channels/channel_selection.h"
#include "edgecompress/error.h"
#include "model/layers.h"
#include "passes/training_bench.h"
#include "support/temporary_folder.h"
#include "support/text_network.h"

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TrainingBench;

std::int64_t macs_of_model(const Model& model) {
  std::int64_t macs = 0;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) macs += node.macs;
  return macs;
}

std::int64_t parameters_of(const Model& model) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.named_parameters()) count += tensor.numel();
  return count;
}

std::int64_t width_of(const Model& model, const std::string& weight) {
  return model.tensor(weight).size(0);
}

/// Width after pruning, as the result says it.
std::int64_t reported_width(const PassResult& result, const std::string& layer) {
  for (const Json& row : result.details.at("layers")) {
    if (row.at("layer") == layer) return row.at("after");
  }
  ADD_FAILURE() << layer << " is not in " << result.details.dump();
  return -1;
}

TEST(PruneChannels, RemovesTheShareFromEveryLayer) {
  TrainingBench bench("mlp");
  const PassResult result = bench.run("prune_channels", {{"ratio", 0.25}});
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(bench.model.tensor("fc1.weight").sizes(), (at::IntArrayRef{18, 12}));
  EXPECT_EQ(bench.model.tensor("fc1.bias").sizes(), (at::IntArrayRef{18}));
  EXPECT_EQ(bench.model.tensor("fc2.weight").sizes(), (at::IntArrayRef{12, 18}));
  EXPECT_EQ(bench.model.tensor("fc3.weight").sizes(), (at::IntArrayRef{4, 12}));
  EXPECT_EQ(reported_width(result, "fc1"), 18);
  EXPECT_EQ(result.counts.at("channels_before"), 24 + 16 + 4);
  EXPECT_EQ(result.counts.at("channels_after"), 18 + 12 + 4);
  EXPECT_EQ(result.counts.at("macs_before"), 12 * 24 + 24 * 16 + 16 * 4);
  EXPECT_EQ(result.counts.at("macs_after"), 12 * 18 + 18 * 12 + 12 * 4);
  EXPECT_EQ(result.counts.at("parameters_after"), parameters_of(bench.model));
}

TEST(PruneChannels, RemovesHalfWithoutATarget) {
  TrainingBench bench("mlp");
  bench.run("prune_channels", Json::object());
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 12);
}

TEST(PruneChannels, KeepsTheChannelsOfLargestNorm) {
  TrainingBench bench("mlp");
  // Row 3 and column 3 are as good as nothing, and so is what stands behind row 7 of fc2.
  for (const auto& [layer, next, unit] :
       {std::tuple("fc1", "fc2", 3), std::tuple("fc2", "fc3", 7)}) {
    const std::string row = std::string(layer) + ".weight", column = std::string(next) + ".weight";
    at::Tensor rows = bench.model.tensor(row).clone(), columns = bench.model.tensor(column).clone();
    rows[unit] *= 1e-4;
    columns.select(1, unit) *= 1e-4;
    bench.model.set_tensor(row, rows);
    bench.model.set_tensor(column, columns);
  }
  const auto inputs = bench.model.example_inputs(16, 5);
  const at::Tensor bias = bench.model.tensor("fc1.bias").clone();
  const at::Tensor before = bench.model.forward(inputs).at(0);
  bench.run("prune_channels", {{"macs", 0.93}, {"ranking", "global"}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 23);
  EXPECT_EQ(width_of(bench.model, "fc2.weight"), 15);
  EXPECT_TRUE(
      bench.model.tensor("fc1.bias").equal(at::cat({bias.narrow(0, 0, 3), bias.narrow(0, 4, 20)})));
  EXPECT_TRUE(bench.model.forward(inputs).at(0).allclose(before, 1e-2, 1e-3));
}

class PruneTiny : public ::testing::TestWithParam<std::string> {};

TEST_P(PruneTiny, GivesTheOutputsOfTheMaskedNetworkAtAnyBatchSize) {
  const at::NoGradGuard no_grad;
  for (const char* attention : {"heads", "width"}) {
    TrainingBench bench(GetParam());
    const auto unit =
        std::string(attention) == "width" ? AttentionUnit::kWidth : AttentionUnit::kHeads;
    Model original = bench.model.clone();
    const PassResult result = bench.run(
        "prune_channels", {{"ratio", 0.5}, {"criterion", "random"}, {"attention", attention}});
    ASSERT_TRUE(result.changed) << result.note;

    // The same channels, hidden from all that read them.
    Model masked = original.clone();
    const ChannelGroups groups = find_channel_groups(masked, unit);
    std::vector<GroupLimits> limits;
    for (const ChannelGroup& group : groups.groups)
      limits.push_back(SelectionLimits{}.of_group(static_cast<std::int64_t>(group.units.size())));
    const RemovalOrder order(groups, random_importance(groups, bench.context.seed).scores,
                             ChannelRanking::kGroup, limits);
    mask_channels(masked, groups, order.first(order.due_at(0.5)));

    const testing::TemporaryFolder folder;
    bench.model.save(folder.path() / "pruned.pt");
    torch::jit::Module stored = load_as_stored(folder.path() / "pruned.pt");
    stored.eval();
    for (const std::int64_t batch : {1, 3}) {
      const auto inputs = original.example_inputs(batch, 4);
      const at::Tensor pruned = bench.model.forward(inputs).at(0);
      EXPECT_TRUE(pruned.allclose(masked.forward(inputs).at(0), 1e-4, 1e-5));
      EXPECT_FALSE(pruned.allclose(original.forward(inputs).at(0), 1e-4, 1e-5));
      const auto reloaded = flatten_outputs(stored.forward({inputs.begin(), inputs.end()}));
      EXPECT_TRUE(reloaded.at(0).allclose(pruned, 1e-5, 1e-6));
    }
  }
}

TEST_P(PruneTiny, MakesANetworkThatTrains) {
  TrainingBench bench(GetParam());
  bench.score_on_validation();
  bench.run("prune_channels", {{"ratio", 0.25}});
  const PassResult result =
      bench.run("finetune", {{"epochs", 1}, {"keep_best", false}, {"patience", 0}});
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(result.counts.at("parameters_trained"), parameters_of(bench.model));
}

TEST_P(PruneTiny, MeetsAShareOfTheMacs) {
  for (const char* ranking : {"group", "global", "isomorphic"}) {
    TrainingBench bench(GetParam());
    const auto whole = static_cast<double>(macs_of_model(bench.model));
    const PassResult result = bench.run("prune_channels", {{"macs", 0.6}, {"ranking", ranking}});
    EXPECT_EQ(result.counts.at("macs_after"), macs_of_model(bench.model));
    EXPECT_LE(result.counts.at("macs_after"), 0.6 * whole) << result.note;
    EXPECT_GE(result.counts.at("macs_after"), 0.3 * whole) << result.note;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PruneTiny, ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& tiny) { return tiny.param; });

TEST(PruneChannels, StopsAtTheFirstUnitThatMeetsTheMacs) {
  TrainingBench bench("mlp");
  bench.run("prune_channels", {{"macs", 0.5}});
  // No unit of this network costs more than 12 + 16 or 24 + 4.
  EXPECT_LE(macs_of_model(bench.model), 736 / 2);
  EXPECT_GT(macs_of_model(bench.model), 736 / 2 - 28);
}

TEST(PruneChannels, StopsAtTheFirstUnitThatMeetsTheParameters) {
  TrainingBench bench("mlp");
  bench.run("prune_channels", {{"parameters", 0.5}, {"ranking", "global"}});
  EXPECT_LE(parameters_of(bench.model), 780 / 2);
  EXPECT_GT(parameters_of(bench.model), 780 / 2 - 29);
}

/// Latency as if it were the share of the MACs that is left.
std::function<double(const Model&)> latency_by_macs(const Model& model, int& measurements) {
  const auto whole = static_cast<double>(macs_of_model(model));
  return [whole, &measurements](const Model& pruned) {
    ++measurements;
    return static_cast<double>(macs_of_model(pruned)) / whole;
  };
}

TEST(PruneChannels, KeepsTheLargestNetworkThatMeetsTheLatency) {
  for (const std::int64_t steps : {1, 3}) {
    TrainingBench bench("mlp");
    int measurements = 0;
    bench.context.latency_share = latency_by_macs(bench.model, measurements);
    const PassResult result = bench.run("prune_channels", {{"latency", 0.5}, {"steps", steps}});
    const auto macs = static_cast<double>(macs_of_model(bench.model));
    EXPECT_LE(macs, 736 / 2);
    EXPECT_GT(macs, 736 / 2 - 28 - 0.01 * 736);
    EXPECT_LE(measurements, 14 * steps);
    EXPECT_EQ(result.details.at("latencies").size(), static_cast<std::size_t>(measurements));
    EXPECT_DOUBLE_EQ(result.counts.at("latency_share"), macs / 736);
    EXPECT_THAT(result.note, HasSubstr("% of the latency"));
    EXPECT_THAT(result.note, Not(HasSubstr("not met")));
  }
}

TEST(PruneChannels, SaysWhenTheLatencyIsNotMet) {
  TrainingBench bench("mlp");
  bench.context.latency_share = [](const Model&) { return 0.9; };
  const PassResult result = bench.run("prune_channels", {{"latency", 0.5}, {"max_ratio", 0.25}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 18);
  EXPECT_THAT(result.note, HasSubstr("90.0 % of the latency"));
  EXPECT_THAT(result.note, HasSubstr("not met"));
}

TEST(PruneChannels, SaysThatLatencyCannotBeMeasured) {
  TrainingBench bench("mlp");
  try {
    bench.run("prune_channels", {{"latency", 0.5}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_THAT(error.what(), HasSubstr("latency"));
    EXPECT_THAT(error.hint(), HasSubstr("macs"));
  }
}

TEST(PruneChannels, SaysWhenTheLimitsAllowLessThanTheTarget) {
  TrainingBench bench("mlp");
  const PassResult result = bench.run("prune_channels", {{"macs", 0.1}, {"max_ratio", 0.25}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 18);
  EXPECT_THAT(result.note, HasSubstr("not met"));
}

TEST(PruneChannels, SaysWhenTheLimitsHoldBackTheRatio) {
  for (const std::int64_t steps : {1, 3}) {
    TrainingBench held_back("mlp"), free("mlp"), whole("mlp");
    const PassResult result =
        held_back.run("prune_channels", {{"ratio", 0.5}, {"max_ratio", 0.25}, {"steps", steps}});
    EXPECT_EQ(width_of(held_back.model, "fc1.weight"), 18);
    EXPECT_THAT(result.note, HasSubstr("not met"));
    const PassResult met = free.run("prune_channels", {{"ratio", 0.5}, {"steps", steps}});
    EXPECT_THAT(met.note, Not(HasSubstr("not met")));
    const PassResult none = whole.run("prune_channels", {{"ratio", 0.5}, {"minimum", 24}});
    EXPECT_FALSE(none.changed);
    EXPECT_THAT(none.note, HasSubstr("not met"));
  }
}

TEST(PruneChannels, RoundsWhatIsLeft) {
  TrainingBench bench("mlp");
  bench.run("prune_channels", {{"ratio", 0.3}, {"round_to", 8}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 16);
  EXPECT_EQ(width_of(bench.model, "fc2.weight"), 8);
}

TEST(PruneChannels, HasLimitsForCertainLayers) {
  TrainingBench bench("mlp");
  bench.run(
      "prune_channels",
      {{"ratio", 0.5},
       {"layer_limits",
        {{{"layers", {"fc1"}}, {"max_ratio", 0.25}}, {{"layers", {"fc"}}, {"minimum", 13}}}}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 18);
  EXPECT_EQ(width_of(bench.model, "fc2.weight"), 13);
}

TEST(PruneChannels, ReachesTheTargetInSteps) {
  // 1 - (1 - 1/2)^3 of the way: 24 * (1 - 0.5 * 0.875) = 13.5 channels are left after the first.
  for (const Json& target :
       {Json{{"ratio", 0.5}}, Json{{"macs", 0.5}}, Json{{"parameters", 0.5}}}) {
    TrainingBench at_once("mlp"), in_steps("mlp");
    Json options = target;
    at_once.run("prune_channels", options);
    options["steps"] = 2;
    options["fine_tuning"] = {{"epochs", 1}};
    const PassResult result = in_steps.run("prune_channels", options);
    // The rounding of the first step can leave one layer a channel more and another one less.
    EXPECT_NEAR(width_of(in_steps.model, "fc1.weight"), width_of(at_once.model, "fc1.weight"), 1)
        << target.dump();
    EXPECT_EQ(result.details.at("fine_tuning").size(), 1U);
    EXPECT_EQ(reported_width(result, "fc1"), width_of(in_steps.model, "fc1.weight"));
    EXPECT_EQ(result.details.at("layers").at(0).at("before"), 24);
    EXPECT_EQ(result.counts.at("macs_before"), 12 * 24 + 24 * 16 + 16 * 4);
    EXPECT_EQ(result.counts.at("macs_after"), macs_of_model(in_steps.model));
  }
}

TEST(PruneChannels, CountsLimitsFromTheBeginningOverAllSteps) {
  TrainingBench bench("mlp");
  bench.run("prune_channels", {{"ratio", 0.9}, {"max_ratio", 0.5}, {"steps", 4}});
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 12);
}

TEST(PruneChannels, RepairsWhereThereIsCalibrationData) {
  for (const bool repair : {false, true}) {
    TrainingBench bench("cnn");
    bench.data.calibration = bench.data.validation;
    const Model original = bench.model.clone();
    const PassResult result = bench.run("prune_channels", {{"ratio", 0.25}, {"repair", repair}});
    ASSERT_EQ(result.details.count("repair"), repair ? 1U : 0U);
    if (!repair) continue;
    const Json& told = result.details.at("repair").at(0);
    EXPECT_LT(told.at("error_after"), told.at("error_before"));
    EXPECT_THAT(result.note, HasSubstr("repair"));
  }
}

TEST(PruneChannels, RepairsEveryStepAgainstTheOriginal) {
  TrainingBench bench("cnn");
  bench.data.calibration = bench.data.validation;
  const Model original = bench.model.clone();
  const PassResult result = bench.run("prune_channels", {{"ratio", 0.5}, {"steps", 2}});
  const Json& repairs = result.details.at("repair");
  ASSERT_EQ(repairs.size(), 2U);
  // Held out is every fourth calibration sample.
  const at::NoGradGuard no_grad;
  double wrong = 0, all = 0;
  for (std::int64_t i = 3; i < bench.data.calibration->size(); i += 4) {
    const auto inputs = bench.data.calibration->read(i, 0).inputs;
    const at::Tensor expected = original.forward(inputs).at(0);
    wrong += (bench.model.forward(inputs).at(0) - expected).square().sum().item<double>();
    all += expected.square().sum().item<double>();
  }
  EXPECT_NEAR(repairs.at(1).at("error_after").get<double>(), wrong / all, 1e-4 * wrong / all);
}

TEST(PruneChannels, RejectsFineTuningBetweenTheStepsOfOne) {
  TrainingBench bench("mlp");
  EXPECT_THROW(bench.run("prune_channels", {{"fine_tuning", {{"epochs", 1}}}}), Error);
}

TEST(PruneChannels, LeavesAGroupAloneThatDoesNotGiveTheMaskedOutputs) {
  // An output that is never the same twice: no removal can be shown to be right.
  testing::TextNetwork network;
  network.layers = {testing::linear("fc1", 6, 4), testing::linear("fc2", 3, 6)};
  network.forward =
      "def forward(self, x):\n"
      "  y = self.fc2(torch.relu(self.fc1(x)))\n"
      "  return y + torch.rand_like(y)\n";
  network.inputs = {testing::float_input({2, 4})};
  TrainingBench bench("mlp");
  bench.model = testing::make_text_network(network);
  const PassResult result = bench.run("prune_channels", {{"ratio", 0.5}});
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 6);
  EXPECT_EQ(result.details.at("left_alone").at(1).at("layer"), "fc1");
  EXPECT_THAT(result.details.at("left_alone").at(1).at("reason").get<std::string>(),
              HasSubstr("differs"));
}

TEST(PruneChannels, FollowsTheFilters) {
  TrainingBench included("mlp");
  const PassResult one = included.run("prune_channels", {{"include", {"^fc2$"}}});
  EXPECT_EQ(width_of(included.model, "fc1.weight"), 24);
  EXPECT_EQ(width_of(included.model, "fc2.weight"), 8);
  EXPECT_EQ(one.counts.at("groups"), 1);

  // What is added to an excluded layer's output has to stay with it.
  TrainingBench excluded("residual_cnn");
  excluded.run("prune_channels", {{"exclude", {"^stem$"}}});
  EXPECT_EQ(width_of(excluded.model, "stem.weight"), 8);
  EXPECT_EQ(width_of(excluded.model, "conv2.weight"), 8);
  EXPECT_EQ(width_of(excluded.model, "conv1.weight"), 4);
}

TEST(PruneChannels, NamesWhatItLeavesAlone) {
  TrainingBench bench("mlp");
  const PassResult result = bench.run("prune_channels", {{"exclude", {"fc1"}}});
  const std::string alone = result.details.at("left_alone").dump();
  EXPECT_THAT(alone, HasSubstr("\"fc1\""));
  EXPECT_THAT(alone, HasSubstr("filters"));
  EXPECT_THAT(alone, HasSubstr("\"fc3\""));
  EXPECT_THAT(alone, HasSubstr("output of the model"));
}

TEST(PruneChannels, ChangesNothingWhereNothingCanGo) {
  TrainingBench bench("mlp");
  const PassResult none = bench.run("prune_channels", {{"include", {"^no such layer$"}}});
  EXPECT_FALSE(none.changed);
  EXPECT_THAT(none.note, HasSubstr("fc"));
  const PassResult zero = bench.run("prune_channels", {{"ratio", 0}});
  EXPECT_FALSE(zero.changed);
  EXPECT_FALSE(zero.note.empty());
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 24);
}

TEST(PruneChannels, RemovesWholeHeadsOrTheirWidth) {
  TrainingBench heads("transformer");
  heads.run("prune_channels", {{"include", {"^qkv$"}}});
  EXPECT_EQ(heads.model.tensor("qkv.weight").sizes(), (at::IntArrayRef{24, 16}));
  EXPECT_EQ(heads.model.tensor("proj.weight").sizes(), (at::IntArrayRef{16, 8}));

  // q and k can be narrowed apart from v.
  TrainingBench width("transformer");
  width.run("prune_channels", {{"attention", "width"}, {"include", {"^qkv$"}}});
  EXPECT_LT(width_of(width.model, "qkv.weight"), 48);
}

TEST(PruneChannels, CountsHiddenUnitsOfRnns) {
  TrainingBench bench("lstm");
  const PassResult result = bench.run("prune_channels", {{"ratio", 0.5}});
  EXPECT_EQ(width_of(bench.model, "rnn.weight_ih_l0"), 4 * 5);
  EXPECT_EQ(reported_width(result, "rnn"), 5);
}

TEST(PruneChannels, RanksByEveryCriterion) {
  for (const char* criterion : {"l1", "l2", "geometric_median", "batch_norm_scale",
                                "activation_mean", "apoz", "taylor", "fisher", "random"}) {
    TrainingBench bench("cnn");
    bench.data.calibration = bench.data.validation;
    bench.data.calibration_batch = 32;
    const PassResult result = bench.run("prune_channels", {{"criterion", criterion}});
    EXPECT_EQ(width_of(bench.model, "conv1.weight"), 4) << criterion;
    EXPECT_EQ(width_of(bench.model, "conv2.weight"), 8) << criterion;
    EXPECT_EQ(result.counts.count("groups_ranked_by_l2"), 0U) << criterion;
  }
}

TEST(PruneChannels, RanksByNormWhereThereIsNoBatchNorm) {
  TrainingBench by_scale("mlp"), by_norm("mlp");
  const PassResult result = by_scale.run("prune_channels", {{"criterion", "batch_norm_scale"}});
  by_norm.run("prune_channels", {{"criterion", "l2"}});
  EXPECT_EQ(result.counts.at("groups_ranked_by_l2"), 2);
  EXPECT_TRUE(by_scale.model.tensor("fc1.weight").equal(by_norm.model.tensor("fc1.weight")));
}

TEST(PruneChannels, RemovesResidualBlocksAlone) {
  TrainingBench bench("transformer");
  const PassResult result = bench.run("prune_channels", {{"depth", 0.5}});
  ASSERT_TRUE(result.changed) << result.note;
  EXPECT_EQ(result.counts.at("blocks_before"), 2);
  EXPECT_EQ(result.counts.at("blocks_removed"), 1);
  const bool attention_went = !bench.model.has_attribute("qkv.weight");
  EXPECT_NE(attention_went, !bench.model.has_attribute("fc1.weight"));
  EXPECT_EQ(width_of(bench.model, "embed.weight"), 16);
  EXPECT_EQ(result.counts.at("parameters_after"), parameters_of(bench.model));
  EXPECT_GT(result.counts.at("parameters_before"), parameters_of(bench.model));
  EXPECT_EQ(result.counts.at("macs_after"), macs_of_model(bench.model));
  EXPECT_THAT(result.note, HasSubstr("1 of 2 residual blocks"));
  EXPECT_THAT(result.details.at("influence_measured_on").get<std::string>(), HasSubstr("random"));
  double least = 2, of_removed = 0;
  for (const Json& block : result.details.at("residual_blocks")) {
    least = std::min(least, block.at("influence").get<double>());
    if (block.at("removed")) of_removed = block.at("influence");
  }
  EXPECT_EQ(of_removed, least);
}

TEST(PruneChannels, CountsATargetFromBeforeTheBlocksWent) {
  TrainingBench bench("residual_cnn");
  bench.data.calibration = bench.data.validation;
  const auto whole = static_cast<double>(macs_of_model(bench.model));
  const PassResult result = bench.run("prune_channels", {{"depth", 1}, {"macs", 0.3}});
  EXPECT_FALSE(bench.model.has_attribute("conv1.weight"));
  EXPECT_LT(width_of(bench.model, "stem.weight"), 8);
  EXPECT_EQ(result.counts.at("macs_before"), whole);
  EXPECT_LE(result.counts.at("macs_after"), 0.3 * whole);
  EXPECT_THAT(result.details.at("influence_measured_on").get<std::string>(),
              HasSubstr("128 calibration samples"));
  EXPECT_EQ(result.details.at("repair").size(), 1U);
}

TEST(PruneChannels, LeavesBlocksThatTheFiltersExclude) {
  TrainingBench bench("transformer");
  const PassResult result = bench.run("prune_channels", {{"depth", 2}, {"exclude", {"^qkv$"}}});
  EXPECT_EQ(result.counts.at("blocks_removed"), 1);
  EXPECT_TRUE(bench.model.has_attribute("qkv.weight"));
  EXPECT_FALSE(bench.model.has_attribute("fc1.weight"));
}

TEST(PruneChannels, ChangesNothingWhereNoBlockCanGo) {
  TrainingBench bench("mlp");
  const PassResult result = bench.run("prune_channels", {{"depth", 0.5}});
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(result.counts.at("blocks_before"), 0);
  EXPECT_EQ(width_of(bench.model, "fc1.weight"), 24);
}

TEST(PruneChannels, RejectsADepthThatIsNeitherAShareNorANumber) {
  TrainingBench bench("transformer");
  EXPECT_THROW(bench.run("prune_channels", {{"depth", 1.5}}), Error);
}

TEST(PruneChannels, TrainsForSparsityFirst) {
  TrainingBench bench("cnn");
  const PassResult result =
      bench.run("prune_channels",
                {{"ratio", 0.25},
                 {"sparsity_training",
                  {{"regularizer", "growing"}, {"epochs", 10}, {"optimizer", {{"lr", 0.02}}}}}});
  EXPECT_EQ(width_of(bench.model, "conv1.weight"), 6);
  const Json& training = result.details.at("sparsity_training");
  EXPECT_EQ(training.at("losses").size(), 10U);
  EXPECT_LT(training.at("share_after").get<double>(),
            0.1 * training.at("share_before").get<double>());
}

TEST(PruneChannels, NeedsCalibrationDataForActivations) {
  TrainingBench bench("cnn");
  EXPECT_THROW(bench.run("prune_channels", {{"criterion", "apoz"}}), Error);
}

TEST(PruneChannels, RejectsTwoTargets) {
  TrainingBench bench("mlp");
  try {
    bench.run("prune_channels", {{"ratio", 0.5}, {"macs", 0.5}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kRecipe);
    EXPECT_THAT(error.what(), HasSubstr("macs"));
  }
}

}  // namespace
}  // namespace edgecompress
