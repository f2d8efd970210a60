#include "int8/int8_engine.h"

#include <ATen/Context.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <array>
#include <utility>

#include "edgecompress/error.h"
#include "int8/quantized.h"

namespace edgecompress {
namespace {

// The fastest on x86 first.
constexpr std::array<std::pair<at::QEngine, const char*>, 4> kEngines = {
    {{at::kONEDNN, "onednn"},
     {at::kX86, "x86"},
     {at::kFBGEMM, "fbgemm"},
     {at::kQNNPACK, "qnnpack"}}};

bool is_supported(at::QEngine engine) {
  const auto& supported = at::globalContext().supportedQEngines();
  return std::find(supported.begin(), supported.end(), engine) != supported.end();
}

std::string best_engine() {
  std::vector<std::string> engines = int8_engines();
#if !defined(__x86_64__) && !defined(__i386__)
  std::reverse(engines.begin(), engines.end());
#endif
  return engines.empty() ? "none" : engines.front();
}

}  // namespace

std::vector<std::string> int8_engines() {
  std::vector<std::string> names;
  for (const auto& [engine, name] : kEngines) {
    if (is_supported(engine)) names.emplace_back(name);
  }
  return names;
}

std::string int8_engine() {
  for (const auto& [engine, name] : kEngines) {
    if (at::globalContext().qEngine() == engine) return name;
  }
  return "none";
}

void use_int8_engine(const std::string& name) {
  const std::string wanted = name == "auto" ? best_engine() : name;
  if (wanted == "none") return;
  for (const auto& [engine, known] : kEngines) {
    if (known == wanted && is_supported(engine)) return at::globalContext().setQEngine(engine);
  }
  throw Error(ExitCode::kRecipe,
              fmt::format("this LibTorch has no INT8 engine \"{}\", only {}", name,
                          fmt::join(int8_engines(), " and ")),
              "use \"engine\": \"auto\", or a LibTorch built with that engine");
}

Int8EngineGuard::Int8EngineGuard(const std::string& name) : previous_(int8_engine()) {
  if (name != "auto") use_int8_engine(name);
}

Int8EngineGuard::~Int8EngineGuard() { use_int8_engine(previous_); }

WeightBits choose_weight_bits(std::optional<bool> reduces, const std::string& engine,
                              bool has_dot_products) {
  const bool is_qnnpack = engine == "qnnpack";
  if (!reduces) {
    if (is_qnnpack) return {kFullWeightRange, "qnnpack adds products in 32 bits"};
    return {kReducedWeightRange, "x86 CPUs without VNNI add two products in 16 bits"};
  }
  if (*reduces) return {kReducedWeightRange, "the recipe says so"};
  if (is_qnnpack || has_dot_products) return {kFullWeightRange, "the recipe says so"};
  return {kFullWeightRange,
          "the recipe says so; this CPU has no VNNI, sums of products may overflow on it"};
}

}  // namespace edgecompress
