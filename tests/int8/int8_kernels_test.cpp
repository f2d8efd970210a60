#include "int8/int8_kernels.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "int8/int8_rewrite.h"
#include "model/runtime.h"
#include "support/int8_schemes.h"

namespace edgecompress {
namespace {

using testing::make_int8_scheme;
using torch::jit::Module;

at::Tensor drawn(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

constexpr std::uint64_t kInputSeed = 3;
constexpr double kInputDeviation = 2;

/// What stands between two layers that change nothing and whose weights INT8 holds exactly.
struct Between {
  std::string code;                 ///< of x, an INT8 value
  std::vector<std::int64_t> shape;  ///< of x
  /// How far the result moves where every number of x moves by at most 1.
  double slope = 1;
};

Module network_around(const Between& between) {
  const std::int64_t channels = between.shape[1];
  const std::size_t rank = between.shape.size() - 2;
  Module net("__torch__.Net");
  std::vector<std::int64_t> one{channels, 1};
  one.resize(between.shape.size(), 1);
  net.register_parameter("one", at::ones(one), false);
  net.register_parameter("eye", at::eye(channels), false);
  net.register_parameter("weight", at::linspace(0.5, 1, channels), false);
  net.register_parameter("last", at::linspace(0.5, 1, between.shape.back()), false);
  net.register_parameter("bias", at::linspace(-0.5, 0.5, channels), false);
  net.register_buffer("mean", at::linspace(-0.5, 0.5, channels));
  net.register_buffer("variance", at::linspace(1, 2, channels));
  const auto list = [&](const char* number) {
    std::string text = number;
    for (std::size_t i = 1; i < rank; ++i) text += std::string(", ") + number;
    return "[" + text + "]";
  };
  const std::string first =
      rank == 0 ? "torch.linear(x, self.eye)"
                : "torch.conv" + std::to_string(rank) + "d(x, self.one, None, " + list("1") + ", " +
                      list("0") + ", " + list("1") + ", " + std::to_string(channels) + ")";
  const std::string body = "  x = " + first + "\n  y = " + between.code + "\n";
  Module probe = net.clone();
  probe.define("def forward(self, x):\n" + body + "  return y\n");
  const auto numbers =
      probe.forward({at::zeros(between.shape)}).toTensor().numel() / between.shape[0];
  net.register_parameter("identity", at::eye(numbers), false);
  net.define("def forward(self, x):\n" + body +
             "  return torch.linear(torch.flatten(y, 1), self.identity)\n");
  net.eval();
  return net;
}

std::int64_t count(const std::string& graph, const std::string& op) {
  std::int64_t found = 0;
  for (auto at = graph.find(op); at != std::string::npos; at = graph.find(op, at + 1)) ++found;
  return found;
}

/// |f8(q(x)) - f(x)| <= slope step_x / 2 + step_y / 2 + step_z / 2: x is rounded once (the first
/// layer's range is its input's), f's result once to its own range or its input's, what the last
/// layer makes once to that layer's.
void expect_within_bound(const Between& between) {
  const at::Tensor input = drawn(between.shape, kInputSeed) * kInputDeviation;
  Model model = Model::from_module(network_around(between), {{between.shape}});
  const at::Tensor expected = model.forward({input})[0];
  const Int8Scheme scheme =
      make_int8_scheme(model, std::make_shared<TensorDataset>(std::vector<at::Tensor>{input}));
  ASSERT_EQ(scheme.plan.float_layers.size(), 0)
      << between.code << ": " << scheme.plan.float_layers[0].name << ", "
      << scheme.plan.float_layers[0].reason;
  const Int8Op& last = scheme.plan.ops.back();
  const double step_x = scheme.ranges.at(model.graph().inputs()[1]).scale,
               step_y = scheme.range_of(last.node->input(0))->scale,
               step_z = scheme.ranges.at(last.output()).scale;
  const double bound = (between.slope * step_x + step_y + step_z) / 2 * 1.001;
  rewrite_static_int8(model, scheme);
  const std::string graph = model.graph().toString();
  EXPECT_EQ(count(graph, "aten::quantize_per_tensor"), 1) << between.code << graph;
  EXPECT_EQ(count(graph, "aten::dequantize"), 1) << between.code << graph;
  const at::Tensor error = (model.forward({input})[0] - expected).abs();
  EXPECT_LE(error.max().item<double>(), bound) << between.code;
}

TEST(Int8Kernels, KeepFunctionsOfOneNumberWithinTheirBounds) {
  initialise_runtime();
  const std::vector<std::pair<std::string, double>> functions = {
      {"torch.relu(x)", 1},
      {"torch.hardtanh(x, -1.0, 1.0)", 1},
      {"torch.clamp(x, -1.0, 1.5)", 1},
      {"torch.clamp(x, max=1.0)", 1},
      {"torch.clamp(x, min=-1.0)", 1},
      {"torch.hardswish(x)", 1.5},
      {"torch.hardsigmoid(x)", 1.0 / 6},
      {"torch.sigmoid(x)", 0.25},
      {"torch.tanh(x)", 1},
      {"torch.leaky_relu(x, 0.1)", 1},
      {"torch.prelu(x, self.weight)", 1.6},  // its slopes are rounded too
      {"torch.elu(x, 1.0)", 1},
      {"torch.celu(x, 1.5)", 1},
      {"torch.selu(x)", 1.76},
      {"torch.silu(x)", 1.1},
      {"torch.mish(x)", 1.1},
      {"torch.gelu(x)", 1.13},
      {"torch.gelu(x, approximate=\"tanh\")", 1.13},
      {"torch.softplus(x)", 1},
      {"torch.log_sigmoid(x)", 1},
      {"torch.erf(x)", 1.13},
      {"torch.sin(x)", 1},
      {"torch.abs(x)", 1},
      {"torch.neg(x)", 1},
      {"torch.mul(x, 0.3)", 0.3},
      {"torch.mul(x, -2)", 2},
      {"torch.div(x, 3.0)", 0.34},
      {"torch.add(x, 3.0)", 1},
      {"torch.sub(x, 1.5)", 1},
      {"torch.rsub(x, 1.5)", 1},
      {"torch.pow(torch.tanh(x), 2)", 2}};
  expect_within_bound({"torch.silu(x)", {2, 3, 8}, 1.1});
  expect_within_bound({"torch.silu(x)", {2, 3, 3, 4, 3}, 1.1});
  for (const auto& [code, slope] : functions) {
    for (const auto& shape :
         {std::vector<std::int64_t>{4, 6}, {4, 6, 9}, {4, 6, 5, 5}, {2, 3, 3, 4, 3}}) {
      expect_within_bound({code, shape, slope});
    }
  }
}

TEST(Int8Kernels, KeepPoolingAndMeansWithinTheirBounds) {
  initialise_runtime();
  const std::vector<std::int64_t> line{3, 4, 12}, image{3, 4, 8, 8}, volume{2, 3, 4, 4, 4};
  const std::vector<Between> all = {{"torch.max_pool1d(x, [2], [2], [0], [1])", line},
                                    {"torch.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1])", image},
                                    {"torch.avg_pool1d(x, [2], [2])", line},
                                    {"torch.avg_pool2d(x, [2, 2], [2, 2])", image},
                                    {"torch.avg_pool3d(x, [2, 2, 2], [2, 2, 2])", volume},
                                    {"torch.adaptive_avg_pool1d(x, [3])", line},
                                    {"torch.adaptive_avg_pool2d(x, [1, 1])", image},
                                    {"torch.adaptive_avg_pool3d(x, [1, 1, 1])", volume},
                                    {"torch.mean(x, [2, 3])", image},
                                    {"torch.mean(x, [-1, -2], True)", image},
                                    {"torch.mean(x, [1])", line}};
  for (const Between& between : all) expect_within_bound(between);
}

TEST(Int8Kernels, MoveNumbersWithoutLoss) {
  initialise_runtime();
  const std::vector<std::int64_t> image{3, 4, 6, 6};
  for (const char* code :
       {"torch.flatten(x, 1)", "torch.reshape(x, [-1, 24, 6])", "x.view([-1, 4, 36])",
        "torch.permute(x, [0, 2, 3, 1])", "torch.transpose(x, 1, 2)", "x[:, 1:3]", "x[:, 1]",
        "torch.unsqueeze(x, 1)", "x.contiguous()", "torch.flip(x, [1])", "x.repeat([1, 2, 1, 1])",
        "torch.pixel_shuffle(x, 2)", "torch.pixel_unshuffle(x, 2)", "torch.channel_shuffle(x, 2)",
        "torch.upsample_nearest2d(x, [12, 12])", "torch.constant_pad_nd(x, [1, 2, 0, 1], 0)",
        "torch.reflection_pad2d(x, [1, 2, 0, 1])"}) {
    expect_within_bound({code, image});
  }
}

/// How far y = g (x - m) / s moves, g <= 1, where x moves by a little: m by as much at most and s,
/// the deviation of a row, too.
double slope_of_norm(const at::Tensor& rows) {
  const at::Tensor deviation = rows.std(1, /*unbiased=*/false, /*keepdim=*/true);
  const at::Tensor normal = (rows - rows.mean(1, true)) / deviation;
  return ((2 + normal.abs()) / deviation).max().item<double>() * 1.1;
}

TEST(Int8Kernels, KeepNormsWithinTheirBounds) {
  initialise_runtime();
  const std::vector<std::int64_t> image{3, 4, 6, 6};
  const at::Tensor input = drawn(image, kInputSeed) * kInputDeviation;
  const std::vector<Between> all = {
      {"torch.batch_norm(torch.relu(x), self.weight, self.bias, self.mean, self.variance, False, "
       "0.1, 1e-5, "
       "False)",
       image, 2},  // the ReLU's result is rounded too
      {"torch.layer_norm(x, [6], self.last, None, 1e-5, False)", image,
       slope_of_norm(input.reshape({-1, 6}))},
      {"torch.group_norm(x, 2, self.weight, self.bias, 1e-5, False)", image,
       slope_of_norm(input.reshape({6, -1}))},
      {"torch.instance_norm(x, self.weight, self.bias, None, None, True, 0.1, 1e-5, False)", image,
       slope_of_norm(input.reshape({12, -1}))}};
  for (const Between& between : all) expect_within_bound(between);
}

}  // namespace
}  // namespace edgecompress
