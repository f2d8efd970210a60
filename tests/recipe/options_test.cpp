#include "recipe/options.h"

#include <gtest/gtest.h>

#include "recipe/example_catalogue.h"
#include "support/expect_error.h"

namespace edgecompress {
namespace {

using testing::example_catalogue;
using testing::expect_error;

const OptionTable& table_of(const char* pass) {
  static const PassCatalogue catalogue = example_catalogue();
  return catalogue.at(pass, "").options;
}

void expect_bad(const char* pass, const char* given, const std::string& message,
                const std::string& hint = {}) {
  expect_error(
      ExitCode::kRecipe, message, [&] { table_of(pass).resolve(Json::parse(given), "/passes/0"); },
      hint);
}

TEST(Options, FillInDefaultsAtEveryLevel) {
  const Json resolved =
      table_of("teach").resolve(Json::parse(R"({"teacher": "t", "optimizer": {"lr": 1}})"), "");
  EXPECT_EQ(resolved, Json::parse(R"({"epochs": 1, "teacher": "t", "classes": null,
                                      "optimizer": {"name": "sgd", "lr": 1.0}})"));
  EXPECT_TRUE(resolved["optimizer"]["lr"].is_number_float()) << "1 and 1.0 are one recipe";
  EXPECT_TRUE(table_of("sharpen").resolve(Json::object(), "")["threshold"].is_null());
}

TEST(Options, AreResolvedOnceAndForAll) {
  const Json once = table_of("teach").resolve(Json::parse(R"({"teacher": "t"})"), "");
  EXPECT_EQ(table_of("teach").resolve(once, ""), once);
}

TEST(Options, NameTheNearestKeyForAnUnknownOne) {
  expect_bad("sharpen", R"({"raito": 0.5})", "/passes/0/raito: unknown key",
             "did you mean \"ratio\"?");
  expect_bad("sharpen", R"({"temperature": 4})", "/passes/0/temperature: unknown key",
             "known here: ratio, scope, threshold, include");
  expect_bad("teach", R"({"teacher": "t", "optimizer": {"LR": 1}})",
             "/passes/0/optimizer/LR: unknown key", "\"lr\"");
  expect_bad("sharpen", R"({"a/b~c": 1})", "/passes/0/a~1b~0c: unknown key");
}

TEST(Options, SayWhatWasFoundAndExpected) {
  expect_bad("sharpen", R"({"ratio": "half"})",
             "/passes/0/ratio: found the string \"half\", expected a number in [0, 1)");
  expect_bad("sharpen", R"({"ratio": 1})", "/passes/0/ratio: found 1, expected a number in [0, 1)");
  expect_bad("sharpen", R"({"ratio": null})", "found null");
  expect_bad("sharpen", R"({"threshold": 0})", "expected a number above 0");
  expect_bad("sharpen", R"({"scope": "globl"})",
             "/passes/0/scope: found the string \"globl\", expected one of layer, global",
             "did you mean \"global\"?");
  expect_bad("sharpen", R"({"include": "conv"})",
             "found the string \"conv\", expected a list of strings");
  expect_bad("sharpen", R"({"include": ["a", 2]})", "/passes/0/include/1: found 2");
  expect_bad("teach", R"({"teacher": "t", "epochs": 1.5})", "found 1.5, expected an integer");
  expect_bad("teach", R"({"teacher": "t", "epochs": true})", "found true, expected an integer");
  expect_bad("teach", R"({"teacher": "t", "epochs": 18446744073709551615})",
             "found 18446744073709551615, expected an integer");
  expect_bad("teach", R"({"teacher": "t", "optimizer": []})", "found a list of 0, expected an obj");
  expect_bad("teach", R"({})", "/passes/0/teacher: missing, expected a string");
  expect_bad("sharpen", R"([1, 2])", "/passes/0: found a list of 2, expected an object");
}

TEST(Options, TakeAWholeNumberForAnInteger) {
  const Json resolved =
      table_of("teach").resolve(Json::parse(R"({"teacher": "t", "epochs": 2e1})"), "");
  EXPECT_EQ(resolved["epochs"], 20);
  EXPECT_TRUE(resolved["epochs"].is_number_integer());
}

TEST(Options, CutLongTextOnACharacter) {
  std::string text(58, 'x');
  for (int i = 0; i < 10; ++i) text += "é";
  EXPECT_EQ(describe(text), "the string \"" + std::string(58, 'x') + "...\"");
}

TEST(Options, RefuseWhatAnotherOptionLeavesNothingToDo) {
  OptionTable table;
  table.add(Option("mode", OptionType::kString, "a", "")).one_of({"a", "b", "c"});
  table.add(Option("extra", OptionType::kAny, nullptr, ""));
  table.add(Option("depth", OptionType::kInteger, 3, "how deep")).only_with("mode", {"b", "c"});
  table.add(Option("width", OptionType::kInteger, 1, "")).only_with("extra");
  const OptionTable copy = OptionTable::from_json(table.to_json());
  EXPECT_EQ(copy.find("depth")->help_text(), R"(how deep (only with "mode": "b" or "c"))");
  EXPECT_EQ(copy.find("width")->help_text(), " (only with extra)");
  for (const OptionTable& each : {table, copy}) {
    const auto resolve = [&](const char* json) { return each.resolve(Json::parse(json), "/p"); };
    EXPECT_EQ(resolve(R"({"mode": "b", "depth": 4})")["depth"], 4);
    EXPECT_EQ(resolve(R"({"depth": 3})")["depth"], 3) << "a default is what a resolved recipe says";
    EXPECT_EQ(resolve(R"({"extra": 0, "width": 2})")["width"], 2);
    expect_error(
        ExitCode::kRecipe, "/p/depth: does nothing here, found mode = the string \"a\"",
        [&] { resolve(R"({"depth": 4})"); }, R"(use it with "mode": "b" or "c")");
    expect_error(ExitCode::kRecipe, "/p/width: does nothing here, found extra = null",
                 [&] { resolve(R"({"width": 2})"); });
  }
}

TEST(Options, BindToAStruct) {
  struct Pair {
    std::int64_t a = 1;
    std::vector<double> b = {0.5};
  };
  struct Holder {
    std::vector<Pair> pairs;
    std::optional<Pair> extra;
  };
  Options<Pair> pair;
  pair.add("a", &Pair::a, "");
  pair.add("b", &Pair::b, "");
  Options<Holder> holder;
  holder.add("pairs", &Holder::pairs, pair, "");
  holder.add("extra", &Holder::extra, pair, "");

  const Holder bound = holder.parse(Json::parse(R"({"pairs": [{"a": 2}, {"b": [1, 2]}]})"), "");
  ASSERT_EQ(bound.pairs.size(), 2u);
  EXPECT_EQ(bound.pairs[0].a, 2);
  EXPECT_EQ(bound.pairs[0].b, (std::vector<double>{0.5}));
  EXPECT_EQ(bound.pairs[1].b, (std::vector<double>{1, 2}));
  EXPECT_FALSE(bound.extra);
  EXPECT_EQ(holder.parse(Json::parse(R"({"extra": {}})"), "").extra->a, 1);
  expect_error(ExitCode::kRecipe, "/pairs/1/c: unknown key",
               [&] { holder.parse(Json::parse(R"({"pairs": [{}, {"c": 1}]})"), ""); });
}

TEST(OptionTable, SurvivesBeingWrittenAsData) {
  for (const char* pass : {"sharpen", "teach", "shrink"}) {
    const OptionTable copy = OptionTable::from_json(table_of(pass).to_json());
    EXPECT_EQ(copy.to_json(), table_of(pass).to_json());
    EXPECT_EQ(copy.schema(), table_of(pass).schema());
  }
}

TEST(PassCatalogue, SurvivesBeingWrittenAsData) {
  const PassCatalogue catalogue = example_catalogue();
  const PassCatalogue copy = PassCatalogue::from_json(Json::parse(catalogue.to_json().dump()));
  EXPECT_EQ(copy.to_json(), catalogue.to_json());
  EXPECT_TRUE(copy.at("shrink", "").needs_with({{"mode", "static"}}).calibration);
  EXPECT_FALSE(copy.at("shrink", "").needs_with({{"mode", "dynamic"}}).calibration);
  EXPECT_TRUE(copy.at("shrink", "").needs_with({{"mode", "dynamic"}}).makes_int8);
}

TEST(PassCatalogue, AddsUpTheNeedsOfEveryConditionThatHolds) {
  PassNeeds calibrated, trained;
  calibrated.calibration = true;
  trained.training = true;
  const PassDescription pass{
      "trim", "", {}, {}, {{"criterion", "wanda", calibrated}, {"training", nullptr, trained}}};
  EXPECT_FALSE(pass.needs_with({{"criterion", "magnitude"}, {"training", nullptr}}).training);
  EXPECT_FALSE(pass.needs_with({{"criterion", "wanda"}, {"training", nullptr}}).training);
  EXPECT_TRUE(pass.needs_with({{"criterion", "magnitude"}, {"training", {{"a", 1}}}}).training);
  const PassNeeds both = pass.needs_with({{"criterion", "wanda"}, {"training", 1}});
  EXPECT_TRUE(both.calibration && both.training);
}

TEST(PassCatalogue, LetsAConditionInsideAnObjectCountInsteadOfTheObjects) {
  PassNeeds labelled, unlabelled;
  labelled.training = labelled.labels = unlabelled.training = true;
  const PassDescription pass{
      "trim", "", {}, {}, {{"training", nullptr, labelled}, {"training/alpha", 1, unlabelled}}};
  EXPECT_TRUE(pass.needs_with({{"training", {{"alpha", 0.5}}}}).labels);
  EXPECT_TRUE(pass.needs_with({{"training", {{"alpha", 1}}}}).training);
  EXPECT_FALSE(pass.needs_with({{"training", {{"alpha", 1}}}}).labels);
  EXPECT_FALSE(pass.needs_with({{"training", nullptr}}).training);
}

TEST(PassCatalogue, ShowsEveryPass) {
  const std::string markdown = example_catalogue().markdown();
  for (const char* row :
       {"| `sharpen` | Sets weights to zero | – |",
        "| `teach` | Trains on labels | labelled training data, a float model |"}) {
    EXPECT_NE(markdown.find(row), std::string::npos) << row << "\nis not in\n" << markdown;
  }
  const std::string console = example_catalogue().console();
  for (const char* name : {"sharpen", "teach", "shrink"}) {
    EXPECT_NE(console.find(name), std::string::npos) << name;
  }
}

TEST(PassCatalogue, ShowsEveryOptionOfAPass) {
  const PassCatalogue catalogue = example_catalogue();
  EXPECT_NE(to_markdown(catalogue.at("sharpen", ""))
                .find("| `ratio` | a number in [0, 1) | 0.5 | share of the weights |"),
            std::string::npos);
  const std::string markdown = to_markdown(catalogue.at("teach", ""));
  for (const char* row : {"| `teacher` | a string | required | whom to follow |",
                          "| `optimizer.lr` | a number above 0 | 0.01 | learning rate |"}) {
    EXPECT_NE(markdown.find(row), std::string::npos) << row << "\nis not in\n" << markdown;
  }
  const std::string console = to_console(catalogue.at("teach", ""));
  for (const char* line :
       {"\n  epochs: an integer of at least 1, by default 1\n      rounds\n",
        "\n  teacher: a string, required\n      whom to follow\n",
        "\n  optimizer.lr: a number above 0, by default 0.01\n      learning rate\n"}) {
    EXPECT_NE(console.find(line), std::string::npos) << line << "\nis not in\n" << console;
  }
}

}  // namespace
}  // namespace edgecompress
