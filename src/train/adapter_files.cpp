#include "train/adapter_files.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "edgecompress/error.h"
#include "model/layer_filter.h"
#include "model/safetensors.h"
#include "recipe/json_text.h"
#include "util/text.h"

namespace edgecompress {

using Json = nlohmann::json;

namespace {

constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kBaseLayer = ".base_layer";

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void remove_all(std::string& text, const std::string& part) {
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

/// A regular expression, as PEFT's patterns are, that only this module matches.
std::string pattern_of(const std::string& module) {
  std::string pattern = "^";
  for (const char letter : module) {
    if (letter == '.') pattern += '\\';
    pattern += letter;
  }
  return pattern;
}

/// A number that is whole is written as one, as PEFT's own are.
Json number_of(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}

Json config_of(const StoredAdapters& stored) {
  const AdapterSettings first =
      stored.adapters.empty() ? AdapterSettings() : stored.adapters.front().settings;
  Json ranks = Json::object(), alphas = Json::object(), modules = Json::array();
  for (const Adapter& adapter : stored.adapters) {
    const AdapterSettings& settings = adapter.settings;
    modules.push_back(adapter.module);
    if (settings.rank != first.rank) ranks[pattern_of(adapter.module)] = settings.rank;
    if (settings.alpha != first.alpha) {
      alphas[pattern_of(adapter.module)] = number_of(settings.alpha);
    }
  }
  std::set<std::string> whole;
  for (const auto& [name, tensor] : stored.tensors) whole.insert(module_of(name));
  return {{"peft_type", "LORA"},
          {"task_type", nullptr},
          {"base_model_name_or_path", nullptr},
          {"inference_mode", true},
          {"r", first.rank},
          {"lora_alpha", number_of(first.alpha)},
          {"lora_dropout", number_of(first.dropout)},
          {"use_rslora", first.rslora},
          {"use_dora", first.dora},
          {"init_lora_weights", true},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"target_modules", modules},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"modules_to_save", whole.empty() ? Json() : Json(whole)}};
}

/// Reads the files of one adapter and says what is wrong with them.
class AdapterReader {
 public:
  AdapterReader(std::string_view config, std::string_view tensors, const std::string& where)
      : where_(where), config_(parse(config)) {
    read_settings();
    read_tensors(read_safetensors(tensors, where + "/" + kAdapterTensorsFile));
  }

  StoredAdapters take() {
    for (auto& [module, adapter] : adapters_) {
      finish(adapter);
      stored_.adapters.push_back(std::move(adapter));
    }
    if (stored_.adapters.empty()) fail("it holds no adapters");
    return std::move(stored_);
  }

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& hint = {}) const {
    throw Error(ExitCode::kData, where_ + ": " + what, hint);
  }

  Json parse(std::string_view text) const {
    try {
      Json json = parse_json(std::string(text));
      if (json.is_object()) return json;
    } catch (const Error& error) {
      fail(std::string(kAdapterConfigFile) + ": " + error.what());
    }
    fail(std::string(kAdapterConfigFile) + " is no JSON object");
  }

  /// The option, of the type of `missing`, which it is where the file doesn't have it.
  template <class T>
  T option(const char* name, const T& missing) const {
    const auto found = config_.find(name);
    if (found == config_.end() || found->is_null()) return missing;
    try {
      return found->get<T>();
    } catch (const Json::exception&) {
      fail(fmt::format("{}: {} is {}", kAdapterConfigFile, name, found->dump()));
    }
  }

  void read_settings() {
    const std::string method = option<std::string>("peft_type", "");
    if (method != "LORA") {
      fail(fmt::format("found an adapter of the method '{}', expected LORA", method));
    }
    if (option<std::string>("bias", "none") != "none") fail("adapters of biases are not known");
    if (option("fan_in_fan_out", false)) fail("adapters of transposed weights are not known");
    const Json start = config_.value("init_lora_weights", Json(true));
    for (const char* name : {"pissa", "olora", "corda"}) {
      if (start.is_string() && start.get<std::string>().rfind(name, 0) == 0) {
        fail(fmt::format("it was started by {}, which changed the weights under it", name),
             "have PEFT convert it to plain LoRA when it is saved "
             "(path_initial_model_for_weight_conversion)");
      }
    }
    settings_.rslora = option("use_rslora", false);
    settings_.dora = option("use_dora", false);
    settings_.dropout = option("lora_dropout", 0.0);
    settings_.alpha = option("lora_alpha", 8.0);
    if (!(settings_.dropout >= 0 && settings_.dropout < 1)) fail("lora_dropout is not in [0, 1)");
    const Json patterns = option("alpha_pattern", Json::object());
    for (const auto& [pattern, alpha] : patterns.items()) {
      if (!alpha.is_number()) fail("alpha_pattern holds " + alpha.dump());
      alphas_.emplace_back(filter_of(pattern), alpha.get<double>());
    }
  }

  LayerFilter filter_of(const std::string& pattern) const {
    try {
      return LayerFilter({"^(.*\\.)?(" + pattern + ")$"}, {}, "alpha_pattern");
    } catch (const Error& error) {
      fail(std::string(kAdapterConfigFile) + ": " + error.what());
    }
  }

  void read_tensors(const Safetensors& file) {
    for (const auto& [key, tensor] : file.tensors) {
      if (!tensor.is_floating_point()) fail("the tensor '" + key + "' is not floating");
      if (!at::isfinite(tensor).all().item<bool>()) {
        fail("the tensor '" + key + "' holds values that are not finite");
      }
      std::string name = key;
      if (name.rfind(kPrefix, 0) == 0) name.erase(0, std::string(kPrefix).size());
      remove_all(name, kBaseLayer);
      remove_all(name, ".modules_to_save");
      read_tensor(key, name, tensor);
    }
  }

  void read_tensor(const std::string& key, const std::string& name, const at::Tensor& tensor) {
    struct Part {
      const char* suffix;
      at::Tensor Adapter::*member;
      bool is_embedding;
    };
    static const Part parts[] = {
        {".lora_A.weight", &Adapter::a, false},
        {".lora_B.weight", &Adapter::b, false},
        {".lora_embedding_A", &Adapter::a, true},
        {".lora_embedding_B", &Adapter::b, true},
        {".lora_magnitude_vector", &Adapter::magnitude, false},
        {".lora_magnitude_vector.weight", &Adapter::magnitude, false},
    };
    for (const Part& part : parts) {
      if (!ends_with(name, part.suffix)) continue;
      const std::string module = name.substr(0, name.size() - std::string(part.suffix).size());
      Adapter& adapter = adapters_[module];
      adapter.module = module;
      if (part.is_embedding) adapter.kind = LayerKind::kEmbedding;
      if ((adapter.*part.member).defined()) fail("the tensor '" + key + "' is there twice");
      adapter.*part.member = tensor;
      return;
    }
    if (name.find("lora_") != std::string::npos) {
      fail("the tensor '" + key + "' is of a variant that is not known");
    }
    if (!stored_.tensors.emplace(name, tensor).second) {
      fail("the tensor '" + key + "' is there twice");
    }
  }

  void finish(Adapter& adapter) const {
    if (!adapter.a.defined() || !adapter.b.defined()) {
      fail("the adapter of " + adapter.module + " lacks A or B");
    }
    adapter.settings = settings_;
    for (const auto& [filter, alpha] : alphas_) {
      if (!filter.accepts(adapter.module)) continue;
      adapter.settings.alpha = alpha;
      break;
    }
    if (!std::isfinite(adapter.settings.alpha) || adapter.settings.alpha <= 0) {
      fail(fmt::format("the alpha of {} is {}", adapter.module, adapter.settings.alpha));
    }
    const bool has_rank = adapter.a.dim() >= 2 && adapter.b.dim() >= 2 && adapter.a.size(0) > 0 &&
                          adapter.a.size(0) == adapter.b.size(1);
    if (!has_rank) fail("A and B of " + adapter.module + " are of different ranks");
    adapter.settings.rank = adapter.a.size(0);
    if (adapter.settings.dora != adapter.magnitude.defined()) {
      fail(fmt::format("use_dora is {}, but {} has {} lora_magnitude_vector", settings_.dora,
                       adapter.module, settings_.dora ? "no" : "a"));
    }
  }

  const std::string& where_;
  Json config_;
  AdapterSettings settings_;
  std::vector<std::pair<LayerFilter, double>> alphas_;
  std::map<std::string, Adapter> adapters_;
  StoredAdapters stored_;
};

std::string shape_text(at::IntArrayRef sizes) {
  std::vector<std::string> numbers;
  for (const std::int64_t size : sizes) numbers.push_back(std::to_string(size));
  return "[" + join(numbers, ", ") + "]";
}

}  // namespace

std::map<std::string, std::string> write_adapter_files(const StoredAdapters& stored) {
  Safetensors file;
  file.metadata["format"] = "pt";
  std::set<std::string> modules;
  for (const Adapter& adapter : stored.adapters) modules.insert(adapter.module);
  for (const Adapter& adapter : stored.adapters) {
    std::string name = kPrefix + adapter.module;
    const std::string parent = module_of(adapter.module);
    if (parent != adapter.module && modules.count(parent) > 0) {
      name.insert(std::string(kPrefix).size() + parent.size(), kBaseLayer);
    }
    const bool is_embedding = adapter.kind == LayerKind::kEmbedding;
    file.tensors[name + (is_embedding ? ".lora_embedding_A" : ".lora_A.weight")] = adapter.a;
    file.tensors[name + (is_embedding ? ".lora_embedding_B" : ".lora_B.weight")] = adapter.b;
    if (adapter.magnitude.defined()) {
      file.tensors[name + ".lora_magnitude_vector"] = adapter.magnitude;
    }
  }
  for (const auto& [name, tensor] : stored.tensors) file.tensors[kPrefix + name] = tensor;
  return {{kAdapterTensorsFile, write_safetensors(file)},
          {kAdapterConfigFile, config_of(stored).dump(2) + "\n"}};
}

StoredAdapters read_adapter_files(std::string_view config, std::string_view tensors,
                                  const std::string& where) {
  return AdapterReader(config, tensors, where).take();
}

Adapter fit_adapter(const Adapter& stored, const AdapterTarget& target, const at::Tensor& weight,
                    const std::string& where) {
  Adapter adapter = stored;
  adapter.module = target.module;
  const bool is_embedding = target.kind == LayerKind::kEmbedding;
  if (is_embedding != (stored.kind == LayerKind::kEmbedding)) {
    throw Error(ExitCode::kData,
                fmt::format("{}: the adapter of {} is {} an embedding, the layer is {}", where,
                            stored.module, is_embedding ? "not of" : "of", to_string(target.kind)));
  }
  adapter.kind = target.kind;
  const FactorShapes shapes = factor_shapes(adapter, weight);
  const auto check = [&](const char* name, at::Tensor& tensor, const auto& shape) {
    if (tensor.sizes() != shape) {
      throw Error(ExitCode::kData,
                  fmt::format("{}: {} of {} has the shape {}, the layer needs {}", where, name,
                              stored.module, shape_text(tensor.sizes()), shape_text(shape)),
                  "it was made for another network, or for layers of another size");
    }
    tensor = tensor.to(weight.scalar_type());
  };
  check("A", adapter.a, shapes.a);
  check("B", adapter.b, shapes.b);
  if (adapter.magnitude.defined()) check("the magnitude", adapter.magnitude, shapes.magnitude);
  return adapter;
}

}  // namespace edgecompress
