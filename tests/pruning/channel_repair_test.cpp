#include "pruning/channel_repair.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/expect_error.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::TextNetwork;

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed = 3) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::kDouble);
}

DataSets calibration_of(const at::Tensor& inputs) {
  DataSets data;
  data.calibration = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  return data;
}

/// A network without the `units` of its first group, as it was and as it is.
struct Pruned {
  Pruned(const Model& model, const UnitChoice& units)
      : before(model.clone()), after(model.clone()) {
    remove(units);
  }
  void remove(UnitChoice units) {
    const ChannelGroups groups = find_channel_groups(after);
    units.resize(groups.groups.size());
    remove_channels(after, groups, units);
    kept.remove(groups, units);
  }
  ChannelRepair repair(const at::Tensor& inputs, std::int64_t live_bytes = 1 << 29) {
    Progress silent;
    return repair_channels(after, before, kept, calibration_of(inputs), silent, live_bytes);
  }
  Model before, after;
  KeptPositions kept;
};

std::string forward(const std::string& value) {
  return "def forward(self, x):\n  return " + value + "\n";
}

/// Eight channels that are affine in two inputs: any three of them tell the others.
TextNetwork redundant(const std::string& kind) {
  using namespace testing;
  TextNetwork network;
  network.forward = forward("self.next(self.first(x))");
  const bool is_flat = kind == "linear";
  const std::size_t rank = kind == "conv1d" ? 1 : kind == "conv3d" ? 3 : 2;
  if (is_flat) {
    network.layers = {linear("first", 8, 2), linear("next", 5, 8)};
    network.inputs = {float_input({2, 6, 2})};
    return network;
  }
  TextLayer next = conv("next", {6, 8, 3, 1, 2, rank});
  if (kind == "grouped") next = conv("next", {6, 8, 1, 2});
  if (kind == "transposed") next = conv_transpose("next", 8, 6);
  network.layers = {conv("first", {8, 2, 1, 1, 1, rank}), next};
  std::vector<std::int64_t> shape = {2, 2};
  shape.resize(2 + rank, 6);
  network.inputs = {float_input(shape)};
  return network;
}

class RepairOf : public ::testing::TestWithParam<std::string> {};

TEST_P(RepairOf, MakesUpForWhatTheRestCanTell) {
  const TextNetwork network = redundant(GetParam());
  auto shape = network.inputs[0].shape;
  shape[0] = 64;
  for (const std::int64_t live_bytes : {1 << 29, 1}) {
    Pruned pruned(make_text_network(network), {{1}});
    const ChannelRepair repair = pruned.repair(normal(shape), live_bytes);
    EXPECT_EQ(repair.layers, 1);
    EXPECT_GT(repair.error_before, 0.02);
    EXPECT_LT(repair.error_after, 0.02 * repair.error_before);
    // On data that it has never seen, too.
    const at::Tensor inputs = normal(shape, 9);
    const at::Tensor expected = pruned.before.forward({inputs}).at(0);
    const at::Tensor found = pruned.after.forward({inputs}).at(0);
    const double error =
        ((found - expected).square().sum() / expected.square().sum()).item<double>();
    EXPECT_LT(error, 0.05 * repair.error_before);
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, RepairOf,
                         ::testing::Values("linear", "conv1d", "conv2d", "conv3d", "grouped",
                                           "transposed"),
                         [](const auto& network) { return network.param; });

TEST(Repair, MakesUpForSeveralRemovals) {
  // Both layers behind lose inputs and the first of them outputs, in two steps.
  using namespace testing;
  TextNetwork network;
  network.layers = {linear("first", 8, 2), linear("next", 8, 8), linear("last", 5, 8)};
  network.forward = forward("self.last(self.next(self.first(x)))");
  network.inputs = {float_input({6, 2})};
  Pruned pruned(make_text_network(network), {{1, 4}, {0}});
  pruned.remove({{0, 2}, {3, 4}});
  const ChannelRepair repair = pruned.repair(normal({256, 2}));
  EXPECT_EQ(repair.layers, 2);
  EXPECT_TRUE(repair.keeps_layers);
  const at::Tensor inputs = normal({64, 2}, 9);
  const at::Tensor expected = pruned.before.forward({inputs}).at(0);
  const at::Tensor found = pruned.after.forward({inputs}).at(0);
  const double error = ((found - expected).square().sum() / expected.square().sum()).item<double>();
  EXPECT_GT(repair.error_before, 0.02);
  EXPECT_LT(error, 0.05 * repair.error_before);
}

/// fc1 -> relu -> fc2 [-> batch norm] -> relu -> fc3; unit 2 of fc1 is 3, whatever the input.
Model with_constant_unit(bool has_batch_norm) {
  using namespace testing;
  TextNetwork network;
  network.layers = {linear("fc1", 6, 4), linear("fc2", 5, 6, !has_batch_norm), linear("fc3", 3, 5)};
  network.forward = forward("self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))");
  if (has_batch_norm) {
    network.layers.push_back(batch_norm("bn", 5));
    network.forward = forward("self.fc3(torch.relu(self.bn(self.fc2(torch.relu(self.fc1(x))))))");
  }
  network.inputs = {float_input({2, 4})};
  Model model = make_text_network(network);
  at::Tensor weight = model.tensor("fc1.weight").detach().clone();
  at::Tensor bias = model.tensor("fc1.bias").detach().clone();
  weight[2].zero_();
  bias[2] = 3;
  model.set_tensor("fc1.weight", weight);
  model.set_tensor("fc1.bias", bias);
  return model;
}

TEST(Repair, PutsWhatIsConstantIntoTheBias) {
  Pruned pruned(with_constant_unit(false), {{2}});
  const at::Tensor lost = pruned.before.tensor("fc2.weight").select(1, 2) * 3;
  const ChannelRepair repair = pruned.repair(normal({256, 4}));
  EXPECT_LT(repair.error_after, 1e-3 * repair.error_before);
  const at::Tensor gained = pruned.after.tensor("fc2.bias") - pruned.before.tensor("fc2.bias");
  EXPECT_TRUE(gained.allclose(lost, 0.05, 0.02)) << gained << lost;
}

TEST(Repair, PutsWhatIsConstantIntoTheBatchNormWhereThereIsNoBias) {
  Pruned pruned(with_constant_unit(true), {{2}});
  const at::Tensor lost = pruned.before.tensor("fc2.weight").select(1, 2) * 3;
  const ChannelRepair repair = pruned.repair(normal({256, 4}));
  EXPECT_LT(repair.error_after, 1e-3 * repair.error_before);
  const at::Tensor moved =
      pruned.before.tensor("bn.running_mean") - pruned.after.tensor("bn.running_mean");
  EXPECT_TRUE(moved.allclose(lost, 0.05, 0.02)) << moved << lost;
}

class RepairTiny : public ::testing::TestWithParam<std::string> {};

TEST_P(RepairTiny, NeverTakesTheOutputsFartherAway) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  const ChannelGroups groups = find_channel_groups(model);
  UnitChoice removed(groups.groups.size());
  for (std::size_t i = 0; i < removed.size(); ++i) {
    const auto units = static_cast<std::int64_t>(groups.groups[i].units.size());
    for (std::int64_t unit = 0; unit + 1 < units; unit += 3) removed[i].push_back(unit);
  }
  Pruned pruned(model, removed);
  DataSets data;
  data.calibration = testing::make_tiny_data(tiny, 96, 2);
  const at::Tensor inputs = data.calibration->read(std::int64_t{0}, 0).inputs[0];
  Progress silent;
  const ChannelRepair repair =
      repair_channels(pruned.after, pruned.before, pruned.kept, data, silent);
  EXPECT_LE(repair.error_after, repair.error_before);
  EXPECT_TRUE(at::isfinite(pruned.after.forward({inputs}).at(0)).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Networks, RepairTiny, ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& network) { return network.param; });

TEST(Repair, LeavesANetworkAloneThatGivesTheSameOutputs) {
  Model model = with_constant_unit(false);
  at::Tensor weight = model.tensor("fc2.weight").detach().clone();
  weight.select(1, 2).zero_();
  model.set_tensor("fc2.weight", weight);
  Pruned pruned(model, {{2}});
  const at::Tensor fc3 = pruned.after.tensor("fc3.weight").clone();
  const ChannelRepair repair = pruned.repair(normal({32, 4}));
  EXPECT_LT(repair.error_before, 1e-25);
  EXPECT_LE(repair.error_after, repair.error_before);
  EXPECT_EQ(repair.keeps_layers, repair.error_after < repair.error_before);
  EXPECT_TRUE(repair.keeps_batch_norms);  // there are none
  EXPECT_TRUE(pruned.after.tensor("fc3.weight").equal(fc3));
}

TEST(Repair, NamesWhatItCannotRepair) {
  using namespace testing;
  TextNetwork network;
  network.layers = {linear("fc1", 6, 4), recurrent("rnn", {Recurrence::kGru, 6, 3})};
  network.forward = forward("self.rnn(self.fc1(x))");
  network.inputs = {float_input({2, 5, 4})};
  Pruned pruned(make_text_network(network), {{0}});
  const ChannelRepair repair = pruned.repair(normal({16, 5, 4}));
  ASSERT_FALSE(repair.notes.empty());
  EXPECT_EQ(repair.notes[0].substr(0, 3), "rnn");
}

TEST(Repair, NeedsCalibrationData) {
  Pruned pruned(with_constant_unit(false), {{2}});
  Progress silent;
  testing::expect_error(ExitCode::kData, "no calibration samples", [&] {
    repair_channels(pruned.after, pruned.before, pruned.kept, {}, silent);
  });
}

}  // namespace
}  // namespace edgecompress
