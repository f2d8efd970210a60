#include "pipeline/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_folder.h"
#include "util/file.h"
#include "util/log.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const Json kFingerprint = {{"model", "ab12"}, {"options", {{"epochs", 3}, {"loss", "mse"}}}};
/// Lines, zeros and no text at all: the state of a training is any bytes.
const std::string kState("state\n\0\xff{\n", 10);

class JournalTest : public ::testing::Test {
 protected:
  /// All that was logged.
  std::string said() {
    log_.close();
    return read_file(folder_.path() / "log", ExitCode::kOutput, 1 << 20);
  }
  std::optional<std::string> load(const Json& fingerprint, bool resume = true) const {
    return Journal(output_, resume).checkpoint("1_finetune", fingerprint).load();
  }
  void save() const { Journal(output_, false).checkpoint("1_finetune", kFingerprint).save(kState); }

  testing::TemporaryFolder folder_;
  fs::path output_ = folder_.path() / "out";
  LogFile log_{folder_.path() / "log"};
};

TEST_F(JournalTest, GivesBackWhatWasSavedLast) {
  EXPECT_FALSE(load(kFingerprint));
  Journal(output_, false).checkpoint("1_finetune", kFingerprint).save("older");
  save();
  EXPECT_EQ(load(kFingerprint), kState);
  EXPECT_THAT(said(), HasSubstr("goes on from its checkpoint"));
}

TEST_F(JournalTest, IsLeftAloneWithoutResume) {
  save();
  EXPECT_FALSE(load(kFingerprint, /*resume=*/false));
  EXPECT_EQ(load(kFingerprint), kState);
}

TEST_F(JournalTest, KeepsStepsApart) {
  save();
  EXPECT_FALSE(Journal(output_, true).checkpoint("2_finetune", kFingerprint).load());
}

TEST_F(JournalTest, RefusesTheStateOfAnotherRunAndSaysWhatDiffers) {
  save();
  Json other = kFingerprint;
  other["options"]["epochs"] = 5;
  other["seed"] = 1;
  EXPECT_FALSE(load(other));
  EXPECT_THAT(said(), AllOf(HasSubstr("/options/epochs was 3 and is 5"),
                            HasSubstr("/seed was absent and is 1")));
}

TEST_F(JournalTest, RefusesADamagedFile) {
  save();
  const fs::path file = output_ / ".journal" / "1_finetune.checkpoint";
  const std::string whole = read_file(file, ExitCode::kOutput, 1 << 20);
  for (const std::string& text : {whole.substr(0, whole.size() - 1), whole.substr(0, 20),
                                  std::string("[]\n"), std::string()}) {
    write_file_atomic(file, text);
    EXPECT_FALSE(load(kFingerprint)) << text;
  }
  EXPECT_THAT(said(), HasSubstr("damaged"));
}

TEST_F(JournalTest, ClearingLeavesNothingBehind) {
  EXPECT_FALSE(Journal::is_in(output_));
  save();
  EXPECT_TRUE(Journal::is_in(output_));
  const Journal journal(output_, false);
  write_file_atomic(output_ / "precious.txt", "mine");
  journal.clear();
  EXPECT_FALSE(Journal::is_in(output_));
  EXPECT_TRUE(fs::exists(output_ / "precious.txt"));
  fs::remove(output_ / "precious.txt");
  save();
  journal.clear();
  EXPECT_FALSE(fs::exists(output_));
}

}  // namespace
}  // namespace edgecompress
