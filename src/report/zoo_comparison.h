// Whole batches beside each other: the comparison of each model's runs, and which models were lost.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/comparison.h"

namespace edgecompress {

struct ComparedZoo {
  struct Model {
    std::string state;               ///< as in zoo.json: "done", "gate missed", "crashed", ...
    std::optional<ComparedRun> run;  ///< of those that have a report
  };
  std::string name;  ///< the file, as the user calls it
  std::map<std::string, Model> models;
};

/// From a parsed zoo.json. `read_report` gives the report of the model of that name, which is a
/// single folder's. Throws Error(kData) that begins with `name` for anything else, and what
/// `read_report` throws.
ComparedZoo compared_zoo(const Json& zoo, const std::string& name,
                         const std::function<Json(const std::string& model)>& read_report);

struct ZooComparison {
  struct Row {
    std::string model;
    std::vector<std::string> states;       ///< one a batch; "" where it has no such model
    std::optional<Comparison> comparison;  ///< where every batch has a report of it
  };
  std::vector<std::string> zoos;
  std::vector<Row> rows;                 ///< by the model's name
  std::vector<std::string> regressions;  ///< each begins with the model; models lost are some too
};

/// A model is lost where the first batch has a result and another has none, or one that misses a
/// gate that was met.
ZooComparison compare(const std::vector<ComparedZoo>& zoos, const Thresholds& thresholds);

Json to_json(const ZooComparison& comparison);
std::string to_console(const ZooComparison& comparison);
std::string to_markdown(const ZooComparison& comparison);

}  // namespace edgecompress
