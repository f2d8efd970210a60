#include "train/adapter_loading.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "train/adapter_files.h"

namespace edgecompress {

namespace {

constexpr std::int64_t kLargestConfig = std::int64_t{4} << 20;
constexpr std::int64_t kLargestAdapter = std::int64_t{4} << 30;

[[noreturn]] void refuse_source(const AdapterSource& source, const std::string& what) {
  throw Error(ExitCode::kData, source.path + ": " + what, "it was made for another network");
}

void add_loaded(const Model& model, Adapters& adapters, const Adapter& stored,
                const std::vector<AdapterTarget>& targets, const AdapterSource& source) {
  std::string without_dots = stored.module;
  std::replace(without_dots.begin(), without_dots.end(), '.', '_');
  const auto target = std::find_if(targets.begin(), targets.end(), [&](const auto& candidate) {
    return candidate.module == stored.module ||
           (!candidate.keeps_zeros && candidate.module == without_dots);
  });
  if (target == targets.end()) {
    refuse_source(source, "it adapts " + stored.module +
                              ", but the network has no adaptable layer of that name");
  }
  Adapter adapter = fit_adapter(stored, *target, model.tensor(target->weight), source.path);
  adapter.share = source.weight;
  adapters.add(adapter, *target);
}

/// Returns the tensor as it was.
at::Tensor replace_whole(Model& model, const std::string& name, const at::Tensor& tensor,
                         const AdapterSource& source) {
  const at::NoGradGuard no_grad;
  const c10::IValue now = model.has_attribute(name) ? model.attribute(name) : c10::IValue();
  if (!now.isTensor() || now.toTensor().sizes() != tensor.sizes()) {
    refuse_source(source,
                  "it replaces the tensor " + name + ", which the network lacks in its shape");
  }
  const at::Tensor before = now.toTensor().detach();
  const at::Tensor after = tensor.to(before.scalar_type());
  model.set_tensor(name, source.weight == 1 ? after : at::lerp(before, after, source.weight));
  return before;
}

}  // namespace

LoadedAdapters load_adapters(Model& model, Adapters& adapters,
                             const std::vector<AdapterSource>& sources, const FileReader& read,
                             const std::map<std::string, std::string>& stand_ins) {
  const auto targets = find_adapter_targets(model, LayerFilter({}, {}), true, stand_ins).targets;
  LoadedAdapters loaded;
  std::map<std::string, std::string> replaced_by;
  for (const AdapterSource& source : sources) {
    const std::string config = read(source.path + "/" + kAdapterConfigFile, kLargestConfig);
    const std::string tensors = read(source.path + "/" + kAdapterTensorsFile, kLargestAdapter);
    const StoredAdapters stored = read_adapter_files(config, tensors, source.path);
    for (const Adapter& adapter : stored.adapters) {
      add_loaded(model, adapters, adapter, targets, source);
    }
    for (const auto& [name, tensor] : stored.tensors) {
      const auto [other, is_new] = replaced_by.emplace(name, source.path);
      if (!is_new) {
        throw Error(
            ExitCode::kData,
            fmt::format("{} and {} both replace the tensor {}", other->second, source.path, name),
            "merge one of them in a run of its own, then the other");
      }
      const at::Tensor before = replace_whole(model, name, tensor, source);
      loaded.replaced.emplace(name, loaded.sources.empty() ? before : model.tensor(name).detach());
    }
    loaded.sources.push_back({stored.adapters.size(), stored.tensors.size()});
  }
  return loaded;
}

}  // namespace edgecompress
