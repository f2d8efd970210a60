// `benchmark`: stored models side by side.
#include <fmt/format.h>

#include "eval/latency.h"
#include "eval/size.h"
#include "model/model.h"
#include "model/runtime.h"
#include "pipeline/commands.h"
#include "pipeline/input_text.h"
#include "pipeline/preparation.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

std::string latency_table(const std::vector<std::string>& models,
                          const std::vector<Evaluation>& evaluations) {
  using Align = Table::Align;
  Table table({"model", "median", "p10", "p90", "speed-up", "form", "file", "zipped", "parameters",
               "memory"},
              {Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight,
               Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  for (std::size_t i = 0; i < models.size(); ++i) {
    const Evaluation& evaluation = evaluations[i];
    const Latency& latency = *evaluation.latency;
    const std::int64_t memory = evaluation.peak_memory_bytes;
    table.add_row(
        {models[i], fmt::format("{:.3f} ms", latency.median_ms),
         fmt::format("{:.3f}", latency.p10_ms), fmt::format("{:.3f}", latency.p90_ms),
         fmt::format("{:.2f}x", *evaluation.speedup), latency.form,
         human_bytes(evaluation.size.file_bytes), human_bytes(evaluation.size.zipped_bytes),
         human_count(evaluation.size.parameters), memory > 0 ? human_bytes(memory) : "unknown"});
  }
  return table.console();
}

}  // namespace

Outcome benchmark_command(const BenchmarkRequest& request, Progress& progress) {
  const auto inputs = parse_inputs(request.inputs);
  std::vector<std::string> notes;
  prepare_process(request.threads, request.op_libraries, &notes);
  std::vector<LatencyCandidate> candidates;
  std::vector<Evaluation> evaluations;
  for (const std::string& model : request.models) {
    Evaluation evaluation;
    evaluation.size = measure_size(model, load_as_stored(model));
    evaluation.peak_memory_bytes = measure_peak_memory(model, inputs, request.batch_size);
    evaluations.push_back(std::move(evaluation));
    candidates.push_back({model, model});
  }
  const LatencySpec spec{request.batch_size, request.threads, request.warm_up, request.repeats};
  const auto latencies = measure_latency(candidates, inputs, spec, progress);

  Json json = {{"environment", to_json(describe_environment())},
               {"notes", notes},
               {"models", Json::array()}};
  for (std::size_t i = 0; i < evaluations.size(); ++i) {
    evaluations[i].latency = latencies.at(i);
    evaluations[i].speedup = latencies[0].median_ms / latencies[i].median_ms;
    json["models"].push_back(
        {{"model", request.models[i]}, {"evaluation", to_json(evaluations[i])}});
  }
  std::string text = latency_table(request.models, evaluations);
  text += fmt::format("\nbatch {}, {} threads, {} repeats in turn after {} warm-up, {}\n",
                      spec.batch_size, spec.threads, latencies[0].repeats, spec.warm_up,
                      describe_environment().cpu);
  return {ExitCode::kDone, text, json.dump(2)};
}

}  // namespace edgecompress
