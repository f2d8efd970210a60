// The canonical form of networks that stock PyTorch saved. The oracle is the file as it is stored.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "model/layers.h"
#include "model/model.h"
#include "model/runtime.h"

namespace edgecompress {
namespace {

using torch::jit::testing::FileCheck;

struct Network {
  std::string name;
  std::vector<std::int64_t> shape;
};

const std::vector<Network>& networks() {
  static const std::vector<Network> all = {{"resnet18", {2, 3, 64, 64}},
                                           {"mobilenet_v2", {2, 3, 64, 64}},
                                           {"mobilenet_v3_small", {2, 3, 64, 64}},
                                           {"densenet121", {2, 3, 64, 64}},
                                           {"squeezenet1_1", {2, 3, 64, 64}},
                                           {"googlenet", {2, 3, 64, 64}},
                                           {"vit", {2, 3, 32, 32}},
                                           {"lstm", {2, 9, 6}},
                                           {"gru", {2, 9, 6}}};
  return all;
}

/// A folder of its own that is gone at the end.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "canonical_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

at::Tensor batch_of(std::vector<std::int64_t> shape, std::int64_t size) {
  shape[0] = size;
  std::int64_t count = 1;
  for (const auto extent : shape) count *= extent;
  return at::sin(at::arange(count, at::kFloat)).reshape(shape);
}

/// Mean squared distance to an arbitrary target; one step of gradient descent must lower it.
double train_step(Model& model, const at::Tensor& input, double learning_rate) {
  auto parameters = model.named_parameters();
  for (auto& parameter : parameters) {
    parameter.second.set_requires_grad(true);
    parameter.second.mutable_grad() = at::Tensor();
  }
  const at::AutoGradMode with_gradients(true);
  const at::Tensor output = model.forward({input})[0];
  const at::Tensor target = at::cos(at::arange(output.numel(), at::kFloat)).reshape_as(output);
  const at::Tensor loss = at::mse_loss(output, target);
  loss.backward();
  const at::NoGradGuard no_gradients;
  for (auto& parameter : parameters) {
    if (parameter.second.grad().defined()) {
      parameter.second.sub_(parameter.second.grad(), learning_rate);
    }
  }
  return loss.item<double>();
}

class CanonicalTorchvision : public ::testing::TestWithParam<std::tuple<Network, std::string>> {
 protected:
  static void SetUpTestSuite() { initialise_runtime(); }

  void SetUp() override {
    const std::string command = "/usr/bin/python3 -W ignore " EDGECOMPRESS_SOURCE_DIR
                                "/tests/support/make_torchvision_models.py " +
                                folder_.path().string() + " " + network().name + " 2>&1";
    if (std::system(command.c_str()) != 0)
      GTEST_SKIP() << "stock PyTorch could not save the network";
    file_ = folder_.path() / (network().name + "_" + std::get<1>(GetParam()) + ".pt");
  }

  const Network& network() const { return std::get<0>(GetParam()); }

  Folder folder_;
  std::filesystem::path file_;
};

void expect_straight_and_functional(const Model& model) {
  FileCheck()
      .check_not("prim::CallMethod")
      ->check_not("prim::If")
      ->check_not("prim::Loop")
      ->check_not("relu_(")
      ->check_not("add_(")
      ->check_not("aten::_convolution")
      ->check_not("aten::addmm")
      ->run(model.graph());
}

void expect_original_names(const Model& model, const torch::jit::Module& stored) {
  std::set<std::string> names;
  for (const auto& attribute : stored.named_attributes()) names.insert(attribute.name);
  for (const Layer& layer : find_layers(const_cast<Model&>(model))) {
    for (const std::string& weight : layer.weights) EXPECT_EQ(names.count(weight), 1u) << weight;
  }
}

TEST_P(CanonicalTorchvision, AnswersAsStoredInOneStraightGraphThatTrains) {
  const at::NoGradGuard no_gradients;
  torch::jit::Module stored = load_as_stored(file_);
  stored.eval();
  Model model = Model::load(file_, {{network().shape, "float32", 2}});
  SCOPED_TRACE(model.graph().toString());
  expect_straight_and_functional(model);
  expect_original_names(model, stored);

  for (const std::int64_t size : {2, 3}) {
    const auto input = batch_of(network().shape, size);
    const auto expected = flatten_outputs(stored.forward({input}));
    EXPECT_TRUE(at::allclose(model.forward({input})[0], expected[0], 1e-4, 1e-5));
  }

  const auto written = folder_.path() / "written.pt";
  model.save(written);
  const auto input = batch_of(network().shape, 2);
  EXPECT_TRUE(at::equal(flatten_outputs(load_as_stored(written).forward({input}))[0],
                        model.forward({input})[0]));

  const Model before = model.clone();
  model.set_training(true);
  const auto batch = batch_of(network().shape, 8);
  at::manual_seed(1);
  const double first = train_step(model, batch, 0.02);
  double last = first;
  for (int step = 0; step < 5; ++step) last = train_step(model, batch, 0.02);
  EXPECT_LT(last, first);
  for (const auto& buffer : before.module().named_buffers()) {
    if (buffer.name.find("running_mean") == std::string::npos) continue;
    EXPECT_FALSE(at::equal(buffer.value, model.tensor(buffer.name))) << buffer.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, CanonicalTorchvision,
                         ::testing::Combine(::testing::ValuesIn(networks()),
                                            ::testing::Values("scripted", "traced")),
                         [](const auto& parameters) {
                           return std::get<0>(parameters.param).name + "_" +
                                  std::get<1>(parameters.param);
                         });

}  // namespace
}  // namespace edgecompress
