#include "train/accuracy_tools.h"

#include <utility>

#include "model/cross_layer_equalization.h"
#include "train/int8_judge.h"

namespace edgecompress {
namespace {

/// The network and its scheme, as good as the tools tried so far have made them.
class Improvement {
 public:
  Improvement(Model& model, const SchemeMaker& make_scheme, const DataSets& data,
              Progress& progress)
      : model_(model), make_scheme_(make_scheme), judge_(data, progress) {
    best_.scheme = make_scheme(model);
    sqnr_db_ = judge_.sqnr_db(model, best_.scheme);
  }

  /// `change` edits a clone of the float network, leaving its function, and returns what it did.
  void try_network(const std::string& tool, const std::function<Json(Model&)>& change) {
    Model changed = model_.clone();
    Json details = change(changed);
    Int8Scheme scheme = make_scheme_(changed);
    if (!settle(tool, std::move(details), judge_.sqnr_db(changed, scheme))) return;
    best_.scheme = std::move(scheme);
    model_ = std::move(changed);
  }

  AccurateInt8 take() { return std::move(best_); }

 private:
  /// Whether the tool's work stays.
  bool settle(const std::string& tool, Json details, double sqnr_db) {
    const bool is_kept = sqnr_db > sqnr_db_;
    best_.tools.push_back({tool, is_kept, sqnr_db_, sqnr_db, std::move(details)});
    if (is_kept) sqnr_db_ = sqnr_db;
    return is_kept;
  }

  Model& model_;
  const SchemeMaker& make_scheme_;
  Int8Judge judge_;
  AccurateInt8 best_;
  double sqnr_db_ = 0;
};

Json equalize(Model& model) {
  const Equalization done = equalize_layers(model);
  return {{"channels", done.channels},
          {"weights", done.weights},
          {"sweeps", done.sweeps},
          {"spread_before", done.spread_before},
          {"spread_after", done.spread_after}};
}

}  // namespace

Options<AccuracyToolOptions> accuracy_tool_options() {
  using T = AccuracyToolOptions;
  Options<T> options;
  options.add("equalize", &T::equalize,
              "static mode: scales channels between layers until each weight's have like ranges "
              "(cross-layer equalization); kept if it brings the outputs nearer to the float ones");
  return options;
}

Json to_json(const std::vector<AccuracyTool>& tools) {
  Json list = Json::array();
  for (const AccuracyTool& tool : tools) {
    Json entry = {{"tool", tool.tool},
                  {"kept", tool.is_kept},
                  {"sqnr_before_db", tool.sqnr_before_db},
                  {"sqnr_after_db", tool.sqnr_after_db}};
    entry.update(tool.details);
    list.push_back(std::move(entry));
  }
  return list;
}

AccurateInt8 make_accurate_int8(Model& model, const SchemeMaker& make_scheme,
                                const AccuracyToolOptions& options, const DataSets& data,
                                Progress& progress) {
  if (!options.equalize) return {make_scheme(model), {}};
  Improvement improvement(model, make_scheme, data, progress);
  if (options.equalize) improvement.try_network("equalize", equalize);
  return improvement.take();
}

}  // namespace edgecompress
