#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/ir/ir.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "edgecompress/error.h"
#include "model/model.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Records = std::map<std::string, std::string>;

class Load : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path(::testing::TempDir()) /
            (std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".pt");
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

  void write_archive(const Records& records, std::uint64_t version = 3) const {
    caffe2::serialize::PyTorchStreamWriter writer(path_.string());
    writer.setMinVersion(version);
    for (const auto& [name, bytes] : records) writer.writeRecord(name, bytes.data(), bytes.size());
    writer.writeEndOfFile();
  }

  void save_tiny() const {
    const auto tiny = testing::make_tiny_model("mlp");
    tiny.module.save(path_.string());
  }

  // The archive with `from` replaced in every record that holds it; the checksums are right.
  // Without where the code came from, pickles whose lengths would be wrong then.
  void replace_in_archive(const std::string& from, const std::string& by) const {
    Records records;
    bool is_found = false;
    {
      caffe2::serialize::PyTorchStreamReader reader(path_.string());
      for (const auto& name : reader.getAllRecords()) {
        if (name == "version" || name.compare(0, 6, ".data/") == 0) continue;
        if (name.find(".debug_pkl") != std::string::npos) continue;
        const auto [data, size] = reader.getRecord(name);
        std::string bytes(static_cast<const char*>(data.get()), size);
        const auto at = bytes.find(from);
        if (at != std::string::npos) bytes.replace(at, from.size(), by);
        is_found = is_found || at != std::string::npos;
        records[name] = bytes;
      }
    }
    ASSERT_TRUE(is_found);
    write_archive(records);
  }

  // The tiny MLP's archive with its relu replaced by another function.
  void write_with_relu_replaced(const std::string& by) const {
    save_tiny();
    replace_in_archive("torch.relu(", by + "(");
  }

  // A module whose "layer.weight", [37, 3], is easily found in its pickle.
  void save_layer() const {
    torch::jit::Module layer("Layer");
    layer.register_parameter("weight", at::ones({37, 3}), false);
    torch::jit::Module module("Net");
    module.register_module("layer", layer);
    module.define("def forward(self, x):\n    return x + self.layer.weight\n");
    module.save(path_.string());
  }

  // The whole message; it must be one line and name the file.
  std::string complaint() const {
    try {
      load_as_stored(path_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kModel);
      EXPECT_FALSE(error.hint().empty());
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
      EXPECT_THAT(error.what(), Not(HasSubstr("frame #")));
      return std::string(error.what()) + " | " + error.hint();
    }
    ADD_FAILURE() << "it was loaded";
    return {};
  }

  std::filesystem::path path_;
};

TEST_F(Load, SaysThatAFileIsMissing) { EXPECT_THAT(complaint(), HasSubstr("no such model file")); }

TEST_F(Load, SaysThatAFileIsEmpty) {
  write("");
  EXPECT_THAT(complaint(), HasSubstr("empty"));
}

TEST_F(Load, KnowsAnOldPickleAndTellsHowToExport) {
  write(std::string("\x80\x02", 2) + "ccollections\nOrderedDict\n");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("pickle"), HasSubstr("torch.jit.script")));
}

TEST_F(Load, KnowsAGitLfsPointer) {
  write("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("Git LFS"), HasSubstr("git lfs pull")));
}

TEST_F(Load, KnowsAnHtmlPage) {
  write("\n<!DOCTYPE html><html><body>404</body></html>");
  EXPECT_THAT(complaint(), HasSubstr("HTML"));
}

TEST_F(Load, KnowsSafetensors) {
  write(std::string("\x40\0\0\0\0\0\0\0", 8) + R"({"weight":{"dtype":"F32"}})");
  EXPECT_THAT(complaint(), HasSubstr("safetensors"));
}

TEST_F(Load, KnowsOnnx) {
  write(std::string("\x08\x07\x12\x07", 4) + "pytorch");
  EXPECT_THAT(complaint(), HasSubstr("ONNX"));
}

TEST_F(Load, KnowsText) {
  write("just some text\n");
  EXPECT_THAT(complaint(), HasSubstr("text file"));
}

TEST_F(Load, KnowsATruncatedArchive) {
  save_tiny();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) * 2 / 3);
  EXPECT_THAT(complaint(), HasSubstr("cut off"));
}

TEST_F(Load, KnowsAStateDict) {
  write_archive({{"data.pkl", std::string("\x80\x02", 2) + "ccollections\nOrderedDict\nq."}});
  EXPECT_THAT(complaint(), AllOf(HasSubstr("state_dict"), HasSubstr("torch.jit.script")));
}

TEST_F(Load, NamesTheClassOfAPickledModule) {
  write_archive({{"data.pkl", std::string("\x80\x02", 2) + "cmynet.models\nResNet\nq."}});
  EXPECT_THAT(complaint(), AllOf(HasSubstr("mynet.models.ResNet"), HasSubstr("torch.jit.script")));
}

TEST_F(Load, KnowsALiteInterpreterFile) {
  write_archive({{"data.pkl", "x"}, {"bytecode.pkl", "x"}});
  EXPECT_THAT(complaint(), HasSubstr("lite-interpreter"));
}

TEST_F(Load, RefusesANewerFormat) {
  write_archive({{"data.pkl", "x"}, {"constants.pkl", "x"}, {"code/__torch__.py", "x"}}, 4711);
  EXPECT_THAT(complaint(), AllOf(HasSubstr("4711"), HasSubstr("newer LibTorch")));
}

TEST_F(Load, KnowsAZipOfSomethingElse) {
  write_archive({{"holiday.jpg", "x"}});
  EXPECT_THAT(complaint(), HasSubstr("not of a TorchScript model"));
}

TEST_F(Load, NamesAnUnknownOperatorAndTheOptionThatLoadsIt) {
  write_with_relu_replaced("ops.nolib.nothing");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("nolib::nothing"), HasSubstr("--op-library")));
}

TEST_F(Load, SaysThatAnUnknownTorchOperatorNeedsANewerLibTorch) {
  write_with_relu_replaced("torch.relu_of_tomorrow");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("relu_of_tomorrow"), HasSubstr("older than")));
}

TEST_F(Load, NamesTheEntryThatIsDamaged) {
  const auto tiny = testing::make_tiny_model("mlp");
  tiny.module.save(path_.string());
  const at::Tensor weight = (*tiny.module.parameters().begin()).contiguous();
  const std::string stored(static_cast<const char*>(weight.data_ptr()), 16);
  std::stringstream bytes;
  bytes << std::ifstream(path_, std::ios::binary).rdbuf();
  std::string damaged = bytes.str();
  const auto at = damaged.find(stored);
  ASSERT_NE(at, std::string::npos);
  damaged[at + 3] = static_cast<char>(damaged[at + 3] ^ 1);
  write(damaged);
  EXPECT_THAT(complaint(), AllOf(HasSubstr("the file is damaged: "), HasSubstr("/data/")));
}

TEST_F(Load, RefusesNamesThatLibTorchTakesForOne) {
  // It does not tell upper from lower case: which of the two it reads is anybody's guess.
  write_archive(
      {{"constants.pkl", "x"}, {"code/__torch__.py", "x"}, {"data.pkl", "x"}, {"Data.pkl", "y"}});
  EXPECT_THAT(complaint(), AllOf(HasSubstr("ata.pkl"), HasSubstr("twice")));
}

TEST_F(Load, RefusesATensorWithMoreRowsThanItsStorage) {
  save_layer();
  replace_in_archive("(K\x25K\x03t", "(K\x26K\x03t");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("beyond the 111 elements")));
}

TEST_F(Load, RefusesATensorWhoseStridesLeaveItsStorage) {
  save_layer();
  replace_in_archive("(K\x03K\x01t", "(K\x04K\x01t");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("beyond the 111 elements")));
}

TEST_F(Load, RefusesATensorThatBeginsTooFarBehind) {
  save_layer();
  replace_in_archive(std::string("K\0(K\x25", 5), "K\x01(K\x25");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("beyond the 111 elements")));
}

TEST_F(Load, RefusesATensorThatBeginsBeforeItsStorage) {
  save_layer();
  replace_in_archive(std::string("K\0(K\x25", 5), "J\xff\xff\xff\xff(K\x25");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("beyond the 111 elements")));
}

TEST_F(Load, RefusesSizesWhoseProductOverflows) {
  save_layer();
  const std::string huge("\x8a\x08\0\0\0\0\0\0\0\x40", 10);  // 2^62
  replace_in_archive("(K\x25K\x03t(K\x03K\x01t",
                     "(" + huge + huge + "t(" + std::string("K\0K\0t", 5));
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("beyond the 111 elements")));
}

TEST_F(Load, RefusesAStorageThatClaimsMoreThanItsRecordHolds) {
  save_layer();
  replace_in_archive("K\x6ftQ", "K\x70tQ");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("layer.weight"), HasSubstr("claims 112 elements"),
                                 HasSubstr("holds 111")));
}

TEST_F(Load, RefusesAStorageOfALargerType) {
  save_layer();
  replace_in_archive("FloatStorage", "DoubleStorage");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("claims 111 elements"), HasSubstr("holds 55")));
}

TEST_F(Load, RefusesAConstantThatReachesBeyondItsStorage) {
  torch::jit::Module module("Net");
  module.define("def forward(self, x):\n    return x\n");
  const auto graph = module.get_method("forward").graph();
  torch::jit::WithInsertPoint at_end(graph->return_node());
  graph->return_node()->replaceInput(0, graph->insertConstant(at::ones({37, 3})));
  module.save(path_.string());
  EXPECT_NO_THROW(load_as_stored(path_));
  replace_in_archive("(K\x25K\x03t", "(K\x26K\x03t");
  EXPECT_THAT(complaint(), AllOf(HasSubstr("constants.pkl"), HasSubstr("beyond the 111")));
}

TEST_F(Load, RefusesANumberInPlaceOfAFunction) {
  // To LibTorch functions are numbers, counted as they are named.
  save_layer();
  replace_in_archive("ctorch._utils\n_rebuild_tensor_v2\n", std::string("K\0", 2));
  EXPECT_THAT(complaint(), HasSubstr("not made as LibTorch makes tensors"));
}

TEST_F(Load, RefusesAPickleThatIsCutOff) {
  save_layer();
  replace_in_archive("(K\x25K\x03t", "X\xff\xff\xff\x7f");
  EXPECT_THAT(complaint(), HasSubstr("cut off"));
}

TEST_F(Load, TakesViewsAndEmptyTensors) {
  torch::jit::Module module("Net");
  const at::Tensor shared = at::arange(12, at::kFloat);
  module.register_buffer("columns", shared.view({3, 4}).t());
  module.register_buffer("tail", shared.narrow(0, 8, 4));
  module.register_buffer("same", at::ones({1}).expand({5}));
  module.register_buffer("empty", at::empty({0, 3}));
  module.register_buffer("number", at::scalar_tensor(3));
  module.define("def forward(self, x):\n    return x\n");
  module.save(path_.string());
  const auto loaded = load_as_stored(path_);
  EXPECT_TRUE(at::equal(loaded.attr("columns").toTensor(), shared.view({3, 4}).t()));
  EXPECT_TRUE(at::equal(loaded.attr("tail").toTensor(), shared.narrow(0, 8, 4)));
  EXPECT_TRUE(at::equal(loaded.attr("same").toTensor(), at::ones({5})));
  EXPECT_EQ(loaded.attr("empty").toTensor().numel(), 0);
}

TEST_F(Load, LoadsInEvalMode) {
  auto tiny = testing::make_tiny_model("cnn");
  tiny.module.train();
  tiny.module.save(path_.string());
  EXPECT_FALSE(load_as_stored(path_).is_training());
}

}  // namespace
}  // namespace edgecompress
