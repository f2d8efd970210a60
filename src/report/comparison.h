// Several runs of the same kind beside each other: what changed, and whether that is still allowed.
// The first run is what the others are compared with.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/report.h"

namespace edgecompress {

/// What is compared of one run, or of one model (which has no steps and no original).
struct ComparedRun {
  struct Step {
    std::string name;   ///< "2 quantize_int8"
    std::string state;  ///< as in the report
    Json options = Json::object();
    std::optional<Evaluation> evaluation;
  };

  std::string name;  ///< the file, as the user calls it
  Environment environment;
  /// Of the original ("model") and of data sets ("data/test").
  std::map<std::string, std::string> sha256;
  std::optional<Evaluation> original;
  std::vector<Step> steps;
  Evaluation final;
};

/// From a parsed report.json. Throws Error(kData) that begins with `name` for anything else.
ComparedRun compared_run(const Json& report, const std::string& name);
/// From what to_json() made of them.
Evaluation evaluation_from_json(const Json& json);
Environment environment_from_json(const Json& json);

/// Most that may be lost from the first run to another. Absent: no bound.
struct Thresholds {
  std::optional<double> max_accuracy_drop;  ///< in the metric's own unit
  std::optional<double> max_size_growth;    ///< share of the zipped bytes: 0.05 is 5 %
  std::optional<double> max_macs_growth;    ///< share of the MACs
  std::optional<double> max_slowdown;       ///< share of the latency
};

/// One number of every run.
struct Figure {
  enum class Unit { kShare, kPlain, kBytes, kCount, kMilliseconds, kRatio, kDecibel };
  std::string name;  ///< "top1 (test)"
  Unit unit = Unit::kPlain;
  std::vector<std::optional<double>> values;  ///< one a run
  /// Against the first run: a difference of shares, plain numbers and decibels, else a ratio.
  std::vector<std::optional<double>> changes;
};

struct Comparison {
  std::vector<std::string> runs;

  /// The original, each step, or the final model. A step is the same where number and pass are.
  struct Section {
    std::string name;
    std::vector<std::string> states;  ///< of the step, one a run; "" where a run has no such step
    std::vector<Figure> figures;
  };
  std::vector<Section> sections;  ///< the last is the final model

  /// What is not the same in all runs, besides the figures.
  struct Difference {
    std::string what;                 ///< "cpu", "2 quantize_int8/mode"
    std::vector<std::string> values;  ///< one a run
    bool spoils_latency = false;      ///< latencies measured so are not comparable
  };
  std::vector<Difference> differences;

  struct Verdict {
    std::string run;
    GateResult result;
  };
  std::vector<Verdict> verdicts;  ///< one for each threshold and run but the first

  bool are_latencies_comparable() const;
  bool are_thresholds_met() const;
};

/// At least two runs. A threshold whose figure is missing, or can't be compared, is not met, and
/// says so. The slowdown is judged by the speed-ups over one and the same original where both runs
/// have it, since each was measured in turn with that original; else by the latencies themselves,
/// unless they were measured under other conditions.
Comparison compare(const std::vector<ComparedRun>& runs, const Thresholds& thresholds);

/// "out/b: max_size_growth 0.12 is above 0.05 (zipped bytes, 1.0 MB to 1.1 MB)", one for each
/// threshold that is not met.
std::vector<std::string> describe_regressions(const Comparison& comparison);

Json to_json(const Comparison& comparison);
std::string to_console(const Comparison& comparison);
/// For the summary of a pull request: what is wrong first, details folded away.
std::string to_markdown(const Comparison& comparison);

}  // namespace edgecompress
