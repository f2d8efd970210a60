#include "util/result_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "support/expect_error.h"
#include "support/small_disk.h"
#include "support/temporary_folder.h"
#include "util/file.h"
#include "util/hash.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;

const std::string kKey = sha256("one");

class ResultStoreTest : public ::testing::Test {
 protected:
  static bool put(const ResultStore& store, const std::string& key, const std::string& bytes) {
    return store.put(key, {{"what", bytes.substr(0, 3)}}, [&](const fs::path& folder) {
      write_file_atomic(folder / "model.pt", bytes);
    });
  }
  /// As if it had been used so many seconds ago.
  void age(const std::string& key, int seconds) const {
    fs::last_write_time(store_.folder() / key / "result.json",
                        fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
  }
  bool is_clean() const {
    return std::none_of(
        fs::directory_iterator(store_.folder()), fs::directory_iterator(),
        [](const auto& entry) { return entry.path().filename().string().front() == '.'; });
  }

  testing::TemporaryFolder folder_;
  ResultStore store_{folder_.path() / "cache" / "steps", 1000};
};

TEST_F(ResultStoreTest, GivesBackWhatWasPut) {
  EXPECT_FALSE(store_.find(kKey));
  ASSERT_TRUE(put(store_, kKey, "some bytes"));
  const auto found = store_.find(kKey);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->description, (nlohmann::json{{"what", "som"}}));
  EXPECT_EQ(found->bytes, 10);
  EXPECT_EQ(read_file(found->folder / "model.pt", ExitCode::kData, 100), "some bytes");
  EXPECT_TRUE(is_clean());
}

TEST_F(ResultStoreTest, NeverGivesADamagedFile) {
  put(store_, kKey, "some bytes");
  write_file_atomic(store_.folder() / kKey / "model.pt", "same bytes");
  EXPECT_FALSE(store_.find(kKey));
  put(store_, kKey, "good bytes");
  ASSERT_TRUE(store_.find(kKey)) << "it makes way for a good one";
  fs::remove(store_.folder() / kKey / "model.pt");
  EXPECT_FALSE(store_.find(kKey));
  EXPECT_TRUE(store_.list().empty());
}

TEST_F(ResultStoreTest, NeverGivesAFileOutsideItsFolder) {
  put(store_, kKey, "some bytes");
  write_file_atomic(store_.folder() / "secret", "x");
  write_file_atomic(
      store_.folder() / kKey / "result.json",
      nlohmann::json{{"description", 1}, {"files", {{"../secret", sha256("x")}}}}.dump());
  EXPECT_FALSE(store_.find(kKey));
  EXPECT_FALSE(store_.find("../" + kKey));
}

TEST_F(ResultStoreTest, WhatWasUsedLongestAgoMakesRoom) {
  const std::string old = sha256("old"), middle = sha256("middle");
  put(store_, old, std::string(400, 'o'));
  put(store_, middle, std::string(400, 'm'));
  age(old, 100);
  age(middle, 50);
  ASSERT_TRUE(store_.find(old)) << "which makes it the one used last";
  ASSERT_TRUE(put(store_, kKey, std::string(400, 'n')));
  EXPECT_TRUE(store_.find(old));
  EXPECT_FALSE(store_.find(middle));
  EXPECT_TRUE(store_.find(kKey));
  EXPECT_EQ(store_.list().size(), 2U);
}

TEST_F(ResultStoreTest, KeepsNothingThatIsLargerThanItself) {
  put(store_, kKey, "small");
  EXPECT_FALSE(put(store_, sha256("large"), std::string(1001, 'l')));
  EXPECT_TRUE(store_.find(kKey));
  EXPECT_TRUE(is_clean());
}

TEST_F(ResultStoreTest, AFailureLeavesNothing) {
  EXPECT_THROW(store_.put(kKey, {}, [](const fs::path&) { throw Error(ExitCode::kPass, "no"); }),
               Error);
  EXPECT_FALSE(store_.find(kKey));
  EXPECT_TRUE(is_clean());
}

TEST_F(ResultStoreTest, AFullDiskIsToldAndLeavesNothing) {
  testing::on_small_disk(folder_.path(), "size=64k", [&] {
    const ResultStore store(folder_.path() / "steps", 1 << 20);
    expect_error(ExitCode::kOutput, "No space left",
                 [&] { put(store, kKey, std::string(100000, 'x')); });
    EXPECT_TRUE(store.list().empty());
    EXPECT_TRUE(put(store, kKey, "small"));
  });
}

TEST_F(ResultStoreTest, RemovesOneOfThem) {
  put(store_, kKey, "some bytes");
  put(store_, sha256("two"), "other bytes");
  EXPECT_TRUE(store_.remove(kKey));
  EXPECT_FALSE(store_.remove(kKey));
  EXPECT_EQ(store_.list().size(), 1U);
  EXPECT_TRUE(is_clean());
}

TEST_F(ResultStoreTest, ManyMayPutTheSameAtOnce) {
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&, i] {
      for (int n = 0; n < 20; ++n) put(store_, sha256(std::to_string(n % (i + 2))), "some bytes");
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(store_.list().size(), 5U);
  EXPECT_TRUE(is_clean());
}

}  // namespace
}  // namespace edgecompress
