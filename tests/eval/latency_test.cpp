#include "eval/latency.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <map>

#include "edgecompress/error.h"
#include "eval/forms.h"
#include "model/model.h"
#include "model/runtime.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

/// Remembers the stages and how far they went.
class CountingProgress : public Progress {
 public:
  std::map<std::string, std::int64_t> done, totals;

 private:
  void show(const std::string& stage, std::int64_t done_now, std::int64_t total, double,
            const std::string&) override {
    done[stage] = done_now;
    totals[stage] = total;
  }
};

class LatencyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    initialise_runtime();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  LatencyCandidate saved(const std::string& name) {
    const testing::TinyModel tiny = testing::make_tiny_model(name);
    const auto path = folder_ / (name + ".pt");
    tiny.module.save(path.string());
    return {name, path};
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / "edgecompress_latency_test";
  LatencySpec spec_{/*batch_size=*/2, /*threads=*/1, /*warm_up=*/2, /*repeats=*/11};
};

TEST_F(LatencyTest, GivesOneResultACandidateWithOrderedPercentiles) {
  const auto inputs = testing::make_tiny_model("cnn").inputs;
  CountingProgress progress;
  const auto latencies =
      measure_latency({saved("cnn"), saved("residual_cnn")}, inputs, spec_, progress);
  ASSERT_EQ(latencies.size(), 2U);
  for (const Latency& latency : latencies) {
    EXPECT_GT(latency.p10_ms, 0);
    EXPECT_LE(latency.p10_ms, latency.median_ms);
    EXPECT_LE(latency.median_ms, latency.p90_ms);
    EXPECT_EQ(latency.batch_size, 2);
    EXPECT_EQ(latency.threads, 1);
    EXPECT_EQ(latency.warm_up, 2);
    EXPECT_GE(latency.repeats, 11);
    EXPECT_THAT(latency.form,
                AnyOf("as saved", "frozen", "channels_last", "optimize_for_inference"));
  }
}

TEST_F(LatencyTest, MeasuresEveryFamilyOfNetworks) {
  spec_.repeats = 1;
  for (const std::string& name : testing::tiny_model_names()) {
    Progress progress;
    const auto latencies =
        measure_latency({saved(name)}, testing::make_tiny_model(name).inputs, spec_, progress);
    EXPECT_GT(latencies.at(0).median_ms, 0) << name;
  }
}

TEST_F(LatencyTest, RestoresTheThreadCount) {
  set_threads(2);
  Progress progress;
  measure_latency({saved("mlp")}, testing::make_tiny_model("mlp").inputs, spec_, progress);
  EXPECT_EQ(at::get_num_threads(), 2);
  set_threads(1);
}

TEST_F(LatencyTest, SaysWhatTheModelWasGivenWhenItDoesNotRun) {
  Progress progress;
  try {
    measure_latency({saved("mlp")}, {{{1, 3}, "float32", 2}}, spec_, progress);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kModel);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("mlp"), HasSubstr("float32 [2, 3]")));
  }
}

torch::jit::Module text_module(const std::string& code) {
  torch::jit::Module module("net");
  module.register_attribute("training", c10::BoolType::get(), false);
  module.register_buffer("calls", at::zeros({1}));
  module.define(code);
  return module;
}

TEST_F(LatencyTest, ChosenFormGivesTheStoredOutputs) {
  for (const std::string& name : testing::tiny_model_names()) {
    const testing::TinyModel tiny = testing::make_tiny_model(name);
    const auto inputs = make_example_inputs(tiny.inputs, 3, 0);
    RunnableForm stored("as saved", tiny.module, inputs);
    RunnableForm fastest = fastest_form(tiny.module, inputs);
    EXPECT_TRUE(at::allclose(fastest.outputs().at(0), stored.outputs().at(0), 1e-3, 1e-4))
        << name << " as " << fastest.name();
  }
}

TEST_F(LatencyTest, TimesAFileAgainInTheFormThatItWasGiven) {
  LatencyCandidate candidate = saved("cnn");
  for (const std::string form : {"as saved", "frozen", "channels_last"}) {
    candidate.form = form;
    Progress progress;
    const auto latencies =
        measure_latency({candidate}, testing::make_tiny_model("cnn").inputs, spec_, progress);
    EXPECT_EQ(latencies.at(0).form, form);
  }
}

TEST_F(LatencyTest, RepeatsShortModelsMoreOftenThanAsked) {
  spec_.repeats = 1;
  Progress progress;
  const auto latencies =
      measure_latency({saved("mlp")}, testing::make_tiny_model("mlp").inputs, spec_, progress);
  EXPECT_GT(latencies.at(0).repeats, 1);
}

TEST_F(LatencyTest, LeavesOutFormsThatFail) {
  // A view of an NHWC tensor fails, so channels_last can't be the choice.
  const auto module = text_module("def forward(self, x):\n  return x.view(-1) * 2\n");
  RunnableForm form = fastest_form(module, {at::rand({2, 3, 8, 8})});
  EXPECT_NE(form.name(), "channels_last");
  EXPECT_EQ(form.outputs().at(0).numel(), 2 * 3 * 8 * 8);
}

TEST_F(LatencyTest, LeavesOutFormsWithOtherOutputs) {
  // Every call gives another output, so nothing can be shown to be the same as the stored form.
  const auto module =
      text_module("def forward(self, x):\n  self.calls.add_(1)\n  return x + self.calls\n");
  EXPECT_EQ(fastest_form(module, {at::rand({4})}).name(), "as saved");
}

TEST(Percentile, InterpolatesBetweenTheNearestValues) {
  EXPECT_DOUBLE_EQ(percentile({3, 1, 2}, 50), 2);
  EXPECT_DOUBLE_EQ(percentile({4, 1, 2, 3}, 50), 2.5);
  EXPECT_DOUBLE_EQ(percentile({10, 20, 30, 40, 50}, 10), 14);
  EXPECT_DOUBLE_EQ(percentile({10, 20, 30, 40, 50}, 90), 46);
  EXPECT_DOUBLE_EQ(percentile({7}, 90), 7);
}

}  // namespace
}  // namespace edgecompress
