#include "batch/zoo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ZooRow row(const std::string& name, ModelState state, const std::string& reason = "") {
  ZooRow made;
  made.name = name;
  made.model = "/zoo/" + name + ".pt";
  made.state = state;
  made.reason = reason;
  return made;
}

Zoo small_zoo() {
  Zoo zoo;
  zoo.recipe = "edge";
  zoo.started = "2026-01-02T03:04:05Z";
  zoo.seconds = 12.5;
  zoo.rows = {row("a", ModelState::kDone),
              row("b", ModelState::kGateMissed, "max_size_ratio is 0.5"),
              row("c", ModelState::kCrashed, "a <b> & \"c\", with\na line and \x01 | pipes"),
              row("d", ModelState::kPending, "not run")};
  zoo.rows[0].exit_code = 0;
  zoo.rows[0].figures = {"top1", 0.9, 0.875, 2000, 500, 4.0, 2.0, 1.75};
  zoo.rows[0].seconds = 3.25;
  zoo.rows[0].peak_memory_bytes = 1000;
  zoo.rows[2].signal = 11;
  return zoo;
}

TEST(Zoo, JsonHoldsEverything) {
  const Json json = to_json(small_zoo());
  EXPECT_EQ(to_json(zoo_from_json(json)), json);
  EXPECT_EQ(json.at("states"),
            Json({{"done", 1}, {"gate missed", 1}, {"crashed", 1}, {"pending", 1}}));
  EXPECT_EQ(json.at("models").at(0).at("speedup"), 1.75);
  EXPECT_TRUE(json.at("models").at(1).at("speedup").is_null());
}

TEST(Zoo, OtherJsonIsRefusedWithItsReason) {
  EXPECT_THROW(zoo_from_json(Json()), Error);
  EXPECT_THROW(zoo_from_json(Json::array()), Error);
  Json json = to_json(small_zoo());
  json["models"][0]["state"] = "fine";
  EXPECT_THROW(zoo_from_json(json), Error);
  json = to_json(small_zoo());
  json["models"][0]["seconds"] = "long";
  EXPECT_THROW(zoo_from_json(json), Error);
  json = to_json(small_zoo());
  json["schema_version"] = 99;
  EXPECT_THROW(zoo_from_json(json), Error);
}

TEST(Zoo, CsvQuotesWhatWouldEndAField) {
  const std::string csv = to_csv(small_zoo());
  EXPECT_THAT(csv,
              HasSubstr("a,/zoo/a.pt,done,,0,,top1,0.9,0.875,2000,500,4,2,1.75,3.25,0,1000\r\n"));
  EXPECT_THAT(csv, HasSubstr(",crashed,\"a <b> & \"\"c\"\", with\na line and \x01 | pipes\",,11,"));
}

TEST(Zoo, JunitIsXmlWhateverTheReason) {
  const std::string junit = to_junit(small_zoo());
  EXPECT_THAT(junit, HasSubstr("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""));
  EXPECT_THAT(junit, HasSubstr("<testcase classname=\"edgecompress\" name=\"a\" time=\"3.250\"/>"));
  EXPECT_THAT(junit,
              HasSubstr("<failure message=\"max_size_ratio is 0.5\" type=\"gate missed\"/>"));
  EXPECT_THAT(junit,
              HasSubstr("<error message=\"a &lt;b&gt; &amp; &quot;c&quot;, with a line and   | "
                        "pipes\" type=\"crashed\"/>"));
  EXPECT_THAT(junit, HasSubstr("<skipped message=\"not run\"/>"));
}

TEST(Zoo, MarkdownHasARowAModel) {
  const std::string markdown = to_markdown(small_zoo());
  EXPECT_THAT(
      markdown,
      HasSubstr("| a | done | top1 90.0 % to 87.5 % | 500 B (0.25x) | 2.00 ms (1.75x) | 3.2 s |"));
  EXPECT_THAT(markdown, HasSubstr("\\| pipes |\n"));
  EXPECT_THAT(markdown, HasSubstr("1 done, 1 gate missed, 1 crashed, 1 pending")) << markdown;
}

TEST(Zoo, FiguresComeFromTheBestWitness) {
  Json report = Json::parse(R"({
    "baseline": {"validation": {"value": 0.5}, "test": {"value": 0.6}, "latency": {"median_ms": 3}},
    "final": {"validation": {"metric": "top1", "value": 0.4}, "test": {"metric": "top1", "value": 0.55},
              "fidelity": {"sqnr_db": 20, "top1_agreement": 0.9}, "latency": {"median_ms": 1.5},
              "speedup": 1.9}})");
  EXPECT_EQ(figures_of(report).accuracy_after, 0.55);
  EXPECT_EQ(figures_of(report).accuracy_before, 0.6);
  EXPECT_EQ(figures_of(report).speedup, 1.9) << "not the ratio of the latencies";
  report["final"]["test"] = nullptr;
  EXPECT_EQ(figures_of(report).accuracy_after, 0.4);
  report["final"]["validation"] = nullptr;
  EXPECT_EQ(figures_of(report).metric, "fidelity_top1");
  report["final"]["fidelity"]["top1_agreement"] = nullptr;
  EXPECT_EQ(figures_of(report).metric, "fidelity_sqnr_db");
}

TEST(Zoo, AReportThatIsNoneGivesNoFigures) {
  for (const char* text : {"null", "[]", "3", "{}", R"({"final": 3, "gates": 4, "steps": {}})",
                           R"({"gates": [7], "steps": [8]})"}) {
    EXPECT_FALSE(figures_of(Json::parse(text)).bytes_after) << text;
    EXPECT_EQ(missed_gates_of(Json::parse(text)), "") << text;
  }
}

TEST(Zoo, AMissedGateOfAStepIsToldWithItsPass) {
  const Json report = Json::parse(R"({"gates": [], "steps": [{"pass": "prune_weights", "gates": [
      {"gate": "max_accuracy_drop", "bound": 0.01, "found": 0.2, "is_met": false}]}]})");
  EXPECT_EQ(missed_gates_of(report), "prune_weights: max_accuracy_drop is 0.2, the bound 0.01");
}

}  // namespace
}  // namespace edgecompress
