#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

TEST(CommandLine, HelpNamesEveryCommand) {
  const BinaryResult result = run_binary({"--help"});
  EXPECT_EQ(result.code, 0);
  for (const char* command : {"run", "inspect", "evaluate", "benchmark", "validate", "schema",
                              "passes", "demo", "completion", "compare"}) {
    EXPECT_THAT(result.out, HasSubstr(command));
  }
  EXPECT_THAT(result.err, IsEmpty());
}

class EveryCommand : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryCommand, HasHelpWithExamples) {
  const BinaryResult result = run_binary({GetParam(), "--help"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, HasSubstr(std::string("edgecompress ") + GetParam()));
  EXPECT_THAT(result.out, HasSubstr("Examples:"));
}

INSTANTIATE_TEST_SUITE_P(All, EveryCommand,
                         ::testing::Values("run", "inspect", "evaluate", "benchmark", "validate",
                                           "schema", "passes", "demo", "completion", "compare"));

TEST(CommandLine, PrintsItsVersion) {
  EXPECT_EQ(run_binary({"--version"}).out, "edgecompress " EDGECOMPRESS_VERSION "\n");
}

TEST(CommandLine, UnknownCommandNamesTheNearest) {
  const BinaryResult result = run_binary({"inspet", "net.pt"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, StartsWith("error: unknown command inspet\n"));
  EXPECT_THAT(result.err, HasSubstr("Did you mean inspect?"));
}

TEST(CommandLine, UnknownOptionNamesTheNearest) {
  const BinaryResult result = run_binary({"run", "recipe.json", "--ouput", "x"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, StartsWith("error: unknown option --ouput\n"));
  EXPECT_THAT(result.err, HasSubstr("Did you mean --output?"));
}

TEST(CommandLine, UnknownOptionIsToldBeforeWhatIsMissing) {
  EXPECT_THAT(run_binary({"run", "--sed=3"}).err, HasSubstr("unknown option --sed\n"));
}

TEST(CommandLine, NoCommandIsAUsageError) {
  const BinaryResult result = run_binary({});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.out, IsEmpty());
}

TEST(CommandLine, WrongValueIsAUsageError) {
  EXPECT_EQ(run_binary({"run", "recipe.json", "--threads", "many"}).code, 2);
  EXPECT_EQ(run_binary({"passes", "--log-format", "xml"}).code, 2);
}

TEST(CommandLine, GlobalOptionsAreTakenAfterTheCommandToo) {
  EXPECT_EQ(run_binary({"--quiet", "passes"}).code, 0);
  EXPECT_EQ(run_binary({"passes", "--quiet"}).code, 0);
}

TEST(CommandLine, SchemaIsJson) {
  const auto schema = nlohmann::json::parse(run_binary({"schema"}).out);
  EXPECT_TRUE(schema.contains("properties"));
}

TEST(CommandLine, PassesListsOneOrAll) {
  EXPECT_THAT(run_binary({"passes"}).out, HasSubstr("prune_weights"));
  const BinaryResult one = run_binary({"passes", "prune_weights"});
  EXPECT_THAT(one.out, HasSubstr("ratio"));
  EXPECT_THAT(one.out, Not(HasSubstr("quantize_int8")));
  const BinaryResult wrong = run_binary({"passes", "prune_wheights"});
  EXPECT_EQ(wrong.code, 3);
  EXPECT_THAT(wrong.err, HasSubstr("prune_weights"));
}

TEST(CommandLine, ReadmeShowsThePassesAsTheyAre) {
  std::ifstream file(EDGECOMPRESS_SOURCE_DIR "/README.md");
  std::ostringstream readme;
  readme << file.rdbuf();
  EXPECT_THAT(readme.str(), HasSubstr(run_binary({"passes", "--markdown"}).out))
      << "Put what `edgecompress passes --markdown` prints into README.md.";
}

TEST(CommandLine, CompletionIsAScriptThatBashAccepts) {
  const BinaryResult result = run_shell(
      "command -v bash >/dev/null || exit 77; bash -c 'source <(\"$EDGECOMPRESS\" completion bash);"
      " COMP_WORDS=(edgecompress run --ov); COMP_CWORD=2; _edgecompress; echo ${COMPREPLY[@]}'");
  if (result.code == 77) GTEST_SKIP() << "there is no bash";
  EXPECT_EQ(result.out, "--overwrite\n") << result.err;
}

TEST(CommandLine, FullStandardOutputIsTold) {
  const BinaryResult result = run_shell("\"$EDGECOMPRESS\" schema > /dev/full");
  EXPECT_EQ(result.code, 8);
  EXPECT_THAT(result.err, HasSubstr("standard output"));
}

TEST(CommandLine, ClosedPipeEndsItQuietly) {
  const BinaryResult result = run_shell("\"$EDGECOMPRESS\" schema | true");
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.err, IsEmpty());
}

TEST(CommandLine, ValidateTellsThePasses) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_weights"}}, {{"pass", "fold_batch_norm"}}};
  const BinaryResult result = run_binary({"validate", bench.write_recipe()});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("prune_weights, fold_batch_norm"));
}

TEST(CommandLine, EveryRecipeInConfigsIsValid) {
  for (const auto& file : std::filesystem::directory_iterator(EDGECOMPRESS_SOURCE_DIR "/configs")) {
    if (file.is_directory()) continue;  // ci/ is of other files
    const BinaryResult result = run_binary({"validate", file.path().string()});
    EXPECT_EQ(result.code, 0) << result.err;
  }
}

TEST(CommandLine, DeviceThatIsNotThereIsAUsageError) {
  const Workbench bench;
  const BinaryResult unknown = run_binary({"run", bench.write_recipe(), "--device", "tpu"});
  EXPECT_EQ(unknown.code, 2);
  if (torch::cuda::is_available()) GTEST_SKIP() << "this LibTorch has CUDA, and there is a GPU";
  const BinaryResult cuda = run_binary({"run", bench.write_recipe(), "--device", "cuda"});
  EXPECT_EQ(cuda.code, 2);
  EXPECT_THAT(cuda.err, HasSubstr("error: --device cuda: "));
  EXPECT_THAT(cuda.err, HasSubstr("hint: use --device cpu"));
  EXPECT_EQ(run_binary({"run", bench.write_recipe(), "--device", "auto"}).code, 0);
}

}  // namespace
}  // namespace edgecompress::testing
