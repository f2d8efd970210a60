#include "train/input_moments.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.h"
#include "support/tiny_models.h"
#include "train/networks.h"

namespace edgecompress {
namespace {

std::map<std::string, at::Tensor> moments_of(const Model& model, Moment moment,
                                             const at::Tensor& inputs, std::int64_t batch) {
  DataSets data;
  data.calibration = testing::data_of(inputs, at::zeros({inputs.size(0)}));
  data.calibration_batch = batch;
  Progress progress;
  const auto weights = find_prunable_weights(model, LayerFilter({}, {}));
  std::vector<MomentRequest> requests;
  for (const PrunableWeight& weight : weights) requests.push_back({&weight, moment});
  return sum_input_moments(model, requests, &data, progress);
}

TEST(InputMoments, AreSumsOverTheSamplesWhateverTheBatch) {
  const Model model = testing::linear_model(at::ones({2, 3}), at::zeros({2}));
  const at::Tensor x = at::tensor({1.F, 2.F, 0.F, -1.F, 1.F, 3.F}).reshape({2, 3});
  const at::Tensor products = at::tensor({2., 1., -3., 1., 5., 3., -3., 3., 9.}, at::kDouble);
  for (const std::int64_t batch : {1, 2}) {
    EXPECT_TRUE(moments_of(model, Moment::kProducts, x, batch)
                    .at("fc.weight")
                    .equal(products.reshape({1, 3, 3})));
    EXPECT_TRUE(moments_of(model, Moment::kSquares, x, batch)
                    .at("fc.weight")
                    .equal(at::tensor({2., 5., 9.}, at::kDouble).reshape({1, 3})));
  }
}

TEST(InputMoments, OfAConvolutionCountEveryPosition) {
  const auto tiny = testing::make_tiny_model("cnn");
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  const at::Tensor x = at::randn({4, 3, 12, 12}, at::detail::createCPUGenerator(1));
  // im2col has the positions of a channel's kernel beside each other, our runs its channels.
  const at::Tensor columns = at::im2col(x, {3, 3}, {1, 1}, {1, 1}, {1, 1})
                                 .reshape({4, 3, 9, -1})
                                 .permute({2, 1, 0, 3})
                                 .reshape({27, -1})
                                 .to(at::kDouble);
  const at::Tensor expected = at::matmul(columns, columns.t());
  const at::Tensor products = moments_of(model, Moment::kProducts, x, 3).at("conv1.weight");
  EXPECT_TRUE(products[0].allclose(expected, 1e-4, 1e-3));
  const at::Tensor squares = moments_of(model, Moment::kSquares, x, 3).at("conv1.weight");
  EXPECT_TRUE(squares[0].allclose(expected.diagonal(), 1e-4, 1e-3));
}

TEST(InputMoments, RefuseInputsThatAreNotFinite) {
  const Model model = testing::linear_model(at::ones({1, 2}), at::zeros({1}));
  const at::Tensor x = at::tensor({1.F, std::nanf("")}).reshape({1, 2});
  testing::expect_error(ExitCode::kData, "fc are not finite",
                        [&] { moments_of(model, Moment::kSquares, x, 1); });
}

TEST(InputMoments, NeedCalibrationData) {
  const Model model = testing::linear_model(at::ones({1, 2}), at::zeros({1}));
  Progress progress;
  const DataSets none;
  testing::expect_error(
      ExitCode::kData, "no calibration samples",
      [&] { sum_input_moments(model, {}, &none, progress); }, "data.calibration");
}

}  // namespace
}  // namespace edgecompress
