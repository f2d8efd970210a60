#include <cmath>

#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

std::shared_ptr<const Dataset> open_csv(const Folder& folder, const std::string& text,
                                        const std::vector<std::string>& inputs = {},
                                        const std::string& target = "",
                                        const Json& options = Json::object()) {
  return open_source("csv", folder.write("a.csv", text), inputs, target, options);
}

TEST(CsvSource, ReadsColumnsByName) {
  Folder folder;
  const auto set = open_csv(folder, "b,label,a\n1,0,2.5\n-3,1,4e2\n", {"a", "b"}, "label");
  const auto batch = set->read({1, 0}, 0);
  EXPECT_TRUE(at::equal(batch.inputs[0], at::tensor({400.f, -3.f, 2.5f, 1.f}).view({2, 2})));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({1, 0}, at::kLong)));
  EXPECT_EQ(set->label_range()->high, 1);
}

TEST(CsvSource, TakesAllOtherColumnsAsInputs) {
  Folder folder;
  EXPECT_TRUE(at::equal(read_all(*open_csv(folder, "a,y,b\n1,0,2\n", {}, "y")).inputs[0],
                        at::tensor({1.f, 2.f}).view({1, 2})));
}

TEST(CsvSource, ReadsColumnsByNumberWithoutHeader) {
  Folder folder;
  const auto batch = read_all(
      *open_csv(folder, "1;2;3\n4;5;6", {"2"}, "0", {{"header", false}, {"delimiter", ";"}}));
  EXPECT_TRUE(at::equal(batch.inputs[0], at::tensor({3.f, 6.f}).view({2, 1})));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({1, 4}, at::kLong)));
}

TEST(CsvSource, UnderstandsQuotesBlankLinesReturnsAndAByteOrderMark) {
  Folder folder;
  const auto set = open_csv(
      folder, "\xef\xbb\xbf\"the \"\"x\"\"\",\"two\nlines\"\r\n\"1\", 2 \r\n\r\n+3,\"4\"\r\n\n",
      {"the \"x\"", "two\nlines"});
  EXPECT_TRUE(at::equal(read_all(*set).inputs[0], at::tensor({1.f, 2.f, 3.f, 4.f}).view({2, 2})));
}

TEST(CsvSource, GivesSamplesAShape) {
  Folder folder;
  const auto set = open_csv(folder, "1,2,3,4\n", {}, "", {{"header", false}, {"shape", {1, 2, 2}}});
  EXPECT_EQ(read_all(*set).inputs[0].sizes().vec(), (std::vector<std::int64_t>{1, 1, 2, 2}));
  expect_error(
      [&] {
        open_csv(folder, "1,2,3\n", {}, "", {{"header", false}, {"shape", {2, 2}}});
      },
      ExitCode::kData, {"3 input columns", "2x2"});
}

TEST(CsvSource, TargetsThatAreNotAllIntegersAreNumbers) {
  Folder folder;
  EXPECT_EQ(read_all(*open_csv(folder, "x,y\n1,0.5\n1,2\n", {"x"}, "y")).target.scalar_type(),
            at::kFloat);
  EXPECT_EQ(read_all(*open_csv(folder, "x,y\n1,3\n1,2\n", {"x"}, "y", {{"target_type", "number"}}))
                .target.scalar_type(),
            at::kFloat);
  expect_error(
      [&] {
        open_csv(folder, "x,y\n1,0.5\n", {"x"}, "y", {{"target_type", "class"}});
      },
      ExitCode::kData, {"'y'", "no class ids"});
}

TEST(CsvSource, ErrorsNameLineAndColumn) {
  Folder folder;
  const auto set = open_csv(folder, "a,b\n1,2\n\n3,oops\n5\n,6\n");
  EXPECT_NO_THROW(set->read({0}, 0));
  expect_error([&] { set->read({1}, 0); }, ExitCode::kData,
               {"a.csv, line 4, column 'b'", "'oops'"});
  expect_error([&] { set->read({2}, 0); }, ExitCode::kData,
               {"a.csv, line 5", "has 1 columns, expected 2"});
  expect_error([&] { set->read({3}, 0); }, ExitCode::kData, {"line 6, column 'a'", "''"});
  expect_error([&] { open_csv(folder, "label,b\n1,2\n", {"labl"}); }, ExitCode::kData,
               {"'labl'", "did you mean 'label'?"});
  expect_error([&] { open_csv(folder, "a,b\n1,x\n", {"a"}, "b"); }, ExitCode::kData,
               {"line 2, column 'b'"});
  expect_error([&] { open_csv(folder, "a,b\n1,\"2\n"); }, ExitCode::kData, {"line 2", "quote"});
}

TEST(CsvSource, RefusesEmptyFiles) {
  Folder folder;
  expect_error([&] { open_csv(folder, ""); }, ExitCode::kData, {"has no rows"});
  expect_error([&] { open_csv(folder, "a,b\n"); }, ExitCode::kData, {"has no rows"});
  expect_error([&] { open_source("csv", folder / "none.csv"); }, ExitCode::kData,
               {"none.csv", "No such file"});
}

TEST(CsvSource, ReadsRowsAcrossTheBordersOfItsBuffer) {
  Folder folder;
  std::string text = "a,b\r\n";
  for (int i = 0; i < 200000; ++i) text += std::to_string(i) + "," + std::to_string(2 * i) + "\r\n";
  const auto set = open_csv(folder, text, {"a"}, "b");
  ASSERT_EQ(set->size(), 200000);
  const auto batch = read_all(*set);
  EXPECT_TRUE(at::equal(batch.inputs[0].flatten().to(at::kLong), at::arange(200000)));
  EXPECT_TRUE(at::equal(batch.target, 2 * at::arange(200000)));
}

TEST(CsvSource, OddValuesPassThrough) {
  Folder folder;
  const auto values = read_all(*open_csv(folder, "a\nnan\ninf\n-inf\n1e39\n")).inputs[0].flatten();
  EXPECT_TRUE(std::isnan(values[0].item<float>()));
  EXPECT_TRUE(std::isinf(values[1].item<float>()));
}

}  // namespace
}  // namespace edgecompress
