// The contract suite: every pass on every tiny network. A new pass is tested here from the day it
// is in passes.def.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "edgecompress/error.h"
#include "eval/evaluate.h"
#include "model/model.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "support/tiny_models.h"
#include "util/file.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using testing::TinyModel;

/// Where networks pass between the suite and stock PyTorch: pytorch_models/ holds those that it
/// made, contract_models/ gets those that it shall load. A temporary folder where the suite runs on
/// its own.
fs::path exchange_folder(const std::string& name) {
  const char* folder = std::getenv("EDGECOMPRESS_CONTRACT_FOLDER");
  return fs::path(folder != nullptr ? folder : ::testing::TempDir()) / name;
}

struct Case {
  std::string pass;
  std::string model;
  std::string origin;  ///< text, traced, scripted
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const PassSpec& pass : pass_registry()) {
    for (const std::string& model : testing::tiny_model_names()) {
      for (const char* origin : {"text", "traced", "scripted"}) {
        cases.push_back({pass.description.name, model, origin});
      }
    }
  }
  return cases;
}

/// The pass's own defaults, but as little training as there can be.
Json quick_options(const PassDescription& pass) {
  Json given = Json::object();
  if (pass.options.find("epochs") != nullptr) given["epochs"] = 1;
  return pass.options.resolve(given, "");
}

class ContractTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    initialise_runtime();
    set_threads(1);
    tiny_ = std::make_unique<TinyModel>(testing::make_tiny_model(GetParam().model));
    if (GetParam().origin == "text") {
      original_ = std::make_unique<Model>(Model::from_module(tiny_->module, tiny_->inputs));
    } else {
      const fs::path file =
          exchange_folder("pytorch_models") / (GetParam().model + "_" + GetParam().origin + ".pt");
      if (!fs::exists(file))
        GTEST_SKIP() << "stock PyTorch is not installed: no " << file.filename();
      if (GetParam().model == "cnn") tiny_->inputs = {{{1, 3, 8, 8}}};
      original_ = std::make_unique<Model>(Model::load(file, tiny_->inputs));
    }
    data_.train = testing::make_tiny_data(*tiny_, 48, 1);
    data_.calibration = testing::make_tiny_data(*tiny_, 32, 2);
    data_.validation = testing::make_tiny_data(*tiny_, 32, 3);
    data_.train_batch = data_.calibration_batch = data_.validation_batch = 16;
    inputs_ = original_->example_inputs(5, 11);
  }

  PassResult run(Model& model, std::uint64_t seed = 7) {
    const PassSpec& spec = find_pass(GetParam().pass);
    PassContext context{progress_};
    context.seed = seed;
    context.data = &data_;
    context.load_network = [this](const std::string&) { return original_->clone(); };
    context.score = [this](const Forward& forward) {
      return evaluate_score(forward, *data_.validation, 16, "top1", "validation", progress_);
    };
    return spec.make(quick_options(spec.description))->run(model, context);
  }

  static std::vector<at::Tensor> outputs_of(const Model& model,
                                            const std::vector<at::Tensor>& inputs) {
    const at::NoGradGuard no_grad;
    return model.forward(inputs);
  }

  static std::string bytes_of(const Model& model) {
    const fs::path file =
        fs::path(::testing::TempDir()) / ("contract-" + std::to_string(::getpid()) + ".pt");
    model.save(file);
    std::string bytes = read_file(file, ExitCode::kModel, std::int64_t{1} << 30);
    fs::remove(file);
    return bytes;
  }

  std::unique_ptr<TinyModel> tiny_;
  std::unique_ptr<Model> original_;
  DataSets data_;
  std::vector<at::Tensor> inputs_;
  Progress progress_;
};

void expect_equal(const std::vector<at::Tensor>& left, const std::vector<at::Tensor>& right) {
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    EXPECT_TRUE(left[i].equal(right[i]))
        << "output " << i << " differs by " << (left[i] - right[i]).abs().max().item<double>();
  }
}

TEST_P(ContractTest, KeepsShapesAndLeavesTheOriginalAlone) {
  const std::vector<at::Tensor> before = outputs_of(*original_, inputs_);
  Model model = original_->clone();
  const PassResult result = run(model);
  const std::vector<at::Tensor> after = outputs_of(model, inputs_);

  expect_equal(before, outputs_of(*original_, inputs_));
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].sizes(), after[i].sizes());
    EXPECT_EQ(before[i].scalar_type(), after[i].scalar_type());
    EXPECT_TRUE(after[i].isfinite().all().item<bool>());
  }
  if (!result.changed) {
    expect_equal(before, after);
    EXPECT_FALSE(result.note.empty()) << "a pass that changes nothing says why";
  }
}

TEST_P(ContractTest, GivesTheSameBytesForTheSameSeed) {
  Model first = original_->clone();
  Model second = original_->clone();
  run(first);
  run(second);
  EXPECT_EQ(bytes_of(first), bytes_of(second));
}

TEST_P(ContractTest, GivesTheSameOutputsAfterSavingAndLoading) {
  Model model = original_->clone();
  run(model);
  const std::vector<at::Tensor> outputs = outputs_of(model, inputs_);

  const fs::path folder = exchange_folder("contract_models");
  fs::create_directories(folder);
  const fs::path stem =
      folder / (GetParam().pass + "-" + GetParam().model + "-" + GetParam().origin);
  const fs::path file = stem.string() + ".pt";
  model.save(file);
  {
    const at::NoGradGuard no_grad;
    torch::jit::Module loaded = load_as_stored(file);
    std::vector<c10::IValue> arguments(inputs_.begin(), inputs_.end());
    expect_equal(outputs, flatten_outputs(loaded.forward(arguments)));
  }
  c10::Dict<std::string, std::vector<at::Tensor>> tensors;
  tensors.insert("inputs", inputs_);
  tensors.insert("outputs", outputs);
  const std::vector<char> pickled = torch::jit::pickle_save(tensors);
  write_file_atomic(stem.string() + ".tensors", {pickled.data(), pickled.size()});
}

INSTANTIATE_TEST_SUITE_P(AllPasses, ContractTest, ::testing::ValuesIn(all_cases()),
                         [](const auto& test) {
                           return test.param.pass + "_" + test.param.model + "_" +
                                  test.param.origin;
                         });

/// An option that no pass has is refused, by name, by all of them.
TEST(PassOptions, UnknownOptionIsRefusedByEveryPass) {
  for (const PassSpec& pass : pass_registry()) {
    try {
      pass.description.options.resolve({{"no_such_option", 1}}, "/passes/0");
      ADD_FAILURE() << pass.description.name << " took it";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kRecipe);
      EXPECT_NE(std::string(error.what()).find("no_such_option"), std::string::npos)
          << error.what();
    }
  }
}

/// Every option is documented, and every default passes its own checks.
TEST(PassOptions, EveryDefaultIsValidAndEveryOptionIsDocumented) {
  for (const PassSpec& pass : pass_registry()) {
    EXPECT_FALSE(pass.description.summary.empty());
    const Json defaults = pass.description.options.resolve(Json::object(), "");
    EXPECT_EQ(pass.description.options.resolve(defaults, ""), defaults) << pass.description.name;
    EXPECT_NE(pass.make(defaults), nullptr);
    for (const Option& option : pass.description.options.options()) {
      EXPECT_FALSE(option.help.empty()) << pass.description.name << "." << option.name;
    }
  }
}

}  // namespace
}  // namespace edgecompress
