// Training against stock PyTorch: the same network, batches and settings give the same losses and
// the same weights.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <numeric>

#include "data/tensor_dataset.h"
#include "support/tiny_models.h"
#include "train/trainer.h"
#include "util/file.h"
#include "util/random.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

struct Ran {
  int status = -1;
  std::string output;
};

Ran run_command(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe)) {
    ran.output.append(buffer, size);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) ran.status = WEXITSTATUS(status);
  return ran;
}

struct Case {
  const char* network;
  const char* optimizer;
  const char* loss = "cross_entropy";
  const char* schedule = "cosine";
};

/// What the network is to give, in the loss's own kind.
at::Tensor targets_for(const std::string& loss, std::int64_t samples, std::int64_t outputs) {
  const at::Tensor numbers =
      at::rand({samples, outputs}, at::make_generator<at::CPUGeneratorImpl>(7));
  return loss == "bce" ? numbers : 2 * numbers - 1;
}

class StockPyTorch : public ::testing::TestWithParam<Case> {
 protected:
  StockPyTorch()
      : folder_(fs::path(::testing::TempDir()) / ("training-" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~StockPyTorch() override { fs::remove_all(folder_); }

  /// What the loop will read, in its order.
  void write_batches(const TrainTask& task) const {
    std::vector<at::Tensor> inputs, targets;
    for (std::int64_t epoch = 1; epoch <= task.options.epochs; ++epoch) {
      Loader loader(task.data, task.batch_size, derive_seed(task.seed, "order"), epoch);
      for (Batch batch; loader.next(batch);) {
        inputs.push_back(batch.inputs.at(0));
        targets.push_back(batch.target);
      }
    }
    c10::Dict<std::string, std::vector<at::Tensor>> tensors;
    tensors.insert("inputs", inputs);
    tensors.insert("targets", targets);
    const std::vector<char> bytes = torch::jit::pickle_save(tensors);
    write_file_atomic(folder_ / "batches.tensors", {bytes.data(), bytes.size()});
  }

  fs::path folder_;
};

TEST_P(StockPyTorch, TrainsToTheSameLossesAndWeights) {
  const auto tiny = testing::make_tiny_model(GetParam().network);
  tiny.module.save((folder_ / "model.pt").string());
  Model model = Model::from_module(tiny.module, tiny.inputs);

  TrainTask task;
  task.name = "test";
  task.parameters = floating_parameters(model);
  task.options.epochs = 3;
  task.options.clip_grad_norm = 1;
  const bool is_sgd = GetParam().optimizer == std::string("sgd");
  task.options.optimizer = {GetParam().optimizer, is_sgd ? 0.05 : 0.01, 0.9, is_sgd, 0.01};
  task.options.schedule.name = GetParam().schedule;
  const std::string loss = GetParam().loss;
  task.loss = target_loss({loss, loss == "cross_entropy" ? 0.1 : 0});
  task.data = testing::make_tiny_data(tiny, 96, 1);
  if (loss != "cross_entropy") {
    std::vector<std::int64_t> all(96);
    std::iota(all.begin(), all.end(), 0);
    task.data = std::make_shared<TensorDataset>(task.data->read(all, 0).inputs,
                                                targets_for(loss, 96, tiny.classes));
  }
  task.batch_size = 32;
  task.seed = 11;
  write_batches(task);

  const Ran stock =
      run_command("/usr/bin/python3 " EDGECOMPRESS_SOURCE_DIR "/tests/train/train_in_pytorch.py " +
                  folder_.string() + " " + GetParam().optimizer + " " + loss + " " +
                  GetParam().schedule + " 2>/dev/null");
  if (stock.status == 77 || stock.status == 127) GTEST_SKIP() << "stock PyTorch is not installed";
  ASSERT_EQ(stock.status, 0);
  const Json expected = Json::parse(stock.output);

  Progress progress;
  const TrainResult result = train(model, task, progress);
  ASSERT_EQ(result.losses.size(), 3U);
  for (std::size_t epoch = 0; epoch < 3; ++epoch) {
    double mean = 0;
    for (std::size_t i = 0; i < 3; ++i) mean += expected["losses"][3 * epoch + i].get<double>() / 3;
    EXPECT_NEAR(result.losses[epoch], mean, 1e-5) << "epoch " << epoch + 1;
  }
  for (const auto& [name, values] : expected["weights"].items()) {
    if (!model.has_attribute(name)) continue;  // what the network does not read is dropped
    const at::Tensor ours = model.tensor(name).detach().flatten();
    const at::Tensor theirs = at::tensor(values.get<std::vector<float>>());
    EXPECT_LT((ours - theirs).abs().max().item<double>(), 1e-4) << name;
  }
}

// Not AdamW with a bias before a batch norm: its gradient is rounding noise around 0, which AdamW
// scales up to whole steps.
INSTANTIATE_TEST_SUITE_P(
    TinyNetworks, StockPyTorch,
    ::testing::Values(Case{"cnn", "sgd"}, Case{"lstm", "adamw"}, Case{"residual_cnn", "sgd"},
                      Case{"depthwise_cnn", "sgd"}, Case{"conv1d", "sgd"}, Case{"lstm", "sgd"},
                      Case{"lstm", "adam"}, Case{"lstm", "adamw", "bce"},
                      Case{"lstm", "sgd", "mse"}, Case{"lstm", "adam", "l1"},
                      Case{"cnn", "sgd", "cross_entropy", "one_cycle"}),
    [](const auto& test) {
      const Case& c = test.param;
      return std::string(c.network) + "_" + c.optimizer + "_" + c.loss + "_" + c.schedule;
    });

}  // namespace
}  // namespace edgecompress
