// lora: trains low-rank adapters of the weights; merges them, or keeps them beside.
//
//   Before   y = layer(x; W)
//   After    y = layer(x; W + scale * B A)    W frozen while A and B train, then merged
//   Applies  to linear layers (attention's projections too), convolutions (1-D to 3-D, transposed,
//            any groups) and embeddings whose name matches `targets`, in networks that gradients
//            can pass. A weight that other kinds of layers read too is left alone. Zeros of a
//            pruned weight stay zero. INT8 weights of linear layers are trained over in float and
//            rounded anew where adapters are merged into them: see train/int8_base.h
//   Formula  LoRA, rsLoRA, DoRA and PiSSA: see train/adapter.h
//   Besides  adapter/adapter_model.safetensors and adapter/adapter_config.json, as PEFT stores them
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "edgecompress/error.h"
#include "model/layer_filter.h"
#include "passes/pass.h"
#include "train/adapter_files.h"
#include "train/adapter_loading.h"
#include "train/adapters.h"
#include "train/int8_base.h"
#include "train/trainer.h"
#include "util/random.h"

namespace edgecompress {
namespace {

/// A rank and an alpha for some layers.
struct RankPattern {
  std::string layers;
  std::optional<std::int64_t> rank;
  std::optional<double> alpha;
};

struct LoraOptions {
  AdapterSettings settings;
  std::string init = "kaiming";
  std::vector<RankPattern> rank_pattern;
  std::vector<std::string> targets, modules_to_save;
  bool train_norms = false;
  bool merge = true;
  std::vector<AdapterSource> adapters;
  TrainOptions train;
  LossOptions loss;
};

Options<AdapterSettings> settings_options() {
  using T = AdapterSettings;
  Options<T> o;
  o.add("rank", &T::rank, "columns of B and rows of A").at_least(1).at_most(4096);
  o.add("alpha", &T::alpha, "the update is scaled by alpha / rank").above(0);
  o.add("rslora", &T::rslora, "scale by alpha / sqrt(rank) instead: for large ranks");
  o.add("dora", &T::dora, "train the length of each of the weight's rows by itself");
  o.add("dropout", &T::dropout, "share of an adapter's inputs that training drops")
      .at_least(0)
      .below(1);
  return o;
}

Options<RankPattern> pattern_options() {
  using T = RankPattern;
  Options<T> o;
  o.add("layers", &T::layers, "regular expression of layer names").required();
  o.add("rank", &T::rank, "their rank; null: as the others'").at_least(1).at_most(4096);
  o.add("alpha", &T::alpha, "their alpha; null: as the others'").above(0);
  return o;
}

Options<AdapterSource> source_options() {
  using T = AdapterSource;
  Options<T> o;
  o.add("path", &T::path, "folder of an adapter in PEFT's files, relative to the recipe")
      .required();
  o.add("weight", &T::weight, "how much of its change counts");
  return o;
}

Options<LoraOptions> lora_options() {
  using T = LoraOptions;
  T defaults;
  defaults.train.optimizer.name = "adamw";
  Options<T> o(defaults);
  o.splice(&T::settings, settings_options());
  o.add("init", &T::init,
        "kaiming: A drawn, B zero; pissa: both from the weight's principal singular vectors")
      .one_of({"kaiming", "pissa"});
  o.add("rank_pattern", &T::rank_pattern, pattern_options(),
        "layers with a rank or alpha of their own; the first that matches counts");
  o.add("targets", &T::targets,
        "regular expressions of layer names; by default every linear layer and convolution, but "
        "no embedding");
  o.add("modules_to_save", &T::modules_to_save,
        "regular expressions of layers that are trained as a whole (a new head)");
  o.add("train_norms", &T::train_norms, "train scales and shifts of normalisation layers too");
  o.add("merge", &T::merge,
        "the weights take the adapters in; false: they stay separate in the written model");
  o.add(
      "adapters", &T::adapters, source_options(),
      "adapters to begin with: the first is trained on (as long as `epochs` says, 0: not at all), "
      "the others are added to it");
  o.splice(&T::train, train_options(defaults.train, /*fewest_epochs=*/0));
  o.splice(&T::loss, loss_options());
  return o;
}

[[noreturn]] void refuse_option(const std::string& what, const std::string& hint) {
  throw Error(ExitCode::kRecipe, "lora: " + what, hint);
}

/// What one option makes of another.
void check_lora(const LoraOptions& options) {
  if (options.adapters.empty()) {
    if (options.train.epochs == 0) {
      refuse_option("epochs: found 0, expected at least 1 where no adapters are loaded",
                    "name what to merge in adapters, or train");
    }
    return;
  }
  const LoraOptions usual;
  const std::pair<const char*, bool> of_the_file[] = {
      {"rank", options.settings.rank != usual.settings.rank},
      {"alpha", options.settings.alpha != usual.settings.alpha},
      {"rslora", options.settings.rslora},
      {"dora", options.settings.dora},
      {"dropout", options.settings.dropout != 0},
      {"init", options.init != usual.init},
      {"rank_pattern", !options.rank_pattern.empty()},
      {"targets", !options.targets.empty()}};
  for (const auto& [name, is_given] : of_the_file) {
    if (is_given) {
      refuse_option(std::string(name) + ": does nothing here, adapters bring their own",
                    "leave it out");
    }
  }
  if (options.train.epochs > 0 && options.adapters.front().weight != 1) {
    refuse_option("adapters/0/weight: the adapter that is trained on counts as a whole",
                  "leave its weight out, or set epochs to 0");
  }
}

/// Tensors of the model that are told from what they were.
class TensorsBefore {
 public:
  void remember(const std::string& name, const at::Tensor& tensor) {
    tensors_.insert_or_assign(name, tensor.detach().clone());
  }
  std::map<std::string, at::Tensor> moved(const Model& model) const {
    std::map<std::string, at::Tensor> moved;
    for (const auto& [name, before] : tensors_) {
      const at::Tensor now = model.tensor(name).detach();
      if (!now.equal(before)) moved.emplace(name, now.clone());
    }
    return moved;
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

class Lora : public Pass {
 public:
  explicit Lora(const LoraOptions& options)
      : options_(options),
        filter_(options.targets, options.modules_to_save, "targets"),
        saved_(options.modules_to_save, {}, "modules_to_save") {
    check_lora(options);
    for (const RankPattern& pattern : options.rank_pattern) {
      patterns_.emplace_back(std::vector<std::string>{pattern.layers}, std::vector<std::string>{},
                             "rank_pattern");
    }
  }

  PassResult run(Model& model, PassContext& context) override {
    if (options_.train.epochs > 0) check_gradients(model);
    PassResult result;
    Int8Base int8(model);
    TensorsBefore before;
    const std::vector<std::string> whole = tensors_trained_whole(model);
    for (const std::string& name : whole) before.remember(name, model.tensor(name));
    for (const auto& buffer : model.module().named_buffers()) {
      if (buffer.value.is_floating_point()) before.remember(buffer.name, buffer.value);
    }
    Adapters adapters(model, options_.train.keep_zeros);
    const std::size_t trained = options_.adapters.empty()
                                    ? start(model, adapters, int8, context.seed, result)
                                    : load(model, adapters, int8, before, context, result);
    if (adapters.size() == 0) {
      result.note = "no layer that targets names can have an adapter";
      return result;
    }
    if (!options_.merge) check_apart(adapters, int8);
    describe(adapters, model, result);
    const bool is_better = train_adapters(model, adapters, trained, whole, context, result);
    if (!is_better && options_.adapters.empty()) return result;
    result.changed = true;
    adapters.settle();
    if (is_better) write(model, adapters, trained, before, result);
    if (options_.merge) {
      adapters.merge();
      requantize(int8, result);
    } else {
      adapters.keep();
    }
    return result;
  }

 private:
  /// New adapters; returns how many.
  std::size_t start(Model& model, Adapters& adapters, const Int8Base& int8, std::uint64_t seed,
                    PassResult& result) const {
    const bool has_embeddings = !options_.targets.empty();
    const AdapterTargets found =
        find_adapter_targets(model, filter_, has_embeddings, int8.layers());
    for (const auto& left : found.left) {
      result.details["left"].push_back({{"layer", left.layer}, {"reason", left.reason}});
    }
    for (const AdapterTarget& target : found.targets) {
      Adapter adapter;
      adapter.module = target.module;
      adapter.kind = target.kind;
      adapter.settings = settings_of(target.module);
      const at::Tensor weight = model.tensor(target.weight).detach();
      if (options_.init == "pissa") {
        start_pissa(adapter, weight);
        adapters.add_pissa(adapter, target);
      } else {
        start_plain(adapter, weight, derive_seed(seed, target.weight));
        adapters.add(adapter, target);
      }
    }
    return adapters.size();
  }

  AdapterSettings settings_of(const std::string& layer) const {
    AdapterSettings settings = options_.settings;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      if (!patterns_[i].accepts(layer)) continue;
      settings.rank = options_.rank_pattern[i].rank.value_or(settings.rank);
      settings.alpha = options_.rank_pattern[i].alpha.value_or(settings.alpha);
      break;
    }
    return settings;
  }

  /// Those that the recipe names; returns how many are of the first.
  std::size_t load(Model& model, Adapters& adapters, const Int8Base& int8, TensorsBefore& before,
                   const PassContext& context, PassResult& result) const {
    const LoadedAdapters loaded =
        load_adapters(model, adapters, options_.adapters, context.read_file, int8.layers());
    for (const auto& [name, tensor] : loaded.replaced) before.remember(name, tensor);
    for (std::size_t i = 0; i < loaded.sources.size(); ++i) {
      result.details["loaded"].push_back({{"path", options_.adapters[i].path},
                                          {"weight", options_.adapters[i].weight},
                                          {"adapters", loaded.sources[i].adapters},
                                          {"whole_tensors", loaded.sources[i].whole_tensors}});
    }
    return loaded.sources.front().adapters;
  }

  std::vector<std::string> tensors_trained_whole(const Model& model) const {
    std::set<std::string> parameters;
    for (const auto& [name, parameter] : model.named_parameters()) {
      if (parameter.is_floating_point()) parameters.insert(name);
    }
    std::vector<std::string> names;
    for (const Layer& layer : find_layers(model)) {
      const bool is_norm = layer.kind == LayerKind::kBatchNorm || layer.kind == LayerKind::kNorm;
      const bool is_saved = !options_.modules_to_save.empty() && saved_.accepts(layer.name);
      if (!is_saved && !(options_.train_norms && is_norm)) continue;
      for (const std::string& name : layer.weights) {
        if (parameters.erase(name) > 0) names.push_back(name);
      }
    }
    return names;
  }

  /// Whether training made the network better.
  bool train_adapters(Model& model, const Adapters& adapters, std::size_t trained,
                      const std::vector<std::string>& whole, const PassContext& context,
                      PassResult& result) const {
    if (options_.train.epochs == 0) {
      result.note = fmt::format("{} adapters loaded", adapters.size());
      return false;
    }
    TrainTask task = make_task("lora", options_.train, context);
    task.loss = target_loss(options_.loss);
    task.parameters = {{adapters.parameters(trained)}};
    if (!whole.empty()) task.parameters.push_back({whole});
    const TrainResult training = train(model, task, context.progress);
    result.counts.merge(training.counts());
    result.details.update(training.curves());
    result.note = training.summary();
    return training.best_epoch > 0;
  }

  static void describe(const Adapters& adapters, const Model& model, PassResult& result) {
    const std::vector<Adapter> all = adapters.current();
    double numbers = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Adapter& adapter = all[i];
      std::int64_t size = adapter.a.numel() + adapter.b.numel();
      if (adapter.magnitude.defined()) size += adapter.magnitude.numel();
      numbers += static_cast<double>(size);
      result.details["adapters"].push_back({{"layer", adapter.module},
                                            {"kind", to_string(adapter.kind)},
                                            {"rank", adapter.settings.rank},
                                            {"alpha", adapter.settings.alpha},
                                            {"form", to_string(adapters.form(i))},
                                            {"parameters", size},
                                            {"keeps_zeros", adapters.has_mask(i)}});
    }
    double base = -numbers;
    for (const auto& parameter : model.named_parameters()) {
      base += static_cast<double>(parameter.second.numel());
    }
    result.counts["adapters"] = static_cast<double>(all.size());
    result.counts["adapter_parameters"] = numbers;
    result.counts["base_parameters"] = base;
  }

  static void check_gradients(const Model& model) {
    const std::string obstacle = gradient_obstacle(model);
    if (obstacle.empty()) return;
    throw Error(ExitCode::kPass, "no gradient passes " + obstacle + ": its activations are INT8",
                "train before quantize_int8, or over a network of its mode dynamic or weight_only");
  }

  /// Beside an INT8 kernel there is no weight that DoRA could scale.
  static void check_apart(const Adapters& adapters, const Int8Base& int8) {
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const std::string& weight = adapters.target(i).weight;
      if (int8.layers().count(weight) == 0 || !adapters.has_magnitude(i)) continue;
      throw Error(ExitCode::kPass,
                  fmt::format("layer {}: DoRA can't stay apart from an INT8 weight",
                              adapters.target(i).module),
                  "set merge to true or dora to false");
    }
  }

  static void requantize(Int8Base& int8, PassResult& result) {
    for (const auto& row : int8.requantize()) {
      result.details["requantized"].push_back(
          {{"layer", row.layer}, {"form", row.form}, {"largest_error", row.largest_error}});
    }
  }

  /// The files of what was trained.
  static void write(const Model& model, const Adapters& adapters, std::size_t trained,
                    const TensorsBefore& before, PassResult& result) {
    StoredAdapters stored;
    stored.adapters = adapters.current();
    stored.adapters.resize(trained);
    stored.tensors = before.moved(model);
    for (const auto& [name, tensor] : stored.tensors) {
      result.details["trained_whole"].push_back(name);
    }
    for (auto& [name, bytes] : write_adapter_files(stored)) {
      result.files["adapter/" + name] = std::move(bytes);
    }
  }

  LoraOptions options_;
  LayerFilter filter_, saved_;
  std::vector<LayerFilter> patterns_;
};

}  // namespace

PassSpec lora_pass() {
  PassSpec spec;
  const auto options = lora_options();
  spec.description.name = "lora";
  spec.description.summary = "Train low-rank adapters, or load them; merge them or keep them apart";
  spec.description.options = options.table();
  spec.description.needs.training = true;
  spec.description.needs.labels = true;
  spec.description.needs.float_activations = true;
  PassNeeds without_training = spec.description.needs;
  without_training.training = without_training.labels = false;
  without_training.float_activations = false;
  spec.description.when = {{"epochs", 0, without_training}};
  spec.make = [options](const Json& json) { return std::make_unique<Lora>(options.bind(json)); };
  return spec;
}

}  // namespace edgecompress
