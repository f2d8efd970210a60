#include "util/table.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace edgecompress {
namespace {

Table example() {
  Table table({"step", "size"}, {Table::Align::kLeft, Table::Align::kRight});
  table.add_row({"a|b", "–"});
  table.add_row({"long name", "12"});
  return table;
}

TEST(Table, AlignsByCharactersNotBytes) {
  EXPECT_EQ(example().console(),
            "step       size\n"
            "---------  ----\n"
            "a|b           –\n"
            "long name    12\n");
}

TEST(Table, EscapesPipesInMarkdown) {
  EXPECT_EQ(example().markdown(),
            "| step | size |\n"
            "| --- | ---: |\n"
            "| a\\|b | – |\n"
            "| long name | 12 |\n");
}

TEST(Table, LetsNoNameSteerATerminal) {
  Table table({"layer"});
  table.add_row({"conv\x1b[2J\n1\x7f"});
  EXPECT_EQ(table.markdown(), "| layer |\n| --- |\n| conv [2J 1  |\n");
}

TEST(Table, RefusesRowsOfAnotherWidth) {
  EXPECT_THROW(example().add_row({"one"}), std::invalid_argument);
}

}  // namespace
}  // namespace edgecompress
