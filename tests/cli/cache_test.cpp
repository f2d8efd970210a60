// `cache`, and runs that fill it, as a user sees them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class CacheTest : public ::testing::Test {
 protected:
  CacheTest() {
    bench_.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}},
                               {{"pass", "fold_batch_norm"}}};
  }
  BinaryResult run(const std::string& output) const {
    return run_binary({"run", bench_.write_recipe(), "--output", bench_.path(output).string(),
                       "--cache", cache()});
  }
  json listed() const {
    return json::parse(run_binary({"cache", "ls", "--json", "--cache", cache()}).out);
  }
  std::string cache() const { return bench_.path("cache").string(); }

  Workbench bench_;
};

TEST_F(CacheTest, ASecondRunSaysWhatItTookAndNoCacheDoesItAnew) {
  ASSERT_EQ(run("first").code, 0);
  const BinaryResult second = run("second");
  EXPECT_THAT(second.out, HasSubstr("prune_weights: taken from the cache"));
  EXPECT_THAT(bench_.read_text("second/report.md"), HasSubstr("done by an earlier run"));
  const BinaryResult anew =
      run_binary({"run", bench_.write_recipe(), "--output", bench_.path("third").string(),
                  "--cache", cache(), "--no-cache"});
  EXPECT_EQ(anew.out.find("cache"), std::string::npos) << anew.out;
  EXPECT_EQ(bench_.read_text("third/model.pt"), bench_.read_text("first/model.pt"));
}

TEST_F(CacheTest, ListsWhatIsKeptAndRemovesIt) {
  EXPECT_TRUE(listed().at("steps").empty());
  run("first");
  const json before = listed();
  ASSERT_EQ(before.at("steps").size(), 2U);
  EXPECT_EQ(before.at("steps").at(1).at("what"), "1 prune_weights");
  const auto key = before.at("steps").at(0).at("key").get<std::string>();
  EXPECT_THAT(run_binary({"cache", "ls", "--cache", cache()}).out, HasSubstr(key.substr(0, 12)));

  const BinaryResult unknown = run_binary({"cache", "rm", "zzz", "--cache", cache()});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("zzz"));
  EXPECT_EQ(run_binary({"cache", "rm", "--unused", "1", "--cache", cache()}).code, 0);
  EXPECT_EQ(listed().at("steps").size(), 2U);
  EXPECT_EQ(run_binary({"cache", "rm", key.substr(0, 12), "--cache", cache()}).code, 0);
  EXPECT_EQ(listed().at("steps").size(), 1U);
  EXPECT_EQ(run_binary({"cache", "rm", "--all", "--cache", cache()}).code, 0);
  EXPECT_TRUE(listed().at("steps").empty());
  EXPECT_EQ(run_binary({"cache", "rm", "--cache", cache()}).code, 2) << "what?";
}

TEST_F(CacheTest, StaysWithinItsBound) {
  const BinaryResult result =
      run_binary({"run", bench_.write_recipe(), "--cache", cache(), "--cache-mib", "0"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.err, HasSubstr("not kept"));
  EXPECT_TRUE(listed().at("steps").empty());
}

}  // namespace
}  // namespace edgecompress::testing
