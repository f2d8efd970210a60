// What is made to do harm, and machines that fail: through the real binary, as bad_input_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class HostileInput : public ::testing::Test {
 protected:
  void SetUp() override { bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}}; }

  BinaryResult run(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"run", bench.write_recipe(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_binary(arguments);
  }

  Workbench bench;
};

// ---- Files ----------------------------------------------------------------------------------

TEST_F(HostileInput, NestingWithoutEndIsRefusedWhereverJsonIsRead) {
  const std::string deep(1'000'000, '[');
  bench.write_text("deep.json", deep);
  const std::string file = bench.path("deep.json").string();
  EXPECT_EQ(run_binary({"run", file}).code, 3);
  EXPECT_EQ(run_binary({"validate", file}).code, 3);
  bench.write_text("deep_set.json", R"({"source": "csv", "path": "x", "options": )" + deep);
  const BinaryResult evaluated = run_binary({"evaluate", bench.path("net.pt").string(), "--data",
                                             bench.path("deep_set.json").string(), "--quiet"});
  EXPECT_EQ(evaluated.code, 3);
  EXPECT_THAT(evaluated.err, HasSubstr("nested deeper"));
}

TEST_F(HostileInput, AnArrayOfAnAbsurdShapeIsRefused) {
  std::string npy("\x93NUMPY\x01\x00\x76\x00", 10);
  npy += "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 0, 4294967296, 4294967296), }";
  npy.resize(128, ' ');
  bench.write_text("shape.npy", npy);
  bench.recipe["data"]["test"] = {{"source", "npy"}, {"path", "shape.npy"}};
  const BinaryResult result = run();
  EXPECT_EQ(result.code, 5);
  EXPECT_THAT(result.err, AllOf(HasSubstr("shape.npy"), HasSubstr("impossible shape")));
}

TEST_F(HostileInput, AFileThatFailsWhileItIsReadIsNamedWithItsReason) {
  // Its first page is not mapped, so reading gives EIO.
  const std::string broken = "/proc/self/mem";
  const BinaryResult recipe = run_binary({"validate", broken});
  EXPECT_EQ(recipe.code, 3);
  EXPECT_THAT(recipe.err, AllOf(HasSubstr(broken), HasSubstr("Input/output error")));
  EXPECT_EQ(run({"--model", broken}).code, 4);
  bench.recipe["data"]["test"] = {{"source", "csv"}, {"path", broken}};
  EXPECT_EQ(run().code, 5);
  EXPECT_FALSE(fs::exists(bench.path("out")));
}

TEST_F(HostileInput, AnArrayNameDoesNotLeadOutOfItsFolder) {
  bench.recipe["data"]["test"] = {
      {"source", "npy"}, {"path", "."}, {"inputs", {"../../etc/passwd"}}};
  const BinaryResult result = run();
  EXPECT_EQ(result.code, 5);
  EXPECT_THAT(result.err, HasSubstr("is a path, expected a file's name"));
}

// ---- Output folders -------------------------------------------------------------------------

TEST_F(HostileInput, LinksInTheOutputFolderAreReplacedNotFollowed) {
  bench.write_text("precious", "mine");
  fs::create_directory(bench.path("out"));
  for (const char* name : {"report.json", "model.pt", "run.log"}) {
    fs::create_symlink("../precious", bench.path("out") / name);
  }
  EXPECT_EQ(run({"--overwrite"}).code, 0);
  EXPECT_EQ(bench.read_text("precious"), "mine");
  EXPECT_FALSE(fs::is_symlink(bench.path("out/report.json")));
}

TEST_F(HostileInput, AnOutputFolderMayBeALinkButNotToNothing) {
  fs::create_directory(bench.path("disk"));
  fs::create_symlink("disk", bench.path("out"));
  EXPECT_EQ(run().code, 0);
  EXPECT_TRUE(fs::exists(bench.path("disk/report.json")));

  fs::remove(bench.path("out"));
  fs::create_symlink("nowhere", bench.path("out"));
  const BinaryResult dangling = run();
  EXPECT_EQ(dangling.code, 8);
  EXPECT_THAT(dangling.err, HasSubstr("a symbolic link to nothing"));
  EXPECT_FALSE(fs::exists(bench.path("nowhere")));
}

TEST_F(HostileInput, AJournalThatIsALinkIsNotWrittenThrough) {
  bench.recipe["passes"] = {{{"pass", "finetune"}, {"epochs", 2}}};
  fs::create_directories(bench.path("elsewhere"));
  fs::create_directory(bench.path("out"));
  fs::create_symlink("../elsewhere", bench.path("out/.journal"));
  const BinaryResult result = run({"--overwrite"});
  EXPECT_TRUE(fs::is_empty(bench.path("elsewhere")));
  EXPECT_EQ(result.code, 0) << result.err;
}

TEST_F(HostileInput, WhatAKilledRunLeftIsGoneAfterTheNext) {
  bench.recipe["passes"] = {{{"pass", "finetune"}, {"epochs", 100000}, {"patience", 0}}};
  bool is_sent = false;
  run_binary({"run", bench.write_recipe()}, [&](const std::string& err, int pid) {
    if (!is_sent && err.find("step 1 finetune") != std::string::npos) {
      is_sent = kill(pid, SIGKILL) == 0;
    }
  });
  ASSERT_TRUE(is_sent);
  bench.recipe["passes"][0] = {{"pass", "prune_weights"}, {"ratio", 0.5}};
  EXPECT_EQ(run({"--overwrite"}).code, 0);
  for (const auto& entry : fs::recursive_directory_iterator(bench.path(""))) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".partial-")));
  }
}

// ---- Machines -------------------------------------------------------------------------------

TEST_F(HostileInput, AReaderOfTheLogThatGoesAwayDoesNotEndTheRun) {
  run_shell("( \"$EDGECOMPRESS\" run '" + bench.write_recipe() +
            "' --verbose 2>&1 >/dev/null; echo $? > '" + bench.path("code").string() +
            "' ) | true");
  EXPECT_EQ(bench.read_text("code"), "0\n");
  EXPECT_TRUE(fs::exists(bench.path("out/report.json")));
}

TEST_F(HostileInput, StandardOutputThatIsFullIsTold) {
  const BinaryResult result =
      run_shell("\"$EDGECOMPRESS\" run --quiet '" + bench.write_recipe() + "' > /dev/full");
  EXPECT_EQ(result.code, 8);
  EXPECT_THAT(result.err, HasSubstr("standard output can't be written: No space left"));
  EXPECT_TRUE(fs::exists(bench.path("out/report.json"))) << "only the table is lost";
}

TEST_F(HostileInput, TooLittleMemoryIsToldAsSuch) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer itself reserves more than the limit";
#endif
  // Far more than the limit, and far less than what a recipe may ask for.
  bench.recipe["model"]["inputs"][0]["shape"][0] = 1'500'000;
  const BinaryResult result =
      run_shell("ulimit -v 3000000; \"$EDGECOMPRESS\" run --quiet '" + bench.write_recipe() + "'");
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("error: out of memory"));
  EXPECT_FALSE(fs::exists(bench.path("out")));
}

TEST_F(HostileInput, WhatMayNotBeReadOrWrittenIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "permissions don't bind root";
  const auto forbid = [&](const std::string& name) {
    fs::permissions(bench.path(name), fs::perms::none);
  };
  fs::create_directory(bench.path("shut"));
  forbid("shut");
  const BinaryResult output = run({"--output", bench.path("shut/out").string()});
  EXPECT_EQ(output.code, 8);
  EXPECT_THAT(output.err, HasSubstr("Permission denied"));
  forbid("test.pt");
  EXPECT_EQ(run().code, 5);
  fs::permissions(bench.path("test.pt"), fs::perms::owner_all);
  forbid("net.pt");
  EXPECT_EQ(run().code, 4);
  forbid("recipe.json");
  EXPECT_EQ(run_binary({"run", bench.path("recipe.json").string()}).code, 3);
  fs::permissions(bench.path("shut"), fs::perms::owner_all);
}

}  // namespace
}  // namespace edgecompress::testing
