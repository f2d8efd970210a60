#include "quantization/quantization_aware_training.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "int8/int8_rewrite.h"
#include "support/expect_error.h"
#include "support/int8_schemes.h"
#include "support/tiny_models.h"
#include "train/networks.h"

namespace edgecompress {
namespace {

const Json kTraining = {{"epochs", 3}, {"keep_best", false}, {"optimizer", {{"lr", 0.01}}}};

Json with(const Json& more) {
  Json options = kTraining;
  options.update(more);
  return options;
}

/// A network, its scheme and data that teach it.
struct Bench {
  explicit Bench(const std::string& name)
      : tiny(testing::make_tiny_model(name)), model(Model::from_module(tiny.module, tiny.inputs)) {
    data.train = testing::make_tiny_data(tiny, 192, 1);
    data.validation = testing::make_tiny_data(tiny, 128, 2);
    data.train_batch = 32;
    context.data = &data;
    context.seed = 5;
    calibrate(kReducedWeightRange);
  }

  void calibrate(std::int64_t largest_weight) {
    scheme = testing::make_int8_scheme(model, data.train);
    scheme.weights.clear();
    quantize_weights(scheme, model, {/*per_channel=*/true, largest_weight});
  }

  TrainResult train(const Json& options, std::int64_t largest_weight = kReducedWeightRange) {
    TrainingContext scored = context;
    scored.score = [this](const Forward& forward) {
      simulated = forward(inputs())[0];
      return evaluate_score(forward, *data.validation, 64, "top1", "validation", progress);
    };
    return train_quantized(
        model, scheme, largest_weight, quantization_aware_training_options().parse(options, ""),
        "test", scored,
        [this](const std::string&) { return Model::from_module(tiny.module, tiny.inputs); });
  }
  std::vector<at::Tensor> inputs() const { return model.example_inputs(64, 9); }

  testing::TinyModel tiny;
  Model model;
  DataSets data;
  Int8Scheme scheme;
  Progress progress;
  TrainingContext context{progress};
  at::Tensor simulated;  ///< outputs for inputs() when the score was last asked for
};

/// An op's output may be one step off (fake_quantization.h); what whole networks were found to stay
/// in, in steps of their output.
TEST(QuantizationAwareTraining, ConvertsToInt8ThatGivesWhatItSimulated) {
  for (const char* name :
       {"mlp", "residual_cnn", "depthwise_cnn", "concat_cnn", "conv1d", "transformer", "gru"}) {
    for (const bool learns : {true, false}) {
      Bench bench(name);
      bench.train(with({{"learn_scales", learns}}));
      const double step = bench.scheme.ranges.at(bench.scheme.plan.measured.back()).scale;
      rewrite_static_int8(bench.model, bench.scheme);
      const at::Tensor difference =
          (bench.model.forward(bench.inputs())[0] - bench.simulated).abs();
      EXPECT_LE(difference.max().item<double>(), 3.01 * step) << name << ", " << learns;
      EXPECT_LE(difference.mean().item<double>(), step) << name << ", " << learns;
    }
  }
}

TEST(QuantizationAwareTraining, WinsBackWhatFewBitsLose) {
  Bench bench("mlp");
  const Json float_training = {{"epochs", 30}, {"optimizer", {{"lr", 0.05}}}};
  fine_tune(bench.model, fine_tuning_options().parse(float_training, ""), "test", bench.context);
  bench.calibrate(/*largest_weight=*/1);
  const TrainResult result =
      bench.train({{"epochs", 30}, {"optimizer", {{"name", "adamw"}, {"lr", 0.001}}}},
                  /*largest_weight=*/1);
  ASSERT_GT(result.best_epoch, 0);
  EXPECT_GT(result.scores.at(static_cast<std::size_t>(result.best_epoch - 1)),
            *result.score_before + 0.05);
  for (const auto& [name, weight] : bench.scheme.weights)
    EXPECT_LE(weight.values.abs().max().item<std::int64_t>(), 1) << name;
}

TEST(QuantizationAwareTraining, LearnsScalesOrLeavesThem) {
  for (const bool learns : {true, false}) {
    Bench bench("cnn");
    const auto ranges = bench.scheme.ranges;
    const auto weights = bench.scheme.weights;
    bench.train(with({{"learn_scales", learns}}));
    const auto share_moved = [](double after, double before) {
      return std::abs(after / before - 1);
    };
    for (const auto& [value, range] : ranges) {
      EXPECT_EQ(share_moved(bench.scheme.ranges.at(value).scale, range.scale) > 1e-6, learns);
      EXPECT_EQ(bench.scheme.ranges.at(value).zero_point, range.zero_point);
    }
    for (const auto& [name, weight] : weights) {
      const QuantizedWeight& after = bench.scheme.weights.at(name);
      const double moved = (after.scales / weight.scales - 1).abs().max().item<double>();
      EXPECT_EQ(moved > 1e-6, learns) << name << " " << moved;
      EXPECT_FALSE(after.values.equal(weight.values)) << name;
    }
  }
}

/// y = x = 2, clipped to 1 by the output's range, target 3. dL/dy = 2 (1 - 3) = -4; the output is
/// clipped at 255 steps of s = 1 / 255, so dL/ds = -4 * 255; the step of log s is
/// lr * s * 1020 / (s^2 sqrt(1 * 255)). What is before the clipping gets no gradient.
TEST(QuantizationAwareTraining, MovesScalesByTheGradientOfLsq) {
  Model model = testing::linear_model(at::ones({1, 1}), at::zeros({1}));
  DataSets data;
  data.train = testing::data_of(at::full({4, 1}, 2.0F), at::full({4, 1}, 3.0F));
  data.train_batch = 4;
  Int8Scheme scheme = testing::make_int8_scheme(model, data.train);
  const torch::jit::Value *input = scheme.plan.measured.at(0), *output = scheme.plan.measured.at(1);
  const double input_scale = scheme.ranges.at(input).scale;
  scheme.ranges.at(output) = choose_range(0, 1);
  Progress progress;
  TrainingContext context(progress);
  context.data = &data;
  const Json options = {{"optimizer", {{"name", "sgd"}, {"lr", 1e-5}, {"weight_decay", 0}}}};
  train_quantized(model, scheme, kReducedWeightRange,
                  quantization_aware_training_options().parse(options, ""), "test", context, {});
  const double step = 1e-5 * 1020 * 255 / std::sqrt(255.0);
  EXPECT_NEAR(scheme.ranges.at(output).scale, std::exp(step) / 255, 1e-6);
  EXPECT_NEAR(scheme.ranges.at(input).scale, input_scale, 1e-8);
  EXPECT_EQ(scheme.weights.at("fc.weight").values.item<std::int64_t>(), kReducedWeightRange);
}

TEST(QuantizationAwareTraining, FollowsATeacherWithoutLabels) {
  const auto distance_after = [](std::int64_t epochs) {
    Bench bench("cnn");
    const at::Tensor expected = bench.model.forward(bench.inputs())[0];
    bench.calibrate(3);
    bench.data.train =
        testing::data_of(bench.data.train->read({0, 1, 2, 3, 4, 5, 6, 7}, 0).inputs[0], {});
    bench.train(
        with({{"epochs", epochs}, {"teacher", "original"}, {"alpha", 1}, {"soft_loss", "mse"}}), 3);
    return at::mse_loss(bench.simulated, expected).item<double>();
  };
  EXPECT_LT(distance_after(60), 0.7 * distance_after(1));
}

TEST(QuantizationAwareTraining, RefusesToLeaveLabelsAndTeacherOut) {
  const auto options = quantization_aware_training_options().parse({{"alpha", 1}}, "");
  testing::expect_error(
      ExitCode::kRecipe, "training/alpha", [&] { check_training(options, "test"); }, "teacher");
}

}  // namespace
}  // namespace edgecompress
