#include "train/training_state.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <exception>

#include "edgecompress/error.h"
#include "model/safetensors.h"

namespace edgecompress {
namespace {

constexpr const char* kWhere = "the training's checkpoint";

Error damaged(const std::string& what) {
  return Error(ExitCode::kData, std::string(kWhere) + " " + what,
               "start the run anew, without resuming it");
}

std::string name_of(const char* list, std::size_t index) {
  return fmt::format("{}.{}", list, index);
}

void add(Safetensors& content, const char* list, const std::vector<at::Tensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    content.tensors[name_of(list, i)] = tensors[i].detach().cpu().contiguous();
  }
}

std::vector<at::Tensor> tensors_of(const Safetensors& content, const char* list) {
  std::vector<at::Tensor> tensors;
  for (auto found = content.tensors.find(name_of(list, 0)); found != content.tensors.end();
       found = content.tensors.find(name_of(list, tensors.size()))) {
    tensors.push_back(found->second);
  }
  return tensors;
}

at::Tensor tensor_of(const Safetensors& content, const char* list, std::size_t index) {
  const auto found = content.tensors.find(name_of(list, index));
  return found == content.tensors.end() ? at::Tensor() : found->second;
}

}  // namespace

void TrainingState::drop_tensors() {
  weights.clear();
  averages.clear();
  best.clear();
  memory.clear();
}

std::string TrainingState::to_bytes() const {
  Safetensors content;
  add(content, "weight", weights);
  add(content, "average", averages);
  add(content, "best", best);
  std::vector<std::int64_t> steps;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    steps.push_back(memory[i].steps);
    if (memory[i].first.defined())
      content.tensors[name_of("first", i)] = memory[i].first.cpu().contiguous();
    if (memory[i].second.defined())
      content.tensors[name_of("second", i)] = memory[i].second.cpu().contiguous();
  }
  const Json numbers = {{"epoch", epoch},       {"batches", batches}, {"samples", samples},
                        {"loss_sum", loss_sum}, {"result", result},   {"steps", steps}};
  content.metadata = {{"training", training}, {"state", numbers.dump()}};
  return write_safetensors(content);
}

std::optional<TrainingState> TrainingState::from_bytes(const std::string& bytes,
                                                       const std::string& training) {
  const Safetensors content = read_safetensors(bytes, kWhere);
  const auto of = content.metadata.find("training");
  if (of == content.metadata.end()) throw damaged("does not say which training it is of");
  if (of->second != training) return std::nullopt;
  TrainingState state;
  state.training = training;
  try {
    const Json numbers = Json::parse(content.metadata.at("state"));
    numbers.at("epoch").get_to(state.epoch);
    numbers.at("batches").get_to(state.batches);
    numbers.at("samples").get_to(state.samples);
    numbers.at("loss_sum").get_to(state.loss_sum);
    state.result = numbers.at("result");
    for (const Json& steps : numbers.at("steps")) {
      const std::size_t i = state.memory.size();
      state.memory.push_back({steps.get<std::int64_t>(), tensor_of(content, "first", i),
                              tensor_of(content, "second", i)});
    }
  } catch (const std::exception& error) {
    throw damaged(std::string("can't be read: ") + error.what());
  }
  state.weights = tensors_of(content, "weight");
  state.averages = tensors_of(content, "average");
  state.best = tensors_of(content, "best");
  return state;
}

void put_back(std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& stored) {
  if (tensors.size() != stored.size()) {
    throw damaged(
        fmt::format("has {} tensors where the training has {}", stored.size(), tensors.size()));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].sizes() != stored[i].sizes() ||
        tensors[i].scalar_type() != stored[i].scalar_type()) {
      throw damaged("has a tensor of another shape or type than the training");
    }
    tensors[i].detach().copy_(stored[i]);
  }
}

}  // namespace edgecompress
