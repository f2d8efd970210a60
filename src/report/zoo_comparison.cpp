#include "report/zoo_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "edgecompress/error.h"
#include "report/comparison_text.h"
#include "report/format.h"

namespace edgecompress {

namespace {

/// How much of a result there is.
int rank_of(const std::string& state) {
  return state == "done" ? 2 : state == "gate missed" ? 1 : 0;
}

ZooComparison::Row compare_model(const std::string& model, const std::vector<ComparedZoo>& zoos,
                                 const Thresholds& thresholds) {
  ZooComparison::Row row{model, {}, {}};
  std::vector<ComparedRun> runs;
  for (const ComparedZoo& zoo : zoos) {
    const auto found = zoo.models.find(model);
    const bool is_there = found != zoo.models.end();
    row.states.push_back(is_there ? found->second.state : "");
    if (!is_there || !found->second.run) continue;
    runs.push_back(*found->second.run);
    runs.back().name = zoo.name;
  }
  if (runs.size() == zoos.size()) row.comparison = compare(runs, thresholds);
  return row;
}

void add_regressions(const ZooComparison::Row& row, std::vector<std::string>& regressions) {
  for (std::size_t i = 1; i < row.states.size(); ++i) {
    const std::string& before = row.states.front();
    if (rank_of(row.states[i]) >= rank_of(before)) continue;
    regressions.push_back(fmt::format("{}: was {} and is {}", row.model, before,
                                      row.states[i].empty() ? "absent" : row.states[i]));
  }
  if (!row.comparison) return;
  for (const std::string& line : describe_regressions(*row.comparison)) {
    regressions.push_back(row.model + ": " + line);
  }
}

Table zoo_table(const ZooComparison& comparison) {
  std::vector<std::string> columns;  // of figures, in the order of the first model that has them
  for (const auto& row : comparison.rows) {
    if (!row.comparison) continue;
    for (const Figure& figure : row.comparison->sections.back().figures) {
      const bool is_shown = figure.name != "memory" && figure.name != "file" &&
                            figure.name != "parameters" && figure.name != "SQNR";
      if (is_shown && std::find(columns.begin(), columns.end(), figure.name) == columns.end()) {
        columns.push_back(figure.name);
      }
    }
  }
  std::vector<std::string> header = {"model", "state"};
  header.insert(header.end(), columns.begin(), columns.end());
  Table table(header);
  for (const auto& row : comparison.rows) {
    std::vector<std::string> cells = {row.model, states_text(row.states)};
    for (const std::string& column : columns) {
      cells.push_back(row.comparison ? figure_text(row.comparison->sections.back(), column)
                                     : kMissing);
    }
    table.add_row(std::move(cells));
  }
  return table;
}

bool are_all_comparable(const ZooComparison& comparison) {
  return std::all_of(comparison.rows.begin(), comparison.rows.end(), [](const auto& row) {
    return !row.comparison || row.comparison->are_latencies_comparable();
  });
}

}  // namespace

ComparedZoo compared_zoo(const Json& zoo, const std::string& name,
                         const std::function<Json(const std::string& model)>& read_report) {
  ComparedZoo compared;
  compared.name = name;
  try {
    for (const Json& row : zoo.at("models")) {
      const auto model = row.at("name").get<std::string>();
      if (model.empty() || model == ".." || model.find('/') != std::string::npos) {
        throw Error(ExitCode::kData, fmt::format("{}: \"{}\" is no name of a model", name, model));
      }
      ComparedZoo::Model entry{row.at("state").get<std::string>(), {}};
      if (rank_of(entry.state) > 0) {
        entry.run = compared_run(read_report(model), fmt::format("{}, {}", name, model));
      }
      compared.models.emplace(model, std::move(entry));
    }
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kData, fmt::format("{}: not a report of a batch: {}", name, error.what()),
                "give a zoo.json that `edgecompress batch` wrote, or the folder that holds it");
  }
  return compared;
}

ZooComparison compare(const std::vector<ComparedZoo>& zoos, const Thresholds& thresholds) {
  ZooComparison comparison;
  std::set<std::string> models;
  for (const ComparedZoo& zoo : zoos) {
    comparison.zoos.push_back(zoo.name);
    for (const auto& model : zoo.models) models.insert(model.first);
  }
  for (const std::string& model : models) {
    comparison.rows.push_back(compare_model(model, zoos, thresholds));
    add_regressions(comparison.rows.back(), comparison.regressions);
  }
  return comparison;
}

Json to_json(const ZooComparison& comparison) {
  Json rows = Json::array();
  for (const auto& row : comparison.rows) {
    rows.push_back({{"model", row.model},
                    {"states", row.states},
                    {"comparison", row.comparison ? to_json(*row.comparison) : Json()}});
  }
  return {{"schema_version", 1},
          {"zoos", comparison.zoos},
          {"models", std::move(rows)},
          {"regressions", comparison.regressions}};
}

std::string to_console(const ZooComparison& comparison) {
  std::string text = zoo_table(comparison).console() + "\n";
  if (!are_all_comparable(comparison)) text += std::string(kSpoiledLatencies) + "\n";
  for (const std::string& line : comparison.regressions) text += "regression: " + line + "\n";
  return text;
}

std::string to_markdown(const ZooComparison& comparison) {
  std::string text = regression_list(comparison.regressions) + zoo_table(comparison).markdown();
  if (!are_all_comparable(comparison)) text += fmt::format("\n{}\n", kSpoiledLatencies);
  return text;
}

}  // namespace edgecompress
