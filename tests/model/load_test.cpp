#include <caffe2/serialize/inline_container.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
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

  // The tiny MLP's archive with its relu replaced by another function.
  void write_with_relu_replaced(const std::string& by) const {
    save_tiny();
    Records records;
    {
      caffe2::serialize::PyTorchStreamReader reader(path_.string());
      for (const auto& name : reader.getAllRecords()) {
        if (name == "version" || name.compare(0, 6, ".data/") == 0) continue;
        const auto [data, size] = reader.getRecord(name);
        std::string bytes(static_cast<const char*>(data.get()), size);
        const auto relu = bytes.find("torch.relu(");
        if (relu != std::string::npos) bytes.replace(relu, 10, by);
        records[name] = bytes;
      }
    }
    write_archive(records);
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

TEST_F(Load, LoadsInEvalMode) {
  auto tiny = testing::make_tiny_model("cnn");
  tiny.module.train();
  tiny.module.save(path_.string());
  EXPECT_FALSE(load_as_stored(path_).is_training());
}

}  // namespace
}  // namespace edgecompress
