#include "train/teacher.h"

#include <ATen/ATen.h>
#include <ATen/core/stack.h>
#include <spdlog/logger.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <exception>
#include <utility>

#include "model/torch_error.h"
#include "util/log.h"

namespace edgecompress {

namespace {

std::vector<InnerValue> find_values(Model& model,
                                    const std::vector<std::optional<std::string>>& layers,
                                    const std::vector<at::Tensor>& sample,
                                    const std::string& what) {
  std::vector<InnerValue> values;
  for (const auto& layer : layers) values.push_back(find_inner_value(model, layer, sample, what));
  return values;
}

}  // namespace

Teacher::Teacher(Model model, const std::vector<std::optional<std::string>>& layers,
                 const std::vector<at::Tensor>& sample, const std::string& what)
    : model_(std::move(model)),
      inner_(model_, find_values(model_, layers, sample, what)),
      layout_(model_, sample) {
  try {
    frozen_ = torch::jit::freeze(model_.module());
    executor_ = std::make_unique<torch::jit::GraphExecutor>(
        frozen_.get_method("forward").graph()->copy(), "forward",
        torch::jit::ExecutorExecutionMode::SIMPLE);
    run(sample);
  } catch (const std::exception& error) {
    executor_.reset();
    log().debug("{}: not frozen: {}", what, torch_message(error));
  }
}

Teacher::~Teacher() = default;

Teacher::Outputs Teacher::operator()(const std::vector<at::Tensor>& inputs) const {
  const std::vector<at::Tensor> outputs = run(inputs);
  return {outputs.at(0), inner_.of(outputs)};
}

std::vector<at::Tensor> Teacher::run(const std::vector<at::Tensor>& inputs) const {
  // Not inference mode: its tensors can't take part in the student's backward pass.
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> laid_out = layout_.lay_out(inputs);
  if (!executor_) return model_.forward(laid_out);
  torch::jit::Stack stack;
  stack.emplace_back(frozen_._ivalue());
  for (const at::Tensor& input : laid_out) stack.emplace_back(input);
  executor_->run(stack);
  return flatten_outputs(stack.back());
}

}  // namespace edgecompress
