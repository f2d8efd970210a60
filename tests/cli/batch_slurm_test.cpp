// What is said to Slurm, to stand-ins for its commands: the jobs of an array run one after another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kSbatch = R"(#!/bin/sh
echo "$@" > "$0.arguments"
for word in "$@"; do
  case "$word" in --array=1-*) last="${word#--array=1-}" ;; esac
  script="$word"
done
echo 42
for i in $(seq "$last"); do SLURM_ARRAY_TASK_ID=$i sh "$script"; done > "$0.log" 2>&1
exit 6
)";

class BatchOnSlurm : public ::testing::Test {
 protected:
  BatchOnSlurm() {
    fs::create_directories(bench.path("zoo"));
    fs::create_directories(bench.path("bin"));
    for (const char* name : {"a", "b it's", "c"}) {
      bench.write_text("zoo/" + std::string(name) + ".pt", "this is no model");
    }
    install("sbatch", kSbatch);
  }
  void install(const std::string& name, const std::string& script) const {
    bench.write_text("bin/" + name, script);
    fs::permissions(bench.path("bin/" + name), fs::perms::owner_all);
  }
  BinaryResult run(const std::string& options) const {
    const std::string folder = bench.path("").string();
    return run_shell("cd '" + folder + "' && PATH='" + folder +
                     "bin':\"$PATH\" \"$EDGECOMPRESS\" batch zoo --recipe '" +
                     bench.write_recipe() + "' --output small " + options);
  }

  Workbench bench;
};

TEST_F(BatchOnSlurm, AnArrayOfJobsRunsTheShardsAndOneReportIsGathered) {
  const BinaryResult result =
      run("--slurm --slurm-shards 2 --slurm-option=--partition=edge --threads 4 --memory 2GB");
  EXPECT_EQ(result.code, 6) << result.err;
  EXPECT_THAT(bench.read_text("bin/sbatch.arguments"),
              AllOf(HasSubstr("--parsable"), HasSubstr("--array=1-2"), HasSubstr("--wait"),
                    HasSubstr("--partition=edge"), HasSubstr("--cpus-per-task=4")));
  EXPECT_THAT(result.err, HasSubstr("Slurm job 42: 3 models in 2 shards"));
  const auto zoo = bench.read_json("small/zoo.json");
  EXPECT_EQ(zoo.at("states"), nlohmann::json({{"bad model", 3}}))
      << bench.read_text("bin/sbatch.log");
  EXPECT_EQ(bench.read_json("small/shards/zoo-1-of-2.json").at("models").size(), 2);
  EXPECT_EQ(bench.read_json("small/shards/zoo-2-of-2.json").at("models").size(), 1);
  EXPECT_EQ(zoo.at("models").at(1).at("name"), "b_it_s");
}

TEST_F(BatchOnSlurm, WhatIsSentOffIsGatheredLater) {
  const BinaryResult sent = run("--slurm --detach");
  EXPECT_EQ(sent.code, 0) << sent.err;
  EXPECT_THAT(sent.out, AllOf(HasSubstr("Slurm job 42"), HasSubstr("--gather")));
  EXPECT_THAT(bench.read_text("bin/sbatch.arguments"), ::testing::Not(HasSubstr("--wait")));
  EXPECT_FALSE(fs::exists(bench.path("small/zoo.json")));
  const BinaryResult gathered = run("--gather --junit junit.xml");
  EXPECT_EQ(gathered.code, 6) << gathered.err;
  EXPECT_EQ(bench.read_json("small/zoo.json").at("states").at("bad model"), 3);
  EXPECT_TRUE(fs::exists(bench.path("junit.xml")));
}

TEST_F(BatchOnSlurm, AModelWhoseShardLeftNothingIsPending) {
  install("sbatch", "#!/bin/sh\necho 43\n");
  const BinaryResult result = run("--slurm");
  EXPECT_EQ(result.code, 6);
  EXPECT_EQ(bench.read_json("small/zoo.json").at("states").at("pending"), 3);
  EXPECT_THAT(result.out, HasSubstr("no shard has told of it"));
}

TEST_F(BatchOnSlurm, ARefusalIsToldInSlurmsWords) {
  install("sbatch",
          "#!/bin/sh\necho 'sbatch: error: invalid partition specified: edge' >&2; exit 1\n");
  const BinaryResult result = run("--slurm --slurm-option=--partition=edge");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("invalid partition specified: edge"));
}

TEST_F(BatchOnSlurm, WithoutSlurmItSaysSo) {
  const BinaryResult result =
      run_shell("cd '" + bench.path("").string() +
                "' && PATH=/nowhere \"$EDGECOMPRESS\" batch zoo --recipe '" + bench.write_recipe() +
                "' --output small --slurm");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("sbatch: can't be started"), HasSubstr("--slurm needs")));
}

TEST_F(BatchOnSlurm, AnInterruptCancelsTheJobs) {
  install("sbatch", "#!/bin/sh\necho $$ > \"$0.id\"; echo 44; kill -INT $PPID; exec sleep 1000\n");
  install("scancel",
          "#!/bin/sh\necho \"$@\" > \"$0.arguments\"; kill $(cat \"${0%/*}/sbatch.id\")\n");
  const BinaryResult result = run("--slurm");
  EXPECT_EQ(result.code, 130) << result.err;
  EXPECT_EQ(bench.read_text("bin/scancel.arguments"), "44\n");
}

}  // namespace
}  // namespace edgecompress::testing
