#include "pipeline/forecast.h"

#include <c10/core/InferenceMode.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "data/views.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "pipeline/journal.h"
#include "pipeline/runner.h"
#include "pipeline/step_cache.h"
#include "util/file.h"
#include "util/hash.h"
#include "util/log.h"
#include "util/passing_folder.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kFewBatches = 2, kMoreBatches = 6;
constexpr std::int64_t kFirstBatches = 1;  ///< of a trial for what is slow the first time only

/// What trials say of themselves is of no interest.
class QuietLog {
 public:
  QuietLog() : level_(log().level()) { log().set_level(spdlog::level::err); }
  ~QuietLog() { log().set_level(level_); }
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;

 private:
  spdlog::level::level_enum level_;
};

/// The first number of epochs somewhere in the options; 1 without one.
std::int64_t epochs_of(const Json& options) {
  if (!options.is_object()) return 1;
  for (const auto& [name, value] : options.items()) {
    if (name == "epochs" && value.is_number_integer()) return value.get<std::int64_t>();
    const std::int64_t inner = epochs_of(value);
    if (inner != 1) return inner;
  }
  return 1;
}

/// One epoch, whose weights are kept whatever they are: a few batches make no network better.
void shorten(Json& options) {
  if (!options.is_object()) return;
  for (auto& [name, value] : options.items()) {
    if (name == "epochs" && value.is_number_integer() && value > 1) value = 1;
    if (name == "keep_best") value = false;
    shorten(value);
  }
}

Recipe shortened(Recipe recipe) {
  recipe.gates = {};
  for (StepSpec& step : recipe.passes) {
    step.gate = {};
    shorten(step.options);
  }
  return recipe;
}

bool trains(const StepSpec& step) {
  return find_pass(step.pass).description.needs_with(step.options).training;
}

using Set = std::shared_ptr<const Dataset>;

double share_of(const Set& set, std::int64_t samples) {
  return set ? std::min(1.0, static_cast<double>(samples) / static_cast<double>(set->size())) : 1;
}

/// So much of it, evenly spread, in order.
Set spread(const Set& set, double share) {
  if (!set || share >= 1) return set;
  const auto count =
      std::max<std::int64_t>(1, std::llround(share * static_cast<double>(set->size())));
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < count; ++i) indices.push_back(i * set->size() / count);
  return std::make_shared<SubsetDataset>(set, std::move(indices));
}

/// How much of its data each kind of step reads.
struct Shares {
  double train = 1, calibration = 1;
  double of(const StepSpec& step) const { return trains(step) ? train : calibration; }
};

Shares shares_of(const DataSets& data, std::int64_t batches) {
  return {share_of(data.train, batches * data.train_batch),
          share_of(data.calibration, batches * data.calibration_batch)};
}

Preparation reduced(const Preparation& whole, const Shares& shares, bool is_training) {
  DataSets data = whole.data;
  const double choosing = is_training ? shares.train : shares.calibration;
  data.train = spread(data.train, shares.train);
  data.calibration = spread(data.calibration, shares.calibration);
  data.validation = spread(data.validation, choosing);
  data.test = spread(data.test, choosing);
  return {whole.model_path,    whole.threads, whole.op_libraries, std::move(data),     whole.inputs,
          whole.model.clone(), whole.notes,   whole.engine,       whole.has_own_labels};
}

std::vector<std::vector<std::int64_t>> output_shapes(const Model& model) {
  const c10::InferenceMode inference;
  std::vector<std::vector<std::int64_t>> shapes;
  if (model.inputs().empty()) return shapes;
  for (const at::Tensor& output : model.forward(model.example_inputs(model.inputs()[0].shape[0]))) {
    shapes.push_back(output.sizes().vec());
  }
  return shapes;
}

fs::path temporary_place() {
  std::error_code error;
  fs::path place = fs::temp_directory_path(error);
  if (error) throw write_error("the folder for temporary files (TMPDIR)", error.value());
  return place;
}

/// The recipe on a little of its data.
std::vector<Forecast> try_out(const Recipe& recipe, const Preparation& preparation) {
  const PassingFolder folder(temporary_place(), "edgecompress-");
  const Journal journal(folder.path() / "out", /*resume=*/false);
  const StepCache no_cache;
  Progress silent;
  Runner runner(recipe, preparation, folder.path(), journal, no_cache, at::kCPU,
                MeasureScope::kSize, silent);
  runner.run();
  if (runner.is_interrupted()) std::rethrow_exception(runner.failure());
  std::vector<Forecast> forecasts(recipe.passes.size());
  for (std::size_t i = 0; i < forecasts.size(); ++i) {
    if (i >= runner.report().steps.size()) {
      forecasts[i].obstacle = "a step before it fails on a little of the data";
      continue;
    }
    const StepRecord& step = runner.report().steps[i];
    if (!step.evaluation) {
      forecasts[i].obstacle = step.note;
      continue;
    }
    forecasts[i].parameters = step.evaluation->size.parameters;
    forecasts[i].file_bytes = step.evaluation->size.file_bytes;
    forecasts[i].macs = step.evaluation->macs;
    forecasts[i].seconds = step.seconds;
    forecasts[i].peak_memory_bytes = step.peak_memory_bytes;
    const fs::path file = runner.file_after(i);
    forecasts[i].outputs = output_shapes(Model::load(file, preparation.inputs));
  }
  return forecasts;
}

/// Seconds of the whole, from those that two shares of it took.
double extrapolated(double few_seconds, double few_share, double more_seconds, double more_share,
                    std::int64_t epochs) {
  const double shares = more_share - few_share;
  double growing = shares > 0 ? std::max(0.0, (more_seconds - few_seconds) / shares) : 0;
  if (growing == 0 && epochs > 1) growing = more_seconds / more_share;
  const double constant = std::max(0.0, more_seconds - more_share * growing);
  return constant + static_cast<double>(epochs) * growing;
}

std::string key_of(const Recipe& recipe, std::map<std::string, std::string> sha256_of_inputs) {
  sha256_of_inputs["recipe"] = recipe.sha256;
  const Environment machine = describe_environment();
  return sha256(Json{{"kind", "forecast"},
                     {"inputs", sha256_of_inputs},
                     {"threads", recipe.deterministic ? 1 : recipe.threads},
                     {"cpu", machine.cpu},
                     {"libtorch", machine.libtorch_version},
                     {"edgecompress", machine.edgecompress_version}}
                    .dump());
}

}  // namespace

std::vector<Forecast> forecast_steps(const Recipe& recipe, const Preparation& preparation,
                                     Progress& progress) {
  const Recipe little = shortened(recipe);
  const bool is_training = std::any_of(recipe.passes.begin(), recipe.passes.end(), trains);
  const Shares few = shares_of(preparation.data, kFewBatches);
  const Shares more = shares_of(preparation.data, kMoreBatches);
  const QuietLog quiet;
  constexpr int kTrials = 3;
  progress.begin("forecast", kTrials);
  const auto attempt = [&](const Preparation& data) {
    std::vector<Forecast> tried = try_out(little, data);
    progress.advance();
    return tried;
  };
  attempt(reduced(preparation, shares_of(preparation.data, kFirstBatches), is_training));
  const std::vector<Forecast> small = attempt(reduced(preparation, few, is_training));
  std::vector<Forecast> result = attempt(reduced(preparation, more, is_training));
  progress.end();
  for (std::size_t i = 0; i < result.size(); ++i) {
    const StepSpec& step = recipe.passes[i];
    result[i].seconds = extrapolated(small[i].seconds, few.of(step), result[i].seconds,
                                     more.of(step), epochs_of(step.options));
  }
  return result;
}

ForecastStore::ForecastStore(ResultStore store) : store_(std::move(store)) {}

void ForecastStore::keep(const Recipe& recipe, const std::map<std::string, std::string>& sha256,
                         const std::vector<Forecast>& forecasts) const {
  Json list = Json::array();
  for (const Forecast& forecast : forecasts) list.push_back(to_json(forecast));
  try {
    store_.put(key_of(recipe, sha256), {{"what", "forecast"}, {"forecasts", std::move(list)}},
               [](const fs::path&) {});
  } catch (const std::exception& error) {
    log().warn("cache {}: the forecast is not kept: {}", store_.folder().string(), error.what());
  }
}

void ForecastStore::compare(const Recipe& recipe, Report& report) const {
  const auto kept = store_.find(key_of(recipe, report.sha256));
  if (!kept) return;
  try {
    const Json& list = kept->description.at("forecasts");
    for (std::size_t i = 0; i < std::min(list.size(), report.steps.size()); ++i) {
      report.steps[i].forecast = forecast_from_json(list[i]);
    }
  } catch (const nlohmann::json::exception& error) {
    log().warn("cache {}: the forecast can't be read: {}", store_.folder().string(), error.what());
  }
}

}  // namespace edgecompress
