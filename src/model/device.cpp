#include "model/device.h"

#include <ATen/Context.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/cuda.h>

#include <unordered_map>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using torch::jit::Block;
using torch::jit::Node;

void move_constants(Block* block, at::Device from, at::Device to) {
  for (Node* node : block->nodes()) {
    for (Block* nested : node->blocks()) move_constants(nested, from, to);
    if (node->kind() != c10::prim::Constant) continue;
    const auto value = torch::jit::toIValue(node->output());
    if (!value) continue;
    if (value->isTensor() && value->toTensor().device() == from) {
      node->t_(c10::attr::value, value->toTensor().to(to));
    } else if (value->isDevice() && value->toDevice().type() == from.type()) {
      node->s_(c10::attr::value, to.str());
    }
  }
}

/// Tensors that were one stay one.
void move(Model& model, at::Device from, at::Device to) {
  std::unordered_map<const void*, at::Tensor> moved;
  for (const auto& attribute : model.module().named_attributes(/*recurse=*/true)) {
    if (!attribute.value.isTensor() || !attribute.value.toTensor().defined()) continue;
    const at::Tensor tensor = attribute.value.toTensor();
    if (tensor.device() != from) continue;
    at::Tensor& place = moved[tensor.unsafeGetTensorImpl()];
    if (!place.defined()) place = tensor.detach().to(to);
    model.set_tensor(attribute.name, place);
  }
  move_constants(model.edit()->block(), from, to);
}

}  // namespace

at::Device find_device(const std::string& name) {
  if (name == "cpu" || (name == "auto" && !torch::cuda::is_available())) return at::kCPU;
  if (torch::cuda::is_available()) return at::Device(at::kCUDA, 0);
  throw Error(ExitCode::kUsage,
              at::hasCUDA() ? "--device cuda: LibTorch finds no GPU here"
                            : "--device cuda: this LibTorch was built without CUDA",
              "use --device cpu, or build with a LibTorch that has CUDA (-DTorch_DIR=...)");
}

OnDevice::OnDevice(Model& model, at::Device device) : model_(model), device_(device) {
  if (!device_.is_cpu()) move(model_, at::kCPU, device_);
}

OnDevice::~OnDevice() {
  try {
    if (!device_.is_cpu()) move(model_, device_, at::kCPU);
  } catch (const c10::Error&) {
    // The GPU gave up, and what is thrown already says so.
  }
}

at::Tensor OnDevice::moved(const at::Tensor& tensor) const {
  return tensor.defined() ? tensor.to(device_) : tensor;
}

std::vector<at::Tensor> OnDevice::moved(const std::vector<at::Tensor>& tensors) const {
  std::vector<at::Tensor> result;
  for (const at::Tensor& tensor : tensors) result.push_back(moved(tensor));
  return result;
}

}  // namespace edgecompress
