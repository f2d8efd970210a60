#include "eval/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "edgecompress/error.h"
#include "eval/checked_forward.h"
#include "eval/metrics.h"

namespace edgecompress {
namespace {

/// Class ids are checked over the whole set where the source knows its range, so that a bad label
/// in the last sample is found before hours of work.
void check_label_range(const Dataset& data, const std::string& name, std::int64_t classes) {
  const auto range = data.label_range();
  if (!range || (range->low >= 0 && range->high < classes)) return;
  throw Error(ExitCode::kData,
              fmt::format("{}: labels run from {} to {}, but the model's output has {} classes "
                          "(labels 0 to {})",
                          name, range->low, range->high, classes, classes - 1),
              "labels count from 0; check the target's key or column, or use a model with enough "
              "classes");
}

void check_set_fits(const Forward& forward, const Dataset& data, std::int64_t batch_size,
                    const std::string& metric, const std::string& name) {
  check_not_empty(data, name);
  const std::int64_t count = std::min(batch_size, data.size());
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  const Batch batch = data.read(indices, /*seed=*/0);
  const BatchOrigin origin{name, 0, batch.size};
  check_batch_is_finite(batch, origin);
  const std::vector<at::Tensor> outputs = run_checked(forward, batch, origin);

  const std::string resolved = resolve_metric(metric, data);
  if (resolved == "fidelity" || !data.has_target()) return;
  const MetricInfo& info = find_metric(resolved);
  info.make()->add(outputs.front(), batch.target, origin);
  if (info.wants_classes) check_label_range(data, name, outputs.front().size(1));
}

}  // namespace

Score evaluate_score(const Forward& forward, const Dataset& data, std::int64_t batch_size,
                     const std::string& metric, const std::string& data_name, Progress& progress) {
  check_not_empty(data, data_name);
  if (!data.has_target()) {
    throw Error(
        ExitCode::kData,
        fmt::format("{}: the metric {} needs labels, and the set has none", data_name, metric),
        "name the target of the set, or use the metric \"fidelity\"");
  }
  const std::string resolved = resolve_metric(metric, data);
  const MetricInfo& info = find_metric(resolved);
  const c10::InferenceMode inference;
  const std::unique_ptr<Metric> score = info.make();
  const std::shared_ptr<const Dataset> borrowed(std::shared_ptr<const Dataset>(), &data);
  Loader loader(borrowed, batch_size);
  BatchOrigin origin{data_name, 0, 0};
  progress.begin("evaluate " + data_name, data.size());
  for (Batch batch; loader.next(batch);) {
    origin.size = batch.size;
    score->add(run_checked(forward, batch, origin).front(), batch.target, origin);
    origin.first += batch.size;
    progress.advance(batch.size);
  }
  progress.end();
  return {data_name,    info.name,        score->value(),
          origin.first, score->correct(), info.higher_is_better};
}

void check_data_fits(const Forward& forward, const DataSets& data, const std::string& metric) {
  const auto check = [&](const std::shared_ptr<const Dataset>& set, std::int64_t batch_size,
                         const std::string& name) {
    if (set) check_set_fits(forward, *set, batch_size, metric, name);
  };
  check(data.train, data.train_batch, "train");
  check(data.calibration, data.calibration_batch, "calibration");
  check(data.validation, data.validation_batch, "validation");
  check(data.test, data.test_batch, "test");
}

std::string resolve_metric(const std::string& metric, const Dataset& data) {
  if (metric != "auto") return metric;
  if (!data.has_target()) return "fidelity";
  const std::int64_t first = 0;
  const at::Tensor target = data.read(first, /*seed=*/0).target;
  return at::isIntegralType(target.scalar_type(), /*includeBool=*/true) ? "top1" : "mse";
}

bool higher_is_better(const std::string& metric) {
  return metric == "fidelity" || find_metric(metric).higher_is_better;
}

double accuracy_drop(const Score& before, const Score& after) {
  const double drop = before.value - after.value;
  return before.higher_is_better ? drop : -drop;
}

}  // namespace edgecompress
