#include "util/text.h"

#include <gmock/gmock.h>

namespace edgecompress {
namespace {

using ::testing::ElementsAre;

TEST(NearestName, FindsTypingSlips) {
  const std::vector<std::string> keys = {"ratio", "scope", "criterion", "lr"};
  EXPECT_EQ(nearest_name("raito", keys), "ratio");  // two neighbours swapped
  EXPECT_EQ(nearest_name("Scope", keys), "scope");
  EXPECT_EQ(nearest_name("criteron", keys), "criterion");
}

TEST(NearestName, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(nearest_name("temperature", {"ratio", "scope"}), "");
  EXPECT_EQ(nearest_name("ab", {"lr"}), "");
  EXPECT_EQ(nearest_name("ratio", {}), "");
}

TEST(Split, KeepsEmptyParts) {
  EXPECT_THAT(split("a//b", '/'), ElementsAre("a", "", "b"));
  EXPECT_THAT(split("", '/'), ElementsAre(""));
  EXPECT_EQ(join({"a", "", "b"}, "/"), "a//b");
}

TEST(Affixes, AreFoundOnlyWhole) {
  EXPECT_TRUE(starts_with("model.pt", "model"));
  EXPECT_FALSE(starts_with("mod", "model"));
  EXPECT_TRUE(ends_with("model.pt", ".pt"));
  EXPECT_FALSE(ends_with("t", ".pt"));
}

TEST(HumanText, UsesDecimalUnits) {
  EXPECT_EQ(human_bytes(17), "17 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1200000), "1.2 MB");
  EXPECT_EQ(human_bytes(431000), "431 kB");
  EXPECT_EQ(human_bytes(999600), "1.0 MB");
  EXPECT_EQ(human_count(789), "789");
  EXPECT_EQ(human_count(45600000), "45.6 M");
  EXPECT_EQ(human_count(1234000000), "1.23 G");
}

TEST(HumanText, ShowsDurationsInTheUnitThatFits) {
  EXPECT_EQ(human_duration(0.85), "850 ms");
  EXPECT_EQ(human_duration(12.34), "12.3 s");
  EXPECT_EQ(human_duration(59.97), "1 min 00 s");
  EXPECT_EQ(human_duration(245), "4 min 05 s");
  EXPECT_EQ(human_duration(7380), "2 h 03 min");
}

TEST(Text, WrapsBetweenWords) {
  EXPECT_EQ(wrapped("to be or not", 7, "  "), "  to be\n  or\n  not\n");
  EXPECT_EQ(wrapped("incomprehensible, he said", 9, ""), "incomprehensible,\nhe said\n");
  EXPECT_EQ(wrapped("", 9, "  "), "");
}

}  // namespace
}  // namespace edgecompress
