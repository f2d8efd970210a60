#include "pipeline/preparation.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "eval/evaluate.h"
#include "int8/int8_engine.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "util/hash.h"
#include "util/log.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// What a pass refuses of its options, taken together, it refuses before any work.
void check_options(const Recipe& recipe) {
  for (std::size_t i = 0; i < recipe.passes.size(); ++i) {
    const StepSpec& step = recipe.passes[i];
    try {
      find_pass(step.pass).make(step.options);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("/passes/{}: {}", i, error.what()), error.hint());
    }
  }
}

/// INT8 layers run on the engine that packs them, so that which a step asks for packs them wherever
/// they are copied or loaded again, until the run ends.
std::string engine_of(const Recipe& recipe) {
  std::string engine = "auto";  // one step at most makes INT8
  for (const StepSpec& step : recipe.passes) engine = step.options.value("engine", engine);
  return engine;
}

void check_network(const Recipe& recipe, const std::string& name, const std::string& pointer) {
  // "teacher" and "current" are students that distill makes of what it has.
  if (name == "original" || name == "teacher" || name == "current") return;
  if (fs::is_regular_file(recipe.locate(name))) return;
  throw Error(ExitCode::kModel,
              fmt::format("{}: there is no file {}", pointer, recipe.locate(name).string()),
              "name a TorchScript file, relative to the recipe, or \"original\"");
}

/// A typing error in the name of a network should not wait until its step.
void check_networks(const Recipe& recipe) {
  for (std::size_t i = 0; i < recipe.passes.size(); ++i) {
    for (const char* option :
         {"/teacher", "/other_teachers", "/student/from", "/training/teacher"}) {
      const Json::json_pointer place(option);
      const Json& options = recipe.passes[i].options;
      if (!options.contains(place)) continue;
      const Json& names = options.at(place);
      const std::string pointer = fmt::format("/passes/{}{}", i, option);
      if (names.is_string()) check_network(recipe, names, pointer);
      if (!names.is_array()) continue;
      for (std::size_t n = 0; n < names.size(); ++n)
        check_network(recipe, names[n], child_pointer(pointer, n));
    }
  }
}

/// One line for a set of one file, else over the list of its files.
std::string fingerprint(const std::vector<fs::path>& files,
                        std::map<fs::path, std::string>& known) {
  std::string lines;
  for (const fs::path& file : files) {
    auto [entry, is_new] = known.emplace(file, "");
    if (is_new) entry->second = sha256_of_file(file);
    if (files.size() == 1) return entry->second;
    lines += entry->second + "  " + file.filename().string() + "\n";
  }
  return sha256(lines);
}

}  // namespace

std::int64_t prepare_process(std::int64_t threads, const std::vector<std::string>& op_libraries,
                             std::vector<std::string>* notes) {
  initialise_runtime();
  const std::int64_t used = set_threads(threads);
  const std::string complaint = blas_complaint(describe_blas());
  if (!complaint.empty()) {
    log().warn("{}", complaint);
    if (notes != nullptr) notes->push_back(complaint);
  }
  for (const std::string& library : op_libraries) load_op_library(library);
  return used;
}

bool gives_new_outputs(const StepSpec& step) {
  return find_pass(step.pass).description.needs_with(step.options).new_outputs;
}

std::vector<InputSpec> inputs_of(const Dataset& data) {
  const std::int64_t first = 0;
  const Batch batch = data.read(first, /*seed=*/0);
  std::vector<InputSpec> inputs;
  for (const at::Tensor& input : batch.inputs) {
    InputSpec spec;
    spec.shape = input.sizes().vec();
    spec.dtype = dtype_name(input.scalar_type());
    if (!input.is_floating_point()) {
      spec.high = input.to(at::kLong).max().item<std::int64_t>() + 1;
    }
    inputs.push_back(std::move(spec));
  }
  return inputs;
}

Preparation prepare(const Recipe& recipe, const std::vector<std::string>& op_libraries) {
  std::vector<std::string> libraries;
  for (const std::string& library : recipe.model.op_libraries) {
    libraries.push_back(recipe.locate(library).string());
  }
  libraries.insert(libraries.end(), op_libraries.begin(), op_libraries.end());
  std::vector<std::string> notes;
  const std::int64_t threads =
      prepare_process(recipe.deterministic ? 1 : recipe.threads, libraries, &notes);

  check_options(recipe);
  auto engine = std::make_shared<Int8EngineGuard>(engine_of(recipe));
  check_networks(recipe);
  DataSets data = open_data(recipe);
  notes.insert(notes.end(), data.notes.begin(), data.notes.end());
  std::vector<InputSpec> inputs = recipe.model.inputs;
  const auto choices = data.for_choices();
  if (inputs.empty() && choices) inputs = inputs_of(*choices);
  if (!choices) {
    notes.push_back(inputs.empty()
                        ? "no data and no input shapes: neither accuracy nor latency was measured"
                        : "no data: fidelity was measured on 32 seeded random inputs");
  } else if (!choices->has_target()) {
    notes.push_back("no labels: accuracy is told by the fidelity to the original model");
  }

  const fs::path path = recipe.locate(recipe.model.path);
  Model model = Model::load(path, inputs);
  const bool has_own_labels =
      std::none_of(recipe.passes.begin(), recipe.passes.end(), gives_new_outputs);
  if (!has_own_labels) {
    notes.push_back(
        "a step gives the network new outputs, for the labels: what is before it was not scored, "
        "and from it on there is no fidelity to the original");
  }
  check_data_fits([&](const std::vector<at::Tensor>& batch) { return model.forward(batch); }, data,
                  has_own_labels ? recipe.evaluation.metric : "fidelity");
  return {path,
          threads,
          std::move(libraries),
          std::move(data),
          std::move(inputs),
          std::move(model),
          std::move(notes),
          std::move(engine),
          has_own_labels};
}

std::map<std::string, std::string> fingerprints(const Recipe& recipe,
                                                const Preparation& preparation) {
  std::map<fs::path, std::string> known;
  std::map<std::string, std::string> result = {
      {"recipe", recipe.sha256}, {"model", fingerprint({preparation.model_path}, known)}};
  const auto add = [&](const std::string& name, const std::shared_ptr<const Dataset>& set) {
    if (set && !set->files().empty()) result["data/" + name] = fingerprint(set->files(), known);
  };
  add("train", preparation.data.train);
  add("calibration", preparation.data.calibration);
  add("validation", preparation.data.validation);
  add("test", preparation.data.test);
  return result;
}

}  // namespace edgecompress
