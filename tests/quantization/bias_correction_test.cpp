#include "quantization/bias_correction.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "int8/int8_rewrite.h"
#include "model/runtime.h"
#include "quantization/calibration.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Value;

Int8Scheme min_max_scheme(Model& model, std::shared_ptr<const Dataset> data) {
  Int8Scheme scheme;
  scheme.plan = plan_static_int8(
      model, [](const Layer&) { return ""; }, [](const Value*) { return true; });
  Progress silent;
  ObserverOptions observer;
  observer.kind = ObserverKind::kMinMax;
  Calibration calibration(model, scheme.plan, observer);
  calibration.run(std::move(data), 16, silent);
  for (const Value* value : scheme.plan.measured) scheme.ranges[value] = calibration.range(value);
  WeightScheme coarse;
  coarse.per_channel = false;
  coarse.largest = 7;
  quantize_weights(scheme, model, coarse);
  return scheme;
}

TEST(BiasCorrection, GivesEveryOutputItsMeanBack) {
  initialise_runtime();
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  remove_dropouts(model);
  // Inputs with means of their own: what rounding does to a weight shifts what they add up to.
  const at::Tensor inputs =
      at::randn({256, 12}, at::detail::createCPUGenerator(3)).mul(0.3) + at::linspace(-2, 2, 12);
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  const Int8Scheme scheme = min_max_scheme(model, data);
  Int8Scheme corrected = scheme;
  Progress silent;
  const BiasCorrection done = correct_biases(model, corrected, data, 32, silent);
  EXPECT_EQ(done.layers, 3);
  EXPECT_GT(done.largest_shift, 0.05);

  const auto means = [&](const Int8Scheme& of) {
    Model int8 = model.clone();
    rewrite_static_int8(int8, of.on(int8));
    return int8.forward({inputs})[0].mean(0);
  };
  const at::Tensor expected = model.forward({inputs})[0].mean(0);
  const double before = (means(scheme) - expected).abs().max().item<double>();
  const double after = (means(corrected) - expected).abs().max().item<double>();
  EXPECT_LT(after, 0.1 * before);
}

}  // namespace
}  // namespace edgecompress
