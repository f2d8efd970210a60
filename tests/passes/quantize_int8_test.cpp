#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "int8/int8_engine.h"
#include "int8/quantized.h"
#include "model/layers.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "support/tiny_models.h"
#include "util/random.h"

namespace edgecompress {
namespace {

using torch::jit::Module;
using torch::jit::testing::FileCheck;

PassResult quantize(Model& model, const Json& given, std::shared_ptr<const Dataset> calibration) {
  initialise_runtime();
  const PassSpec spec = find_pass("quantize_int8");
  DataSets data;
  data.calibration = std::move(calibration);
  data.calibration_batch = 8;
  Progress silent;
  PassContext context{silent};
  context.data = &data;
  return spec.make(spec.description.options.resolve(given, ""))->run(model, context);
}

std::shared_ptr<const Dataset> samples(const at::Tensor& inputs) {
  return std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
}

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

struct Quantized {
  Model original, model;
  PassResult result;
};

Quantized quantize_tiny(const std::string& name, const Json& options) {
  const auto tiny = testing::make_tiny_model(name);
  Model original = Model::from_module(tiny.module, tiny.inputs);
  Model model = original.clone();
  PassResult result = quantize(model, options, testing::make_tiny_data(tiny, 32, 2));
  return {std::move(original), std::move(model), std::move(result)};
}

double sqnr_db(const at::Tensor& reference, const at::Tensor& output) {
  return 10 *
         std::log10((reference.pow(2).sum() / (reference - output).pow(2).sum()).item<double>());
}

TEST(QuantizeInt8, KeepsAResidualNetworkInInt8FromEndToEnd) {
  const Quantized q = quantize_tiny("residual_cnn", Json::object());
  EXPECT_EQ(q.result.counts.at("layers_float"), 0);
  FileCheck()
      .check_count("aten::quantize_per_tensor", 1, /*exactly=*/true)
      ->check("quantized::conv2d_relu")
      ->check("quantized::add_relu")
      ->check("quantized::linear")
      ->check_count("aten::dequantize", 1, /*exactly=*/true)
      ->run(q.model.graph());
  FileCheck()
      .check_not("aten::conv2d")
      ->check_not("aten::batch_norm")
      ->check_not("aten::relu")
      ->run(q.model.graph());
}

TEST(QuantizeInt8, KeepsConcatenationAndPoolingInInt8) {
  const Quantized q = quantize_tiny("concat_cnn", Json::object());
  FileCheck()
      .check("quantized::cat")
      ->check("aten::avg_pool2d")
      ->check("aten::adaptive_avg_pool2d")
      ->check("aten::flatten")
      ->check("quantized::linear")
      ->check_count("aten::dequantize", 1, /*exactly=*/true)
      ->run(q.model.graph());
}

TEST(QuantizeInt8, StaysNearTheFloatNetwork) {
  for (const std::string& name : testing::tiny_model_names()) {
    for (const char* mode : {"static", "dynamic"}) {
      const Quantized q = quantize_tiny(name, {{"mode", mode}});
      const auto inputs = q.original.example_inputs(16, 4);
      EXPECT_GT(sqnr_db(q.original.forward(inputs)[0], q.model.forward(inputs)[0]), 20)
          << name << ", " << mode;
    }
  }
}

TEST(QuantizeInt8, StaysNearTheFloatNetworkWhateverChoosesTheRanges) {
  const std::vector<Json> choices = {{{"observer", "minmax"}},
                                     {{"observer", "moving_average"}, {"averaging_constant", 0.5}},
                                     {{"observer", "percentile"}, {"percentile", 99.9}},
                                     {{"observer", "entropy"}},
                                     {{"observer", "histogram"}, {"weight_observer", "mse"}},
                                     {{"per_channel", false}, {"weight_observer", "mse"}},
                                     {{"activation_scheme", "symmetric"}},
                                     {{"observer", "entropy"}, {"activation_scheme", "symmetric"}}};
  for (const Json& options : choices) {
    for (const char* name : {"residual_cnn", "transformer"}) {
      const Quantized q = quantize_tiny(name, options);
      const auto inputs = q.original.example_inputs(16, 4);
      EXPECT_GT(sqnr_db(q.original.forward(inputs)[0], q.model.forward(inputs)[0]), 20)
          << name << ", " << options;
    }
  }
}

TEST(QuantizeInt8, GivesActivationsOfBothSignsTheMiddleZeroPointOnRequest) {
  const Quantized q = quantize_tiny("residual_cnn", {{"activation_scheme", "symmetric"}});
  for (const Json& layer : q.result.details.at("layers")) {
    const auto zero_point = layer.at("zero_point").get<std::int64_t>();
    EXPECT_TRUE(zero_point == 0 || zero_point == 128) << layer;
  }
}

TEST(QuantizeInt8, RemovesTheFloatWeights) {
  const Quantized q = quantize_tiny("cnn", Json::object());
  EXPECT_TRUE(q.model.named_parameters().empty());
}

TEST(QuantizeInt8, NamesEveryLayerAndWhyItStaysFloat) {
  const Quantized q = quantize_tiny("transformer", {{"exclude", {"^fc1$"}}});
  std::map<std::string, Json> layers;
  for (const Json& layer : q.result.details.at("layers"))
    layers[layer.at("layer").get<std::string>()] = layer;
  EXPECT_EQ(layers.at("fc1").at("state"), "float");
  EXPECT_EQ(layers.at("fc1").at("reason"), "the recipe excludes it");
  EXPECT_EQ(layers.at("norm1").at("state"), "int8");
  EXPECT_EQ(layers.at("fc2").at("state"), "int8");
  EXPECT_GT(layers.at("fc2").at("scale").get<double>(), 0);
}

TEST(QuantizeInt8, NamesFloatOpsBetweenInt8Ops) {
  const Quantized q = quantize_tiny("transformer", Json::object());
  std::set<std::string> ops;
  for (const Json& island : q.result.details.at("float_islands"))
    ops.insert(island.at("op").get<std::string>());
  EXPECT_TRUE(ops.count("aten::softmax")) << q.result.details.at("float_islands").dump();
  EXPECT_TRUE(quantize_tiny("cnn", Json::object()).result.details.at("float_islands").empty());
}

TEST(QuantizeInt8, StoresEmbeddingTablesInInt8) {
  Module net("__torch__.Net");
  net.register_parameter("words", normal({9, 6}, 1), false);
  net.register_parameter("weight", normal({4, 6}, 2), false);
  net.define(
      "def forward(self, i):\n"
      "  x = torch.mean(torch.embedding(self.words, i, -1, False, False), [1])\n"
      "  return torch.linear(x, self.weight)\n");
  InputSpec indices{{2, 5}, "int64"};
  indices.high = 9;
  for (const char* mode : {"static", "dynamic"}) {
    Model model = Model::from_module(net, {indices});
    const PassResult result =
        quantize(model, {{"mode", mode}}, samples(at::arange(45).reshape({9, 5}).remainder(9)));
    EXPECT_EQ(result.counts.at("layers_int8"), 2) << result.details.dump();
    EXPECT_TRUE(model.named_parameters().empty());
    EXPECT_EQ(result.details.at("layers").at(0).at("state"), "int8");
  }
}

TEST(QuantizeInt8, MakesLinearLayersAndRnnsDynamic) {
  FileCheck()
      .check("aten::quantized_lstm")
      ->check("quantized::linear_dynamic")
      ->run(quantize_tiny("lstm", {{"mode", "dynamic"}}).model.graph());
  FileCheck()
      .check("aten::quantized_gru")
      ->run(quantize_tiny("gru", {{"mode", "dynamic"}}).model.graph());
  FileCheck()
      .check("quantized::linear_relu_dynamic")
      ->run(quantize_tiny("mlp", {{"mode", "dynamic"}}).model.graph());
}

TEST(QuantizeInt8, LeavesRnnsFloatInStaticModeOnRequest) {
  const Quantized q = quantize_tiny("lstm", {{"dynamic_rnn", false}});
  FileCheck().check("aten::lstm")->check("quantized::linear")->run(q.model.graph());
  EXPECT_EQ(q.result.details.at("layers").at(0).at("state"), "float");
  const Quantized dynamic = quantize_tiny("lstm", Json::object());
  FileCheck().check("aten::quantized_lstm")->run(dynamic.model.graph());
}

TEST(QuantizeInt8, GivesTheSameOutputsAfterSaveAndLoad) {
  for (const std::string& name : testing::tiny_model_names()) {
    const Quantized q = quantize_tiny(name, Json::object());
    const auto file = std::filesystem::path(::testing::TempDir()) / ("int8_" + name + ".pt");
    q.model.save(file);
    const auto inputs = q.model.example_inputs(3, 6);
    Module stored = load_as_stored(file);
    const at::Tensor output = flatten_outputs(stored.forward({inputs.begin(), inputs.end()}))[0];
    EXPECT_TRUE(output.equal(q.model.forward(inputs)[0])) << name;
    std::filesystem::remove(file);
  }
}

TEST(QuantizeInt8, PacksForTheEngineThatTheRecipeNames) {
  const std::string before = int8_engine();
  for (const std::string& engine : int8_engines()) {
    for (const char* mode : {"static", "dynamic"}) {
      const Quantized q = quantize_tiny("residual_cnn", {{"engine", engine}, {"mode", mode}});
      EXPECT_EQ(q.result.details.at("engine"), engine);
      EXPECT_EQ(int8_engine(), before) << "restored";
      const auto inputs = q.original.example_inputs(16, 4);
      EXPECT_GT(sqnr_db(q.original.forward(inputs)[0], q.model.forward(inputs)[0]), 20) << engine;
    }
  }
}

TEST(QuantizeInt8, RestoresTheEngineWhenItFails) {
  const std::string before = int8_engine();
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  for (const std::string& engine : int8_engines()) {
    EXPECT_THROW(quantize(model, {{"engine", engine}}, nullptr), Error);
    EXPECT_EQ(int8_engine(), before);
  }
}

TEST(QuantizeInt8, NamesTheEnginesThatThereAreBeforeAnyWork) {
  const auto engines = int8_engines();
  for (const char* engine : {"onednn", "qnnpack", "fbgemm", "x86"}) {
    if (std::find(engines.begin(), engines.end(), engine) != engines.end()) continue;
    const PassSpec spec = find_pass("quantize_int8");
    try {
      spec.make(spec.description.options.resolve({{"engine", engine}}, ""));
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kRecipe);
      EXPECT_NE(std::string(error.what()).find(engines.at(0)), std::string::npos);
    }
  }
}

TEST(QuantizeInt8, SaysHowManyBitsWeightsHaveAndWhy) {
  const auto weights = [](const Json& options) {
    return quantize_tiny("cnn", options).result.details.at("weights").get<std::string>();
  };
  EXPECT_EQ(weights(Json::object()).substr(0, 6), "7 bits");
  EXPECT_EQ(weights({{"reduce_range", false}}).substr(0, 6), "8 bits");
}

TEST(QuantizeInt8, RefusesAnEmptyCalibrationSet) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  try {
    quantize(model, Json::object(), nullptr);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
  }
}

TEST(QuantizeInt8, RefusesCalibrationDataThatIsNotFinite) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  try {
    quantize(model, Json::object(), samples(at::full({4, 12}, std::nan(""))));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
  }
}

/// One random layer and the float arithmetic that bounds its INT8 form.
struct RandomLayer {
  std::int64_t rank, groups, stride, padding, dilation;
  at::Tensor weight, bias, input;
  bool has_relu, is_transposed;

  explicit RandomLayer(std::uint64_t seed) {
    Random random(seed);
    rank = random.index(4);  // 0: linear
    const std::int64_t per_group = 1 + random.index(6);
    groups = rank == 0 ? 1 : 1 + random.index(3);
    if (rank > 0 && random.coin(0.2)) groups = 8;
    const std::int64_t in = per_group * groups, out = groups * (1 + random.index(4));
    stride = 1 + random.index(2);
    padding = random.index(2);
    dilation = 1 + random.index(2);
    has_relu = random.coin();
    is_transposed = rank > 0 && random.coin(0.3);
    std::vector<std::int64_t> weight_shape = {out, in / groups}, input_shape = {16, in};
    if (is_transposed) weight_shape = {in, out / groups};
    for (std::int64_t i = 0; i < rank; ++i) {
      weight_shape.push_back(1 + random.index(3));
      input_shape.push_back(7);
    }
    weight = normal(weight_shape, seed) * random.uniform(0.05, 2);
    weight[0].zero_();
    if (random.coin()) bias = normal({out}, seed + 1);
    input = normal(input_shape, seed + 2) * random.uniform(0.1, 5) + random.uniform(-3, 3);
  }

  at::Tensor run(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const {
    if (rank == 0) return at::linear(x, w, b);
    const auto all = [&](std::int64_t value) {
      return std::vector<std::int64_t>(static_cast<std::size_t>(rank), value);
    };
    return at::convolution(x, w, b, all(stride), all(padding), all(dilation), is_transposed, all(0),
                           groups);
  }

  Module module() const {
    Module net("__torch__.Net");
    net.register_parameter("weight", weight, false);
    if (bias.defined()) net.register_parameter("bias", bias, false);
    const auto all = [&](std::int64_t value) {
      std::string text = std::to_string(value);
      for (std::int64_t i = 1; i < rank; ++i) text += ", " + std::to_string(value);
      return "[" + text + "]";
    };
    const std::string dimensions = std::to_string(rank) + "d";
    std::string call = rank == 0       ? "torch.linear"
                       : is_transposed ? "torch.conv_transpose" + dimensions
                                       : "torch.conv" + dimensions;
    call += std::string("(x, self.weight, ") + (bias.defined() ? "self.bias" : "None");
    if (is_transposed) {
      call += ", " + all(stride) + ", " + all(padding) + ", " + all(0) + ", " +
              std::to_string(groups) + ", " + all(dilation);
    } else if (rank > 0) {
      call += ", " + all(stride) + ", " + all(padding) + ", " + all(dilation) + ", " +
              std::to_string(groups);
    }
    call += ")";
    net.define("def forward(self, x):\n  return " + (has_relu ? "torch.relu(" + call + ")" : call) +
               "\n");
    net.eval();
    return net;
  }
};

/// |y_int8 - y| <= |w| * sx/2 + sw/2 * (|x| + sx/2) summed as the layer sums, + sy/2 for rounding.
TEST(QuantizeInt8, KeepsEveryLayerWithinTheBoundOfItsScales) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const RandomLayer layer(seed);
    const at::Tensor float_output = layer.run(layer.input, layer.weight, layer.bias);
    const at::Tensor expected = layer.has_relu ? float_output.relu() : float_output;
    Model model = Model::from_module(layer.module(), {{layer.input.sizes().vec()}});
    const PassResult result = quantize(model, {{"observer", "minmax"}}, samples(layer.input));
    ASSERT_EQ(result.counts.at("layers_int8"), 1) << result.details.dump();

    const double input_step =
        choose_range(layer.input.min().item<double>(), layer.input.max().item<double>()).scale;
    const double output_step = result.details.at("layers").at(0).at("scale").get<double>();
    const QuantizedWeight weight =
        quantize_weight(layer.weight, {!layer.is_transposed, kReducedWeightRange});
    std::vector<std::int64_t> per_channel(static_cast<std::size_t>(layer.weight.dim()), 1);
    per_channel[0] = weight.scales.numel();
    const at::Tensor weight_error = (weight.scales / 2)
                                        .to(at::kFloat)
                                        .reshape(per_channel)
                                        .expand_as(layer.weight)
                                        .contiguous();
    const at::Tensor ones = at::full_like(layer.input, input_step / 2);
    const at::Tensor bound = layer.run(ones, layer.weight.abs(), {}) +
                             layer.run(layer.input.abs() + input_step / 2, weight_error, {}) +
                             output_step * 0.51;
    const at::Tensor error = (model.forward({layer.input})[0] - expected).abs();
    EXPECT_LE((error / bound).max().item<double>(), 1.001)
        << "seed " << seed << ", rank " << layer.rank
        << (layer.is_transposed ? ", transposed" : "");
  }
}

/// The saturation of the range does the clamp: nothing above 6 may come out.
TEST(QuantizeInt8, ClampsAtSixByTheRangeAlone) {
  Module net("__torch__.Net");
  net.register_parameter("weight", at::full({1, 1, 1, 1}, 1.0F), false);
  net.define(
      "def forward(self, x):\n  return torch.hardtanh(torch.conv2d(x, self.weight), 0.0, 6.0)\n");
  Model model = Model::from_module(net, {{{1, 1, 2, 2}}});
  quantize(model, {{"observer", "minmax"}},
           samples(at::tensor({-8.0F, 3.0F, 8.0F, 5.0F}).reshape({1, 1, 2, 2})));
  FileCheck().check_not("hardtanh")->run(model.graph());
  const at::Tensor output =
      model.forward({at::tensor({-8.0F, 3.0F, 8.0F, 6.5F}).reshape({1, 1, 2, 2})})[0].reshape({-1});
  EXPECT_EQ(output[0].item<float>(), 0);
  EXPECT_NEAR(output[1].item<float>(), 3, 0.05);
  EXPECT_FLOAT_EQ(output[2].item<float>(), 6);
  EXPECT_FLOAT_EQ(output[3].item<float>(), 6);
}

/// mode auto on the residual network, where latency and score are what the test says.
struct AutoRun {
  Model original, model;
  PassResult result;
};

AutoRun quantize_auto(const Json& options, const std::function<double(const Model&)>& latency_share,
                      const std::function<double(const Forward&)>& score) {
  initialise_runtime();
  const auto tiny = testing::make_tiny_model("residual_cnn");
  Model original = Model::from_module(tiny.module, tiny.inputs);
  Model model = original.clone();
  DataSets data;
  data.calibration = testing::make_tiny_data(tiny, 16, 2);
  data.calibration_batch = 8;
  Progress silent;
  PassContext context{silent};
  context.data = &data;
  context.latency_share = latency_share;
  if (score) {
    context.score = [&score](const Forward& forward) {
      Score result;
      result.metric = "top1";
      result.value = score(forward);
      return result;
    };
  }
  Json all = options;
  all["mode"] = "auto";
  const PassSpec spec = find_pass("quantize_int8");
  PassResult result = spec.make(spec.description.options.resolve(all, ""))->run(model, context);
  return {std::move(original), std::move(model), std::move(result)};
}

TEST(QuantizeInt8, LeavesTheNetworkAsItIsWhereInt8IsSlower) {
  const AutoRun run = quantize_auto({}, [](const Model&) { return 1.2; }, {});
  EXPECT_FALSE(run.result.changed);
  const auto inputs = run.original.example_inputs(2);
  EXPECT_TRUE(at::equal(run.original.forward(inputs).at(0), run.model.forward(inputs).at(0)));
  EXPECT_EQ(run.result.counts.at("layers_int8"), 0);
  EXPECT_NE(run.result.note.find("faster than float"), std::string::npos);
  EXPECT_EQ(run.result.details.at("trials")[0].at("latency_share"), 1.2);
}

TEST(QuantizeInt8, KeepsLayersFloatUntilTheScoreIsWithinItsBound) {
  const Quantized all = quantize_tiny("residual_cnn", Json::object());
  const auto inputs = all.original.example_inputs(16);
  const at::Tensor exact = all.original.forward(inputs).at(0);
  const auto score = [&](const Forward& forward) {
    return -(forward(inputs).at(0) - exact).square().mean().item<double>();
  };
  const double lost_by_all = -score([&](const auto& x) { return all.model.forward(x); });
  const auto slower_if_dynamic = [](const Model& model) {
    const auto layers = find_layers(model);
    const bool is_dynamic = std::any_of(layers.begin(), layers.end(), [](const Layer& layer) {
      return op_of(layer.node).find("dynamic") != std::string::npos;
    });
    return is_dynamic ? 0.9 : 0.5;
  };
  const AutoRun run =
      quantize_auto({{"max_accuracy_drop", lost_by_all / 2}}, slower_if_dynamic, score);
  EXPECT_TRUE(run.result.changed);
  EXPECT_LE(-score([&](const auto& x) { return run.model.forward(x); }), lost_by_all / 2);
  EXPECT_GT(run.result.counts.at("layers_int8"), 0);
  EXPECT_LT(run.result.counts.at("layers_int8"), all.result.counts.at("layers_int8"));
  const Json& layers = run.result.details.at("layers");
  EXPECT_TRUE(std::any_of(layers.begin(), layers.end(), [](const Json& row) {
    return row.at("reason").get<std::string>().find("kept for accuracy") == 0;
  }));
}

}  // namespace
}  // namespace edgecompress
