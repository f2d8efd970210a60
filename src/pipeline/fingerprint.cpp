#include "pipeline/fingerprint.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <vector>

#include "edgecompress/edgecompress.h"
#include "util/hash.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// SHA-256 of every file that a value somewhere in the options names: teachers, adapters.
void hash_named_files(const Recipe& recipe, const Json& options, Json& hashes) {
  if (options.is_structured()) {
    for (const Json& value : options) hash_named_files(recipe, value, hashes);
  } else if (options.is_string()) {
    const auto name = options.get<std::string>();
    std::error_code none;
    if (name.empty()) return;
    const fs::path path = recipe.locate(name);
    if (fs::is_regular_file(path, none)) hashes[name] = sha256_of_file(path);
    if (!fs::is_directory(path, none)) return;
    for (const auto& file : fs::directory_iterator(path)) {
      if (!file.is_regular_file(none)) continue;
      hashes[name + "/" + file.path().filename().string()] = sha256_of_file(file.path());
    }
  }
}

/// The file that a function of ours was loaded from.
std::string fingerprint_of_code(const void* function) {
  Dl_info info;
  if (::dladdr(function, &info) == 0 || info.dli_fname == nullptr) return "unknown";
  return sha256_of_file(fs::is_regular_file(info.dli_fname) ? info.dli_fname : "/proc/self/exe");
}

/// Two builds of one version may do otherwise. Computed once: a program does not change as it runs.
const Json& own_code() {
  static const Json code = {fingerprint_of_code(reinterpret_cast<const void*>(&step_fingerprint)),
                            fingerprint_of_code(reinterpret_cast<const void*>(&sha256_of_file))};
  return code;
}

Json inputs_of(const Preparation& preparation) {
  Json inputs = Json::array();
  for (const InputSpec& input : preparation.inputs) {
    inputs.push_back({{"shape", input.shape}, {"dtype", input.dtype}, {"high", input.high}});
  }
  return inputs;
}

Json machine_of(const Environment& environment) {
  return {{"libtorch", environment.libtorch_version},
          {"engine", environment.quantized_engine},
          {"cpu", environment.cpu},
          {"blas", environment.blas},
          {"blas_core", environment.blas_core},
          {"threads", environment.threads}};
}

}  // namespace

Json step_fingerprint(const Recipe& recipe, const Preparation& preparation, const Report& report,
                      std::size_t index, const fs::path& model, bool has_own_labels,
                      const std::string& device) {
  const StepSpec& step = recipe.passes.at(index);
  Json files = Json::object();
  hash_named_files(recipe, step.options, files);
  for (const std::string& library : preparation.op_libraries) {
    hash_named_files(recipe, library, files);
  }
  auto inputs = report.sha256;
  inputs.erase("recipe");  // what it says of other steps is of no matter
  const LatencySpec& latency = recipe.evaluation.latency;
  return {{"edgecompress", report.environment.edgecompress_version},
          {"code", own_code()},
          {"machine", machine_of(report.environment)},
          {"device", device},
          {"pass", step.pass},
          {"step", index + 1},
          {"options", step.options},
          {"files", std::move(files)},
          {"model", sha256_of_file(model)},
          {"shapes", inputs_of(preparation)},
          {"seed", recipe.seed},
          {"data", recipe.resolved.value("data", Json::object())},
          {"metric", recipe.evaluation.metric},
          {"has_own_labels", has_own_labels},
          {"latency", {{"batch_size", latency.batch_size}, {"threads", latency.threads}}},
          {"inputs", std::move(inputs)}};
}

std::string describe_differences(const Json& before, const Json& now) {
  constexpr std::size_t kMost = 3;
  const Json changes = Json::diff(before, now);
  std::vector<std::string> texts;
  for (const Json& change : changes) {
    if (texts.size() == kMost) {
      texts.push_back(fmt::format("{} more", changes.size() - kMost));
      break;
    }
    const auto path = change.at("path").get<std::string>();
    const Json::json_pointer place(path);
    const auto value_in = [&](const Json& json) {
      return json.contains(place) ? json.at(place).dump() : "absent";
    };
    texts.push_back(fmt::format("{} was {} and is {}", path, value_in(before), value_in(now)));
  }
  return join(texts, ", ");
}

}  // namespace edgecompress
