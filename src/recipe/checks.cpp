#include "recipe/checks.h"

#include <fmt/format.h>

#include <set>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {

namespace {

[[noreturn]] void fail(const std::string& message, const std::string& hint = {}) {
  throw Error(ExitCode::kRecipe, message, hint);
}

/// The set with a source that `name` is, in the end, taken from.
const DatasetSpec& origin(const std::map<std::string, DatasetSpec>& data, const std::string& name) {
  const DatasetSpec* set = &data.at(name);
  while (!set->from.empty()) set = &data.at(set->from);
  return *set;
}

/// Folders and synthetic tasks bring their labels along; elsewhere a target must be named.
bool has_labels(const DatasetSpec& set) {
  return set.source == "image_folder" || set.source == "synthetic" || !set.target.empty();
}

void check_step_data(const Recipe& recipe, const PassNeeds& needs, const std::string& pass,
                     const std::string& pointer) {
  const auto& data = recipe.data;
  if (needs.training && data.count("train") == 0) {
    fail(fmt::format("{}: {} needs training data, but there is no /data/train", pointer, pass),
         "add a \"train\" set to \"data\", or leave the pass out");
  }
  if (needs.training && needs.labels && !has_labels(origin(data, "train"))) {
    fail(fmt::format("{}: {} needs labels, but /data/train has no \"target\"", pointer, pass),
         "name the key or column of the labels in the set's \"target\"");
  }
  const bool can_calibrate =
      data.count("calibration") + data.count("train") + data.count("validation") > 0;
  if (needs.calibration && !can_calibrate) {
    fail(fmt::format("{}: {} needs calibration data, but there is none of /data/calibration, "
                     "/data/train and /data/validation",
                     pointer, pass),
         "add a \"calibration\" set to \"data\": a few hundred samples, no labels");
  }
}

/// What hangs on the original's outputs can't be had in a run whose step `changer` gives the
/// network new ones, for the labels of the data.
void check_before_new_outputs(const Recipe& recipe, const PassCatalogue& catalogue,
                              std::size_t changer) {
  const std::string& pass = recipe.passes[changer].pass;
  const std::string reason = fmt::format("{} at {} makes the outputs those of the labels", pass,
                                         child_pointer("/passes", changer));
  const auto refuse_drop = [&](const GateSpec& gate, const std::string& pointer) {
    if (!gate.max_accuracy_drop) return;
    fail(fmt::format("{}/max_accuracy_drop: there is no accuracy before to compare with: {}",
                     pointer, reason),
         "leave it out; steps behind that one can have it");
  };
  refuse_drop(recipe.gates, "/gates");
  for (std::size_t i = 0; i <= changer; ++i) {
    const StepSpec& step = recipe.passes[i];
    const std::string pointer = child_pointer("/passes", i);
    refuse_drop(step.gate, pointer + "/gate");
    if (i < changer && catalogue.at(step.pass, pointer).needs_with(step.options).labels) {
      fail(fmt::format("{}: {} needs labels that fit the network's outputs, but only {}", pointer,
                       step.pass, reason),
           fmt::format("move it behind that {}", pass));
    }
  }
}

}  // namespace

void check_model(const ModelSpec& model) {
  if (model.path.empty()) {
    fail("/model/path: missing, expected a TorchScript file",
         "name the file in the recipe, or give it with --model");
  }
  // Example inputs are really made: a typing slip must not ask for all of the memory.
  constexpr double kMostElements = 1e9;
  for (std::size_t i = 0; i < model.inputs.size(); ++i) {
    const std::string pointer = child_pointer("/model/inputs", i) + "/shape";
    const auto& shape = model.inputs[i].shape;
    if (shape.empty()) fail(pointer + ": found no sizes, expected the batch size first");
    double elements = 1;
    for (const std::int64_t size : shape) elements *= static_cast<double>(size);
    if (elements > kMostElements) {
      fail(fmt::format("{}: found {:.3g} elements, expected at most {:g}", pointer, elements,
                       kMostElements));
    }
  }
}

void check_dataset(const DatasetSpec& set, const std::string& pointer) {
  if (set.source.empty() && set.from.empty()) {
    fail(pointer + ": found neither \"source\" nor \"from\", expected one of them",
         "\"source\" reads files; \"from\" takes samples from another set");
  }
  if (!set.source.empty() && !set.from.empty()) {
    fail(pointer + ": found both \"source\" and \"from\", expected one of them");
  }
  if (!set.from.empty()) {
    const std::pair<const char*, bool> keys_of_sources[] = {{"path", !set.path.empty()},
                                                            {"inputs", !set.inputs.empty()},
                                                            {"target", !set.target.empty()},
                                                            {"map_labels", !set.map_labels.empty()},
                                                            {"options", !set.options.empty()}};
    for (const auto& [key, is_given] : keys_of_sources) {
      if (is_given) {
        fail(child_pointer(pointer, key) + ": only for a set with a \"source\"",
             fmt::format("it comes from the set \"{}\"; leave it out here", set.from));
      }
    }
    return;
  }
  if (!set.map_labels.empty() && !has_labels(set)) {
    fail(child_pointer(pointer, "map_labels") + ": found no \"target\" whose labels it could map",
         "name the key or column of the labels in the set's \"target\"");
  }
  if (set.split) {
    fail(child_pointer(pointer, "split") + ": only for a set taken \"from\" another",
         "use \"limit\" to read a part of a source");
  }
  if (set.path.empty() && set.source != "synthetic") {
    fail(fmt::format("{}/path: missing, expected what {} is to read", pointer, set.source));
  }
}

void check_data(const std::map<std::string, DatasetSpec>& data) {
  for (const auto& [name, set] : data) check_dataset(set, "/data/" + name);
  for (const auto& [name, set] : data) {
    std::vector<std::string> chain = {name};
    std::set<std::string> seen = {name};
    for (const DatasetSpec* link = &set; !link->from.empty();) {
      const auto next = data.find(link->from);
      if (next == data.end()) {
        fail(fmt::format("/data/{}/from: there is no set \"{}\"", chain.back(), link->from));
      }
      chain.push_back(link->from);
      if (!seen.insert(link->from).second) {
        fail(fmt::format("/data/{}/from: the sets are taken from each other in a circle: {}", name,
                         join(chain, " <- ")),
             "one of them needs a \"source\"");
      }
      link = &next->second;
    }
  }
}

void check_passes(const Recipe& recipe, const PassCatalogue& catalogue) {
  std::string quantizer, quantizer_pointer;
  bool are_activations_int8 = false;
  for (std::size_t i = 0; i < recipe.passes.size(); ++i) {
    const StepSpec& step = recipe.passes[i];
    const std::string pointer = child_pointer("/passes", i);
    const PassNeeds needs = catalogue.at(step.pass, pointer + "/pass").needs_with(step.options);
    if (needs.float_model && !quantizer.empty()) {
      fail(fmt::format("{}: {} needs a float model, but {} at {} leaves an INT8 one", pointer,
                       step.pass, quantizer, quantizer_pointer),
           step.pass == quantizer ? fmt::format("keep one {} only", quantizer)
                                  : fmt::format("move {} to the end", quantizer));
    }
    if (needs.float_activations && are_activations_int8) {
      fail(fmt::format("{}: no gradient passes the INT8 activations that {} at {} leaves", pointer,
                       quantizer, quantizer_pointer),
           fmt::format("move {} before it, or let it make weights alone INT8 (mode dynamic or "
                       "weight_only)",
                       step.pass));
    }
    check_step_data(recipe, needs, step.pass, pointer);
    if (needs.new_outputs) check_before_new_outputs(recipe, catalogue, i);
    if (needs.makes_int8 && quantizer.empty()) {
      quantizer = step.pass;
      quantizer_pointer = pointer;
      are_activations_int8 = needs.int8_activations;
    }
  }
}

}  // namespace edgecompress
