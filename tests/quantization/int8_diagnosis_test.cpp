#include "quantization/int8_diagnosis.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/tensor_dataset.h"
#include "int8/int8_rewrite.h"
#include "quantization/int8_layer_facts.h"
#include "support/int8_schemes.h"
#include "support/tiny_models.h"
#include "train/networks.h"

namespace edgecompress {
namespace {

double decibels(const at::Tensor& exact, const at::Tensor& rounded) {
  return 10 * std::log10((exact.square().sum() / (exact - rounded).square().sum()).item<double>());
}

at::Tensor on_grid(const at::Tensor& values, double scale, double zero, double low, double high) {
  return ((values / scale).round() + zero).clamp(low, high).sub(zero) * scale;
}

/// y = W x, rounded by hand: weights to 64 steps of max / 64, x and y to [0, 255] steps.
TEST(Int8Diagnosis, IsThatOfALinearLayerByHand) {
  const at::Tensor weight = at::tensor({1.0F, 0.337F}).reshape({1, 2});
  const at::Tensor inputs =
      at::tensor({0.0F, 1.0F, 2.0F, 0.51F, 1.234F, 0.777F, 0.5F, 0.3F}).reshape({4, 2});
  Model model = testing::linear_model(weight, at::zeros({1}));
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  Int8Scheme scheme = testing::make_int8_scheme(model, data);
  const Int8Op& op = scheme.plan.ops.at(0);
  scheme.ranges[op.output()] = {1.5 / 255, 0};  // the second of four, 2.17, is cut

  Progress silent;
  const auto found =
      diagnose_int8(model, scheme, *data, 4, Int8DiagnosisDepth::kNetwork, silent).at(op.node);

  const at::Tensor rounded_weight = on_grid(weight, 1.0 / 64, 0, -64, 64);
  EXPECT_NEAR(found.weight_sqnr_db, decibels(weight, rounded_weight), 1e-3);
  const at::Tensor output = at::matmul(inputs, weight.t());
  const at::Tensor rounded = on_grid(
      at::matmul(on_grid(inputs, 2.0 / 255, 0, 0, 255), rounded_weight.t()), 1.5 / 255, 0, 0, 255);
  EXPECT_NEAR(found.output_sqnr_db, decibels(output, rounded), 1e-2);
  EXPECT_NEAR(found.network_sqnr_db.value(), found.output_sqnr_db, 1e-6);
  EXPECT_DOUBLE_EQ(found.clipped, 0.25);
}

TEST(Int8Diagnosis, SaysThatNothingIsLostWhereNothingIs) {
  const at::Tensor inputs = at::tensor({255.0F, 3.0F, 0.0F}).reshape({3, 1});
  Model model = testing::linear_model(at::ones({1, 1}), at::zeros({1}));
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  const Int8Scheme scheme = testing::make_int8_scheme(model, data);
  Progress silent;
  const auto found = diagnose_int8(model, scheme, *data, 2, Int8DiagnosisDepth::kLayers, silent)
                         .at(scheme.plan.ops.at(0).node);
  EXPECT_EQ(found.weight_sqnr_db, 200);
  EXPECT_EQ(found.output_sqnr_db, 200);
  EXPECT_EQ(found.clipped, 0);
  EXPECT_FALSE(found.network_sqnr_db);
}

/// What one layer alone costs is near to what the INT8 network loses in which the others stay
/// float.
TEST(Int8Diagnosis, ForetellsWhatTheInt8NetworkLoses) {
  const auto tiny = testing::make_tiny_model("residual_cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const auto data = testing::make_tiny_data(tiny, 16, 2);
  const Int8Scheme scheme = testing::make_int8_scheme(model, data);
  Progress silent;
  const auto diagnosis =
      diagnose_int8(model, scheme, *data, 16, Int8DiagnosisDepth::kNetwork, silent);
  const at::Tensor inputs =
      data->read(std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0)
          .inputs.at(0);
  const at::Tensor exact = model.forward({inputs}).at(0);
  int layers = 0;
  for (const Int8Op& op : scheme.plan.ops) {
    if (!op.layer) continue;
    ++layers;
    const auto refuse_others = [&](const Layer& layer) {
      return layer.name == op.layer->name ? "" : "not this one";
    };
    const Int8Scheme alone = scheme.without(model, refuse_others);
    Model int8 = model.clone();
    rewrite_static_int8(int8, alone.on(int8));
    const double lost = decibels(exact, int8.forward({inputs}).at(0));
    EXPECT_NEAR(diagnosis.at(op.node).network_sqnr_db.value(), lost, 2.5) << op.layer->name;
  }
  EXPECT_GE(layers, 3);
}

TEST(Int8Facts, GiveEveryRowTheSameColumnsAndLeaveOutWhatIsUnknown) {
  const auto tiny = testing::make_tiny_model("cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const auto data = testing::make_tiny_data(tiny, 8, 2);
  const Int8Scheme scheme = testing::make_int8_scheme(model, data);
  const auto refuse_linear = [](const Layer& layer) {
    return layer.kind == LayerKind::kLinear ? "stays" : "";
  };
  const Int8Scheme less = scheme.without(model, refuse_linear);
  Int8Facts facts(model);
  Model int8 = model.clone();
  const Json rows = facts.rows(rewrite_static_int8(int8, less.on(int8)));
  ASSERT_GE(rows.size(), 2U);
  for (const Json& row : rows) {
    EXPECT_EQ(row.size(), rows[0].size());
    EXPECT_TRUE(row.contains("scale"));
    EXPECT_TRUE(row.at("macs").is_number());
    EXPECT_FALSE(row.contains("int8_ms"));
    EXPECT_EQ(row.at("scale").is_null(), row.at("state") == "float");
  }
  EXPECT_EQ(rows.back().at("reason"), "stays");
}

}  // namespace
}  // namespace edgecompress
