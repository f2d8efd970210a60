#include "batch/slurm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "batch/fake_program.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using testing::FakeProgram;
using ::testing::HasSubstr;

TEST(JobScript, SaysEveryWordAsItIsAndTheShardOfItsTask) {
  const FakeProgram fake;
  fake.write("it's $HOME/program", "#!/bin/sh\nfor word in \"$@\"; do echo \"[$word]\"; done\n");
  fs::permissions(fake.path("it's $HOME/program"), fs::perms::owner_all);
  BatchRequest request;
  request.program = fake.path("it's $HOME/program").string();
  request.recipe = fake.path("recipe.json").string();
  request.output = fake.path("out").string();
  request.set = {"name=a 'b' $(c) \\\n\"d\""};
  request.seed = -3;
  request.memory_bytes = 5'000'000'000;
  request.limits.seconds = 90;
  fake.write("job.sh", job_script(request, fake.path("models.json"), 12));
  const std::string command = "SLURM_ARRAY_TASK_ID=7 sh '" + fake.path("job.sh").string() +
                              "' > '" + fake.path("said").string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const std::string said = fake.read("said");
  EXPECT_THAT(said, HasSubstr("[batch]\n[" + fake.path("models.json").string() + "]\n"));
  EXPECT_THAT(said, HasSubstr("[--set=name=a 'b' $(c) \\\n\"d\"]\n"));
  EXPECT_THAT(said, HasSubstr("[--seed=-3]\n"));
  EXPECT_THAT(said, HasSubstr("[--memory=5000000000]\n"));
  EXPECT_THAT(said, HasSubstr("[--time-limit=90s]\n"));
  EXPECT_THAT(said, HasSubstr("[--resume]\n"));
  EXPECT_THAT(said, HasSubstr("[--shard=7/12]\n"));
}

}  // namespace
}  // namespace edgecompress
