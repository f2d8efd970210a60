// `evaluate`: how well one stored model does on one set of data.
#include "eval/evaluate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <filesystem>

#include "eval/size.h"
#include "model/device.h"
#include "model/model.h"
#include "passes/catalogue.h"
#include "pipeline/commands.h"
#include "pipeline/measure.h"
#include "pipeline/preparation.h"
#include "recipe/json_text.h"
#include "util/file.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxSpecBytes = 1 << 20;

struct NamedData {
  std::shared_ptr<const Dataset> set;
  std::string name;
  std::int64_t batch_size;
};

Json parse_spec(const std::string& text, const std::string& where) {
  try {
    return parse_json(text);
  } catch (const Error& error) {
    throw Error(error.code(), where + ": " + error.what(),
                "Give a data set as in a recipe: {\"source\": \"npz\", \"path\": ...}");
  }
}

NamedData open_spec(const std::string& text, const fs::path& base, const std::string& where) {
  const DatasetSpec spec = parse_dataset(parse_spec(text, where), "");
  if (!spec.from.empty()) {
    throw Error(ExitCode::kRecipe, "/from: a data set on its own has no other to be taken from",
                "Use RECIPE#" + spec.from + ", or name a source.");
  }
  return {open_dataset(spec, base, /*seed=*/0, /*is_training=*/false), "data", spec.batch_size};
}

NamedData open_recipe_set(const std::string& path, const std::string& name) {
  const DataSets data = open_data(load_recipe(path, pass_catalogue()));
  const NamedData sets[] = {{data.train, "train", data.train_batch},
                            {data.calibration, "calibration", data.calibration_batch},
                            {data.validation, "validation", data.validation_batch},
                            {data.test, "test", data.test_batch}};
  std::vector<std::string> known;
  for (const NamedData& named : sets) {
    if (named.set && named.name == name) return named;
    if (named.set) known.push_back(named.name);
  }
  throw Error(ExitCode::kRecipe, fmt::format("{} has no data set '{}'", path, name),
              "It has: " + join(known, ", "));
}

/// JSON, a file that holds it, or RECIPE#SET.
NamedData open_request(const std::string& data) {
  if (starts_with(data, "{")) return open_spec(data, fs::current_path(), "--data");
  const auto mark = data.rfind('#');
  if (mark != std::string::npos && !fs::exists(data)) {
    return open_recipe_set(data.substr(0, mark), data.substr(mark + 1));
  }
  return open_spec(read_file(data, ExitCode::kData, kMaxSpecBytes),
                   fs::absolute(data).parent_path(), data);
}

/// The file as it is stored, run on the device; outputs come back to the CPU.
Forward load_forward(const std::string& path, at::Device device) {
  torch::jit::Module module = load_as_stored(path);
  if (device.is_cpu()) return forward_of(std::move(module));
  module.to(device);
  return [device, forward = forward_of(std::move(module))](const std::vector<at::Tensor>& inputs) {
    std::vector<at::Tensor> moved = inputs;
    for (at::Tensor& input : moved) input = input.to(device);
    std::vector<at::Tensor> outputs = forward(moved);
    for (at::Tensor& output : outputs) output = output.to(at::kCPU);
    return outputs;
  };
}

std::string text_of(const Evaluation& evaluation) {
  Table table({"measure", "value"}, {Table::Align::kLeft, Table::Align::kRight});
  if (evaluation.test) {
    const Score& score = *evaluation.test;
    table.add_row({score.metric, fmt::format("{:.5g}", score.value)});
    if (score.correct)
      table.add_row({"right", fmt::format("{} of {}", *score.correct, score.samples)});
  }
  if (evaluation.fidelity) {
    const Fidelity& fidelity = *evaluation.fidelity;
    table.add_row({"cosine to the reference", fmt::format("{:.6f}", fidelity.cosine)});
    table.add_row({"SQNR", fmt::format("{:.2f} dB", fidelity.sqnr_db)});
    if (fidelity.top1_agreement) {
      table.add_row({"top-1 agreement", fmt::format("{:.5g}", *fidelity.top1_agreement)});
    }
  }
  table.add_row({"file", human_bytes(evaluation.size.file_bytes)});
  table.add_row({"zipped", human_bytes(evaluation.size.zipped_bytes)});
  table.add_row({"parameters", human_count(evaluation.size.parameters)});
  table.add_row({"nonzero parameters", human_count(evaluation.size.nonzero_parameters)});
  return table.console();
}

}  // namespace

Outcome evaluate_command(const EvaluateRequest& request, Progress& progress) {
  prepare_process(request.threads.value_or(0), request.op_libraries);
  const at::Device device = find_device(request.device);
  const Forward forward = load_forward(request.model, device);
  const NamedData data = open_request(request.data);
  const bool is_scored = data.set->has_target() && request.metric != "fidelity";
  if (!is_scored && !request.reference) {
    throw Error(ExitCode::kUsage, "without labels there is nothing to score",
                "Give --reference MODEL to compare outputs, or data with a target.");
  }
  DataSets sets;
  sets.test = data.set;
  sets.test_batch = data.batch_size;
  check_data_fits(forward, sets, request.metric);

  Evaluation evaluation;
  evaluation.size = measure_size(request.model, load_as_stored(request.model));
  if (is_scored) {
    evaluation.test =
        evaluate_score(forward, *data.set, data.batch_size, request.metric, data.name, progress);
  }
  if (request.reference) {
    evaluation.fidelity = evaluate_fidelity(forward, load_forward(*request.reference, device),
                                            *data.set, data.batch_size, data.name, progress);
  }
  return {ExitCode::kDone, text_of(evaluation), to_json(evaluation).dump(2)};
}

}  // namespace edgecompress
