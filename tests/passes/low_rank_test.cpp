#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/tensor_dataset.h"
#include "model/layers.h"
#include "passes/registry.h"
#include "passes/training_bench.h"
#include "support/expect_error.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::TextNetwork;
using testing::TrainingBench;

PassResult run(Model& model, const Json& given, const DataSets* data = nullptr,
               const std::string& pass = "low_rank") {
  const PassSpec spec = find_pass(pass);
  Progress silent;
  PassContext context{silent};
  context.data = data;
  return spec.make(spec.description.options.resolve(given, ""))->run(model, context);
}

Model tiny(const std::string& name) {
  const auto made = testing::make_tiny_model(name);
  return Model::from_module(made.module, made.inputs);
}

/// Three convolutions and a linear layer, wide enough that low ranks pay.
Model convolutions() {
  return testing::make_text_network(
      {"def forward(self, x):\n"
       "  x = torch.relu(self.a(x))\n"
       "  x = torch.relu(self.b(x))\n"
       "  x = torch.relu(self.c(x))\n"
       "  return self.d(torch.mean(x, [2, 3]))\n",
       {testing::conv("a", {12, 3}), testing::conv("b", {16, 12, 3, 1, 2}),
        testing::conv("c", {16, 16}), testing::linear("d", 24, 16)},
       {testing::float_input({1, 3, 9, 9})}});
}

std::int64_t macs_of(const Model& model) {
  std::int64_t macs = 0;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) macs += node.macs;
  return macs;
}

std::int64_t parameters_of(const Model& model) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.named_parameters()) count += tensor.numel();
  return count;
}

const Json* row_of(const PassResult& result, const std::string& layer) {
  for (const Json& row : result.details["layers"]) {
    if (row["layer"] == layer) return &row;
  }
  return nullptr;
}

std::string reason_of(const PassResult& result, const std::string& layer) {
  for (const Json& row : result.details["left_alone"]) {
    if (row["layer"] == layer) return row["reason"];
  }
  return "";
}

DataSets calibration_of(const at::Tensor& inputs) {
  DataSets data;
  data.calibration = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  return data;
}

double error_of(const Model& model, const Model& original, const at::Tensor& inputs) {
  const at::NoGradGuard no_grad;
  const at::Tensor expected = original.forward({inputs})[0];
  return ((model.forward({inputs})[0] - expected).square().sum() / expected.square().sum())
      .item<double>();
}

TEST(LowRank, MeetsTheShareOfMacsThatItReports) {
  for (const double share : {0.8, 0.5, 0.3}) {
    Model model = convolutions();
    const std::int64_t before = macs_of(model);
    const PassResult result = run(model, {{"macs", share}});
    EXPECT_TRUE(result.changed);
    EXPECT_EQ(result.counts.at("macs_before"), static_cast<double>(before));
    EXPECT_EQ(result.counts.at("macs_after"), static_cast<double>(macs_of(model)));
    const double left = static_cast<double>(macs_of(model)) / static_cast<double>(before);
    EXPECT_LE(left, share);
    EXPECT_GT(left, share - 0.1);
  }
}

TEST(LowRank, MeetsTheShareOfParametersThatItReports) {
  Model model = convolutions();
  const std::int64_t before = parameters_of(model);
  const PassResult result = run(model, {{"parameters", 0.6}});
  EXPECT_EQ(result.counts.at("parameters_after"), static_cast<double>(parameters_of(model)));
  EXPECT_LE(static_cast<double>(parameters_of(model)), 0.6 * static_cast<double>(before));
}

TEST(LowRank, RowsAddUpToWhatTheNetworkSaves) {
  Model model = convolutions();
  const PassResult result = run(model, {{"macs", 0.5}});
  double macs = 0, parameters = 0;
  for (const Json& row : result.details["layers"]) {
    macs += row["macs_before"].get<double>() - row["macs_after"].get<double>();
    parameters += row["parameters_before"].get<double>() - row["parameters_after"].get<double>();
    EXPECT_LT(row["macs_after"].get<double>(), row["macs_before"].get<double>());
    EXPECT_LT(row["parameters_after"].get<double>(), row["parameters_before"].get<double>());
  }
  EXPECT_EQ(macs, result.counts.at("macs_before") - result.counts.at("macs_after"));
  EXPECT_EQ(parameters,
            result.counts.at("parameters_before") - result.counts.at("parameters_after"));
}

TEST(LowRank, TakesARankOrAShareOfTheFullOne) {
  Model model = convolutions();
  const PassResult result = run(model, {{"rank", 4}, {"scheme", "channel"}});
  ASSERT_NE(row_of(result, "c"), nullptr);
  EXPECT_EQ((*row_of(result, "c"))["rank"], 4);
  EXPECT_EQ((*row_of(result, "c"))["full_rank"], 16);
  EXPECT_EQ(model.tensor("c.0.weight").sizes().vec(), (std::vector<std::int64_t>{4, 16, 3, 3}));
  EXPECT_EQ(model.tensor("c.1.weight").sizes().vec(), (std::vector<std::int64_t>{16, 4, 1, 1}));
  // 4 (3 9 + 12) < 12 3 9, as a costs; 4 (16 + 24) < 24 16, as d does.
  EXPECT_EQ(result.details["layers"].size(), 4U);

  Model other = convolutions();
  const PassResult share = run(other, {{"rank", 0.25}, {"scheme", "spatial"}});
  EXPECT_EQ((*row_of(share, "c"))["full_rank"], 48);
  EXPECT_EQ((*row_of(share, "c"))["rank"], 12);
  EXPECT_EQ((*row_of(share, "d"))["scheme"], "channel");  // a linear layer has no other
}

TEST(LowRank, KeepsTheEnergyAskedFor) {
  Model model = convolutions();
  const Model original = model.clone();
  const PassResult result = run(model, {{"energy", 0.7}, {"scheme", "channel"}});
  ASSERT_TRUE(result.changed);
  for (const Json& row : result.details["layers"]) {
    const std::string name = row["layer"].get<std::string>() + ".weight";
    const at::Tensor values = at::linalg_svdvals(original.tensor(name).detach().flatten(1));
    const auto kept = [&](std::int64_t rank) {
      return (values.narrow(0, 0, rank).square().sum() / values.square().sum()).item<double>();
    };
    const auto rank = row["rank"].get<std::int64_t>();
    EXPECT_NEAR(row["energy_kept"].get<double>(), kept(rank), 1e-5);
    EXPECT_GE(kept(rank), 0.7 - 1e-6);
    if (rank > 1) {
      EXPECT_LT(kept(rank - 1), 0.7);
    }
  }
}

TEST(LowRank, LeavesWhatWouldBecomeNoCheaper) {
  Model model = convolutions();
  const PassResult result = run(model, {{"rank", 16}, {"scheme", "channel"}});
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(reason_of(result, "c"), "rank 16 makes it no cheaper");
  EXPECT_EQ(reason_of(result, "a"), "it has no such rank");
  EXPECT_NE(result.note.find("no layer became two"), std::string::npos);
}

TEST(LowRank, LeavesLayersThatTheBudgetDoesNotNeed) {
  Model model = convolutions();
  const PassResult result = run(model, {{"macs", 0.97}});
  EXPECT_EQ(result.details["layers"].size(), 1U);
  EXPECT_EQ(reason_of(result, "d"), "the target is met without it");
}

TEST(LowRank, SaysThatATargetIsNotMet) {
  Model model = convolutions();
  const PassResult result = run(model, {{"macs", 0.01}});
  EXPECT_TRUE(result.changed);
  EXPECT_NE(result.note.find("the target is not met"), std::string::npos) << result.note;
}

TEST(LowRank, RoundsTheChannelsBetweenTheLayers) {
  Model model = convolutions();
  const PassResult result = run(model, {{"macs", 0.5}, {"round_to", 4}});
  ASSERT_TRUE(result.changed);
  for (const Json& row : result.details["layers"])
    EXPECT_EQ(row["rank"].get<std::int64_t>() % 4, 0);
  Model other = convolutions();
  EXPECT_EQ(
      (*row_of(run(other, {{"rank", 3}, {"round_to", 4}, {"scheme", "channel"}}), "c"))["rank"], 4);
}

TEST(LowRank, FollowsTheFilters) {
  Model model = convolutions();
  const PassResult result = run(model, {{"rank", 2}, {"include", {"a|b"}}, {"exclude", {"b"}}});
  EXPECT_EQ(result.details["layers"].size(), 1U);
  EXPECT_TRUE(model.has_attribute("a.0.weight"));
  EXPECT_TRUE(model.has_attribute("b.weight"));
  Model other = convolutions();
  const PassResult none = run(other, {{"exclude", {"."}}});
  EXPECT_FALSE(none.changed);
  EXPECT_EQ(none.note, "no convolution or linear layer passes the filters");
}

TEST(LowRank, LeavesPrunedWeightsUnlessToldOtherwise) {
  Model model = convolutions();
  run(model, {{"ratio", 0.5}, {"include", {"c"}}}, nullptr, "prune_weights");
  Model other = model.clone();
  EXPECT_NE(reason_of(run(model, {{"rank", 2}}), "c").find("50 % of its weights are zero"),
            std::string::npos);
  EXPECT_TRUE(model.has_attribute("c.weight"));
  run(other, {{"rank", 2}, {"factor_pruned", true}});
  EXPECT_TRUE(other.has_attribute("c.0.weight"));
}

TEST(LowRank, NamesTheReasonForTransposedConvolutions) {
  Model model = testing::make_text_network({"def forward(self, x):\n  return self.t(x)\n",
                                            {testing::conv_transpose("t", 8, 8)},
                                            {testing::float_input({1, 8, 4, 4})}});
  const PassResult result = run(model, {{"rank", 1}});
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(reason_of(result, "t"), "it is a transposed convolution");
}

/// Images that hold a few patterns and little noise: much of a weight does not matter to them.
at::Tensor correlated(std::int64_t samples, std::uint64_t seed) {
  at::Generator patterns = at::detail::createCPUGenerator(1),
                drawn = at::detail::createCPUGenerator(seed);
  const at::Tensor basis = at::randn({3, 3 * 9 * 9}, patterns, at::kDouble);
  return (at::randn({samples, 3}, drawn, at::kDouble).mm(basis) +
          0.05 * at::randn({samples, 3 * 9 * 9}, drawn, at::kDouble))
      .reshape({samples, 3, 9, 9});
}

TEST(LowRank, CalibrationDataKeepTheOutputsNearer) {
  const Model original = convolutions();
  const DataSets data = calibration_of(correlated(256, 2));
  const at::Tensor unseen = correlated(64, 3);
  for (const Json& target : {Json{{"macs", 0.5}}, Json{{"rank", 4}}, Json{{"energy", 0.8}}}) {
    Model plain = original.clone(), aware = original.clone();
    run(plain, target);
    const PassResult result = run(aware, target, &data);
    ASSERT_TRUE(result.changed);
    if (target.contains("energy")) {
      EXPECT_LT(macs_of(aware), macs_of(plain));  // the outputs' energy lies in fewer channels
    } else {
      EXPECT_LT(2 * error_of(aware, original, unseen), error_of(plain, original, unseen));
    }
    for (const Json& row : result.details["layers"]) {
      EXPECT_EQ(row["energy_of"], "outputs");
      EXPECT_GT(row["sqnr_db"].get<double>(), 0);
    }
  }
}

TEST(LowRank, IgnoresCalibrationDataOnRequest) {
  Model plain = convolutions(), told = convolutions();
  const DataSets data = calibration_of(correlated(64, 2));
  run(plain, {{"macs", 0.5}});
  const PassResult result = run(told, {{"macs", 0.5}, {"data_aware", false}}, &data);
  EXPECT_TRUE(plain.tensor("c.0.weight").equal(told.tensor("c.0.weight")));
  EXPECT_EQ(result.details["layers"][0]["energy_of"], "weights");
  EXPECT_TRUE(result.details["layers"][0]["sqnr_db"].is_null());
}

TEST(LowRank, SqnrIsThatOfTheLayersOutputs) {
  // One layer, whose outputs are the network's.
  const Model original = testing::make_text_network({"def forward(self, x):\n  return self.a(x)\n",
                                                     {testing::linear("a", 12, 12)},
                                                     {testing::float_input({1, 12})}});
  const at::Tensor inputs = at::randn({64, 12}, at::detail::createCPUGenerator(4), at::kDouble);
  const DataSets data = calibration_of(inputs);
  Model model = original.clone();
  const PassResult result = run(model, {{"rank", 4}}, &data);
  const at::Tensor held_out = inputs.slice(0, 3, 64, 4);
  EXPECT_NEAR((*row_of(result, "a"))["sqnr_db"].get<double>(),
              -10 * std::log10(error_of(model, original, held_out)), 1e-3);
}

TEST(LowRank, LaterPassesWorkOnBothLayers) {
  for (const char* pass : {"prune_channels", "lora", "quantize_int8", "fold_batch_norm"}) {
    TrainingBench bench("cnn");
    bench.data.calibration = bench.data.train;
    ASSERT_TRUE(bench.run("low_rank", {{"macs", 0.6}}).changed);
    Json options = Json::object();
    if (pass == std::string("lora")) options["epochs"] = 1;
    EXPECT_NO_THROW(bench.run(pass, options)) << pass;
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(
        bench.model.forward(bench.model.example_inputs(2))[0].isfinite().all().item<bool>());
  }
  TrainingBench bench("cnn");
  ASSERT_TRUE(bench.run("low_rank", {{"rank", 2}, {"scheme", "channel"}}).changed);
  const PassResult pruned = bench.run("prune_channels", {{"ratio", 0.5}});
  bool has_both = false;
  for (const Json& row : pruned.details["layers"]) {
    const auto name = row["layer"].get<std::string>();
    has_both = has_both || (name.size() > 2 && name.substr(name.size() - 2) == ".0");
  }
  EXPECT_TRUE(has_both) << pruned.details.dump(2);
}

TEST(LowRank, FactorsWhatItFactoredBefore) {
  Model model = convolutions();
  run(model, {{"rank", 8}, {"scheme", "spatial"}});
  const std::int64_t before = macs_of(model);
  const PassResult again = run(model, {{"macs", 0.7}});
  EXPECT_TRUE(again.changed);
  EXPECT_LE(static_cast<double>(macs_of(model)), 0.7 * static_cast<double>(before));
}

TEST(LowRank, RefusesOptionsThatDoNotGoTogether) {
  Model model = tiny("mlp");
  expect_error(ExitCode::kRecipe, "several of rank, energy, macs and parameters", [&] {
    run(model, {{"rank", 2}, {"macs", 0.5}});
  });
  expect_error(ExitCode::kRecipe, "rank is 1.5", [&] { run(model, {{"rank", 1.5}}); });
  expect_error(ExitCode::kRecipe, "include/0", [&] { run(model, {{"include", {"("}}}); });
  for (const Json& wrong :
       {Json{{"macs", 1}}, Json{{"energy", 1.2}}, Json{{"scheme", "tucker"}}, Json{{"rank", 0}}})
    EXPECT_THROW(run(model, wrong), Error) << wrong;
}

TEST(LowRank, NeedsTheShapesOfTheInputs) {
  Model model = Model::from_module(testing::make_tiny_model("mlp").module, {});
  expect_error(
      ExitCode::kPass, "known from a run",
      [&] {
        run(model, {{"rank", 2}});
      },
      "model.inputs");
}

}  // namespace
}  // namespace edgecompress
