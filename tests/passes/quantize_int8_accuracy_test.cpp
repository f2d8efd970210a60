#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/runtime.h"
#include "passes/registry.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

/// The channels between two layers, 100x apart, which leaves the float function as it was.
void unbalance(Model& model, const std::vector<std::string>& makers, const std::string& reader) {
  const at::Tensor factors =
      at::linspace(-1, 1, model.tensor(makers[0]).size(0)).mul(std::log(10.0)).exp();
  const auto along = [&](const at::Tensor& tensor, std::size_t dim) {
    std::vector<std::int64_t> shape(static_cast<std::size_t>(tensor.dim()), 1);
    shape[dim] = factors.numel();
    return factors.reshape(shape);
  };
  for (const std::string& name : makers)
    model.set_tensor(name, model.tensor(name).detach() * along(model.tensor(name), 0));
  const at::Tensor weight = model.tensor(reader).detach();
  model.set_tensor(reader, weight / along(weight, 1));
}

struct Accuracy {
  double sqnr_db;  ///< of the outputs on data that nothing was fitted to
  Json tools;
};

Accuracy quantize(const Model& original, std::shared_ptr<const Dataset> calibration, Json options) {
  initialise_runtime();
  options["per_channel"] = false;
  const PassSpec spec = find_pass("quantize_int8");
  DataSets data;
  data.calibration = std::move(calibration);
  data.calibration_batch = 16;
  Progress silent;
  PassContext context{silent};
  context.data = &data;
  Model model = original.clone();
  const PassResult result =
      spec.make(spec.description.options.resolve(options, ""))->run(model, context);
  const auto inputs = original.example_inputs(256, 77);
  const at::Tensor y = original.forward(inputs)[0], z = model.forward(inputs)[0];
  const double sqnr = 10 * std::log10((y.square().sum() / (y - z).square().sum()).item<double>());
  return {sqnr, result.details.value("accuracy_tools", Json::array())};
}

struct Bench {
  explicit Bench(const std::string& name)
      : tiny(testing::make_tiny_model(name)),
        model(Model::from_module(tiny.module, tiny.inputs)),
        calibration(testing::make_tiny_data(tiny, 96, 2)) {}
  Accuracy quantize_with(const Json& options) const {
    return quantize(model, calibration, options);
  }

  testing::TinyModel tiny;
  Model model;
  std::shared_ptr<Dataset> calibration;
};

TEST(QuantizeInt8Accuracy, EqualizesWhatOneScaleCannotHold) {
  Bench mlp("mlp"), cnn("residual_cnn");
  const double mlp_db = mlp.quantize_with(Json::object()).sqnr_db;
  const double cnn_db = cnn.quantize_with(Json::object()).sqnr_db;
  unbalance(mlp.model, {"fc1.weight", "fc1.bias"}, "fc2.weight");
  unbalance(cnn.model, {"bn1.weight", "bn1.bias"}, "conv2.weight");
  for (const auto& [bench, balanced_db] : {std::pair(&mlp, mlp_db), std::pair(&cnn, cnn_db)}) {
    const double plain_db = bench->quantize_with(Json::object()).sqnr_db;
    const Accuracy equalized = bench->quantize_with({{"equalize", true}});
    EXPECT_LT(plain_db, balanced_db - 8) << bench->tiny.name;
    EXPECT_GT(equalized.sqnr_db, balanced_db - 3) << bench->tiny.name;
    const Json& told = equalized.tools.at(0);
    EXPECT_EQ(told.at("tool"), "equalize");
    EXPECT_TRUE(told.at("kept").get<bool>());
    EXPECT_GT(told.at("sqnr_after_db").get<double>(), told.at("sqnr_before_db").get<double>() + 5);
  }
}

TEST(QuantizeInt8Accuracy, KeepsAToolThatHelpsAndTakesBackOneThatDoesNot) {
  const Json tools[] = {{{"equalize", true}},
                        {{"rounding", "gptq"}},
                        {{"rounding", "adaround"}, {"rounding_iterations", 200}},
                        {{"bias_correction", true}}};
  for (const char* network : {"mlp", "residual_cnn", "conv1d", "transformer"}) {
    const Bench bench(network);
    for (const Json& options : tools) {
      const Accuracy accuracy = bench.quantize_with(options);
      ASSERT_EQ(accuracy.tools.size(), 1U);
      const Json& told = accuracy.tools.at(0);
      const double gain =
          told.at("sqnr_after_db").get<double>() - told.at("sqnr_before_db").get<double>();
      EXPECT_EQ(told.at("kept").get<bool>(), gain > 0) << network << told;
    }
  }
}

TEST(QuantizeInt8Accuracy, RoundsForTheSakeOfOutputs) {
  const Bench bench("residual_cnn");
  const Accuracy plain = bench.quantize_with({{"observer", "minmax"}});
  for (const char* rounding : {"gptq", "adaround"}) {
    const Accuracy rounded = bench.quantize_with({{"observer", "minmax"}, {"rounding", rounding}});
    EXPECT_GT(rounded.sqnr_db, plain.sqnr_db) << rounding;
  }
}

}  // namespace
}  // namespace edgecompress
