#include "int8/int8_portable.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "int8/int8_dynamic.h"
#include "int8/int8_rewrite.h"
#include "support/int8_schemes.h"
#include "support/temporary_folder.h"
#include "support/tiny_models.h"
#include "util/file.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// A network in INT8, and in its portable form.
struct BothForms {
  explicit BothForms(const std::string& name) {
    const auto tiny = testing::make_tiny_model(name);
    Model model = Model::from_module(tiny.module, tiny.inputs);
    const Int8Scheme scheme =
        testing::make_int8_scheme(model, testing::make_tiny_data(tiny, 32, 2));
    int8.emplace(model.clone());
    int8_layers = rewrite_static_int8(*int8, scheme.on(*int8));
    portable.emplace(model.clone());
    portable_layers = rewrite_portable_int8(*portable, scheme.on(*portable));
    inputs = model.example_inputs(16, 3);
  }

  std::optional<Model> int8, portable;
  std::vector<Int8Layer> int8_layers, portable_layers;
  std::vector<at::Tensor> inputs;
};

/// While it lives, this process has no INT8 kernels.
class NoEngine {
 public:
  NoEngine() : engine_(at::globalContext().qEngine()) {
    at::globalContext().setQEngine(at::QEngine::NoQEngine);
  }
  ~NoEngine() { at::globalContext().setQEngine(engine_); }

 private:
  at::QEngine engine_;
};

TEST(Int8Portable, RunsWithoutAnEngineWhereInt8DoesNot) {
  const testing::TemporaryFolder folder;
  BothForms forms("residual_cnn");
  forms.int8->save(folder.path() / "int8.pt");
  forms.portable->save(folder.path() / "portable.pt");
  const at::Tensor expected = forms.portable->forward(forms.inputs)[0];
  const std::vector<c10::IValue> inputs(forms.inputs.begin(), forms.inputs.end());

  const NoEngine none;
  torch::jit::Module portable = load_as_stored(folder.path() / "portable.pt");
  EXPECT_TRUE(flatten_outputs(portable.forward(inputs))[0].equal(expected));
  EXPECT_ANY_THROW(load_as_stored(folder.path() / "int8.pt").forward(inputs));
}

TEST(Int8Portable, RunsInStockPyTorchWithoutAnEngine) {
  const testing::TemporaryFolder folder;
  BothForms forms("transformer");
  forms.portable->save(folder.path() / "model.pt");
  c10::Dict<std::string, std::vector<at::Tensor>> tensors;
  tensors.insert("inputs", forms.inputs);
  tensors.insert("outputs", forms.portable->forward(forms.inputs));
  const std::vector<char> bytes = torch::jit::pickle_save(tensors);
  write_file_atomic(folder.path() / "batch.tensors", {bytes.data(), bytes.size()});

  const fs::path printed = folder.path() / "difference";
  const std::string command = "/usr/bin/python3 " EDGECOMPRESS_SOURCE_DIR
                              "/tests/int8/run_without_engine.py " +
                              folder.path().string() + " > " + printed.string();
  const int status = WEXITSTATUS(std::system(command.c_str()));
  if (status == 77 || status == 127) GTEST_SKIP() << "stock PyTorch is not installed";
  ASSERT_EQ(status, 0);
  EXPECT_LT(std::stod(read_file(printed, ExitCode::kInternal, 1000)), 1e-5);
}

TEST(Int8Portable, IsAsSmallAsTheInt8File) {
  const testing::TemporaryFolder folder;
  const auto size_of = [&](const Model& model) {
    model.save(folder.path() / "model.pt");
    return static_cast<double>(fs::file_size(folder.path() / "model.pt"));
  };
  const at::Tensor weight = at::randn({256, 256}), bias = at::randn({256});
  torch::jit::Module net("__torch__.Net");
  net.register_parameter("weight", weight, false);
  net.register_parameter("bias", bias, false);
  net.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
  Model model = Model::from_module(net, {{{1, 256}}});
  const Int8Scheme scheme = testing::make_int8_scheme(
      model, std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::randn({8, 256})}));
  Model int8 = model.clone(), portable = model.clone();
  rewrite_static_int8(int8, scheme.on(int8));
  rewrite_portable_int8(portable, scheme.on(portable));
  EXPECT_LT(size_of(portable) / size_of(int8), 1.1);
  EXPECT_LT(size_of(portable) / size_of(model), 0.35);
}

/// In floats: what rounding weights does, and nothing else.
TEST(Int8Portable, StoresTheWeightsOfDynamicInt8) {
  for (const char* name : {"lstm", "gru", "transformer"}) {
    const auto tiny = testing::make_tiny_model(name);
    Model original = Model::from_module(tiny.module, tiny.inputs);
    Model portable = original.clone(), rounded = original.clone();
    DynamicInt8Options options;
    options.is_portable = true;
    const auto layers = rewrite_dynamic_int8(portable, LayerFilter({}, {}), options);
    EXPECT_TRUE(std::any_of(layers.begin(), layers.end(),
                            [](const Int8Layer& layer) { return layer.is_int8; }));
    for (const auto& [weight, tensor] : original.named_parameters()) {
      const bool is_rnn = weight.find("_l0") != std::string::npos;
      if (tensor.dim() == 2 && !portable.has_attribute(weight))
        rounded.set_tensor(weight, dequantize(quantize_weight(tensor, {/*per_channel=*/!is_rnn})));
    }
    const auto inputs = original.example_inputs(4, 1);
    const NoEngine none;
    EXPECT_TRUE(portable.forward(inputs)[0].allclose(rounded.forward(inputs)[0], 1e-5, 1e-6))
        << name;
    EXPECT_FALSE(portable.forward(inputs)[0].equal(original.forward(inputs)[0])) << name;
  }
}

TEST(Int8Portable, NamesTheLayersOfTheInt8File) {
  const BothForms forms("transformer");
  ASSERT_EQ(forms.portable_layers.size(), forms.int8_layers.size());
  for (std::size_t i = 0; i < forms.int8_layers.size(); ++i) {
    EXPECT_EQ(forms.portable_layers[i].name, forms.int8_layers[i].name);
    EXPECT_EQ(forms.portable_layers[i].is_int8, forms.int8_layers[i].is_int8);
  }
}

}  // namespace
}  // namespace edgecompress
