#include "pipeline/input_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using ::testing::ElementsAre;

TEST(InputText, SizesAreFloatByDefault) {
  const auto inputs = parse_inputs({"1x3x224x224"});
  ASSERT_EQ(inputs.size(), 1U);
  EXPECT_THAT(inputs[0].shape, ElementsAre(1, 3, 224, 224));
  EXPECT_EQ(inputs[0].dtype, "float32");
}

TEST(InputText, TypeFollowsAColon) {
  const auto inputs = parse_inputs({"4x16:int64", "4x16"});
  ASSERT_EQ(inputs.size(), 2U);
  EXPECT_EQ(inputs[0].dtype, "int64");
  EXPECT_EQ(inputs[1].dtype, "float32");
}

class BadInputText : public ::testing::TestWithParam<const char*> {};

TEST_P(BadInputText, IsAUsageError) {
  try {
    parse_inputs({GetParam()});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam()));
  }
}

INSTANTIATE_TEST_SUITE_P(All, BadInputText,
                         ::testing::Values("1x", "x3", "1x-3", "0x3", "1x3:float99", "1,3,32",
                                           "1x99999999999999999999"));

}  // namespace
}  // namespace edgecompress
