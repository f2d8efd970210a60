// Everything a user can get wrong, through the real binary: its exit code, one readable message,
// and nothing left behind.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/binary.h"
#include "support/small_disk.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class BadInput : public ::testing::Test {
 protected:
  /// The run must end with `code`, an error that matches, no C++ frames, and no output folder.
  void expect_failure(int code, const ::testing::Matcher<std::string>& message) {
    const BinaryResult result = run_binary({"run", bench.write_recipe(), "--quiet"});
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("error: "), Not(HasSubstr("frame #")),
                                  Not(HasSubstr("Traceback")), message));
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
    EXPECT_EQ(partial_folders(), 0);
  }

  int partial_folders() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(bench.path(""))) {
      count += entry.path().filename().string().find(".partial-") != std::string::npos ? 1 : 0;
    }
    return count;
  }

  Workbench bench;
};

TEST_F(BadInput, UnknownKeyNamesTheNearest) {
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ration", 0.5}}};
  expect_failure(3, AllOf(HasSubstr("/passes/0"), HasSubstr("ration"), HasSubstr("\"ratio\"")));
}

TEST_F(BadInput, UnknownPassNamesTheNearest) {
  bench.recipe["passes"] = {{{"pass", "prune_weight"}}};
  expect_failure(3, AllOf(HasSubstr("/passes/0"), HasSubstr("prune_weights")));
}

TEST_F(BadInput, WrongType) {
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", "half"}}};
  expect_failure(3, AllOf(HasSubstr("/passes/0/ratio"), HasSubstr("half")));
}

TEST_F(BadInput, OrderThatCannotWork) {
  bench.recipe["passes"] = {{{"pass", "quantize_int8"}}, {{"pass", "finetune"}, {"epochs", 1}}};
  expect_failure(3, AllOf(HasSubstr("finetune"), HasSubstr("quantize_int8")));
  bench.recipe["passes"] = {{{"pass", "quantize_int8"}}, {{"pass", "prune_channels"}}};
  expect_failure(3, AllOf(HasSubstr("prune_channels"), HasSubstr("quantize_int8")));
}

TEST_F(BadInput, MissingRecipe) {
  const BinaryResult result = run_binary({"run", bench.path("absent.json").string()});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("absent.json"));
}

TEST_F(BadInput, MissingModel) {
  bench.recipe["model"]["path"] = "absent.pt";
  expect_failure(4, HasSubstr("absent.pt"));
}

TEST_F(BadInput, ModelThatIsNoArchive) {
  bench.write_text("net.pt", "this is no network");
  expect_failure(4, HasSubstr("net.pt"));
}

TEST_F(BadInput, MissingData) {
  bench.recipe["data"]["test"]["path"] = "absent.pt";
  expect_failure(5, HasSubstr("absent.pt"));
}

TEST_F(BadInput, LabelOutOfRange) {
  bench.labels[63] = 17;  // in the last batch: found before any work all the same
  bench.write_data("test.pt", bench.images, bench.labels);
  expect_failure(5, AllOf(HasSubstr("test"), HasSubstr("17"), HasSubstr("4 classes")));
}

TEST_F(BadInput, WrongInputShape) {
  bench.write_data("test.pt", at::zeros({64, 5, 12, 12}), bench.labels);
  expect_failure(5, AllOf(HasSubstr("test"), HasSubstr("5, 12, 12")));
}

TEST_F(BadInput, NanInData) {
  bench.images[3][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  bench.write_data("test.pt", bench.images, bench.labels);
  expect_failure(5, AllOf(HasSubstr("test"), HasSubstr("NaN"), HasSubstr("3")));
}

TEST_F(BadInput, OutputUnderAFile) {
  bench.write_text("file", "");
  bench.recipe["output"]["directory"] = "file/out";
  expect_failure(8, HasSubstr("file/out"));
}

TEST_F(BadInput, OutputWhereNothingCanBeMade) {
  bench.recipe["output"]["directory"] = "/proc/edgecompress";
  expect_failure(8, HasSubstr("/proc/edgecompress"));
}

TEST_F(BadInput, FailedWriteLeavesNothing) {
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
  const BinaryResult result = run_shell(
      "trap '' XFSZ; ulimit -f 4; \"$EDGECOMPRESS\" run --quiet '" + bench.write_recipe() + "'");
  EXPECT_EQ(result.code, 8) << result.err;
  EXPECT_THAT(result.err, HasSubstr("error: "));
  EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
  EXPECT_EQ(partial_folders(), 0);
}

TEST_F(BadInput, FullDiskLeavesNothing) {
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
  bench.recipe["output"]["directory"] = "disk/out";
  const std::filesystem::path disk = bench.path("disk");
  std::filesystem::create_directory(disk);
  const std::string recipe = bench.write_recipe();
  // Each is full at another point of the run: the step's file, its copy, the reports. How much a
  // run needs depends on LibTorch; the first is too small for any, the last large enough.
  for (const std::string size : {"4k", "16k", "24k", "28k", "32k", "1m"}) {
    on_small_disk(disk, "size=" + size, [&] {
      const BinaryResult result = run_binary({"run", recipe, "--quiet"});
      if (size == "1m" || (size != "4k" && result.code == 0)) {
        EXPECT_EQ(result.code, 0) << result.err;
        EXPECT_TRUE(std::filesystem::exists(disk / "out" / "report.md"));
        return;
      }
      EXPECT_EQ(result.code, 8) << size << ": " << result.err;
      EXPECT_THAT(result.err, AllOf(StartsWith("error: "), HasSubstr(disk.string()),
                                    HasSubstr("No space left"), HasSubstr("\nhint: Free some")));
      EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 2) << result.err;
      EXPECT_TRUE(std::filesystem::is_empty(disk)) << size;
    });
    if (IsSkipped()) return;
  }
}

TEST_F(BadInput, InterruptInTheFirstStepLeavesNothingButItsCheckpoint) {
  bench.recipe["passes"] = {{{"pass", "finetune"}, {"epochs", 100000}, {"patience", 0}}};
  bool is_sent = false;
  const BinaryResult result =
      run_binary({"run", bench.write_recipe()}, [&](const std::string& err, int pid) {
        if (!is_sent && err.find("step 1 finetune") != std::string::npos) {
          is_sent = kill(pid, SIGINT) == 0;
        }
      });
  EXPECT_TRUE(is_sent);
  EXPECT_EQ(result.code, 130) << result.err;
  EXPECT_THAT(result.err, HasSubstr("interrupted"));
  EXPECT_THAT(result.err, HasSubstr("--resume"));
  for (const auto& entry : std::filesystem::directory_iterator(bench.path("out"))) {
    EXPECT_EQ(entry.path().filename(), ".journal");
  }
  EXPECT_EQ(partial_folders(), 0);
}

TEST_F(BadInput, TerminationKeepsTheFinishedSteps) {
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}},
                            {{"pass", "finetune"}, {"epochs", 100000}, {"patience", 0}}};
  bool is_sent = false;
  const BinaryResult result =
      run_binary({"run", bench.write_recipe()}, [&](const std::string& err, int pid) {
        if (!is_sent && err.find("step 2 finetune") != std::string::npos) {
          is_sent = kill(pid, SIGTERM) == 0;
        }
      });
  EXPECT_TRUE(is_sent);
  EXPECT_EQ(result.code, 130) << result.err;
  const json report = bench.read_json("out/report.json");
  EXPECT_EQ(report.at("steps").at(0).at("state"), "kept");
  EXPECT_EQ(report.at("steps").at(1).at("state"), "interrupted");
  EXPECT_TRUE(std::filesystem::exists(bench.path("out/model.pt")));
}

}  // namespace
}  // namespace edgecompress::testing
