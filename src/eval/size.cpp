#include "eval/size.h"

#include <ATen/ATen.h>
#include <ATen/core/class_type.h>
#include <spdlog/logger.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <unordered_set>
#include <vector>

#include "model/torch_error.h"
#include "util/file.h"
#include "util/log.h"

namespace edgecompress {
namespace {

/// Adds up the weights that are reached, each storage once (tied weights are stored once).
class WeightCounter {
 public:
  void count_module(const torch::jit::Module& module) {
    const auto type = module.type();
    for (std::size_t slot = 0; slot < type->numAttributes(); ++slot) {
      const c10::IValue value = module._ivalue()->getSlot(slot);
      if (value.isModule()) {
        count_module(value.toModule());
      } else if (!type->is_buffer(slot)) {
        count_value(value);
      }
    }
    for (const torch::jit::Method& method : module.get_methods()) {
      count_constants(*method.graph()->block());
    }
  }

  void fill(Size& size) const {
    size.parameters = parameters_;
    size.nonzero_parameters = nonzero_;
    size.weight_bytes = bytes_;
  }

 private:
  void count_value(const c10::IValue& value) {
    if (value.isTensor()) {
      count_tensor(value.toTensor());
    } else if (value.isTuple()) {
      for (const c10::IValue& element : value.toTupleRef().elements()) count_value(element);
    } else if (value.isList()) {
      for (const c10::IValue& element : value.toListRef()) count_value(element);
    } else if (value.isGenericDict()) {
      for (const auto& entry : value.toGenericDict()) count_value(entry.value());
    } else if (value.isCustomClass()) {
      count_packed(value);
    } else if (value.isObject() && !value.isModule()) {
      for (const c10::IValue& slot : value.toObjectRef().slots()) count_value(slot);
    }
  }

  /// What a packed object writes to the archive is what it holds: weights, biases and geometry.
  void count_packed(const c10::IValue& packed) {
    if (!seen_.insert(&packed.toObjectRef()).second) return;
    const auto type = packed.type()->expect<c10::ClassType>();
    torch::jit::Function* get_state = type->findMethod("__getstate__");
    if (get_state == nullptr) return;
    try {
      // Kept, so that no later tensor is taken for one of these by its address.
      unpacked_.push_back((*get_state)({packed}));
      count_value(unpacked_.back());
    } catch (const std::exception& error) {
      log().debug("parameters of {} are not counted: {}", type->str(), torch_message(error));
    }
  }

  void count_constants(torch::jit::Block& block) {
    for (torch::jit::Node* node : block.nodes()) {
      if (node->kind() == c10::prim::Constant) {
        if (const auto value = torch::jit::toIValue(node->output())) count_value(*value);
      }
      for (torch::jit::Block* inner : node->blocks()) count_constants(*inner);
    }
  }

  void count_tensor(const at::Tensor& tensor) {
    const bool is_weight =
        tensor.defined() && tensor.dim() > 0 &&
        (tensor.is_floating_point() || tensor.is_complex() || tensor.is_quantized());
    if (!is_weight || !seen_.insert(tensor.data_ptr()).second) return;
    parameters_ += tensor.numel();
    bytes_ += static_cast<std::int64_t>(tensor.nbytes());
    const at::Tensor values = tensor.is_quantized() ? tensor.dequantize() : tensor;
    nonzero_ += values.count_nonzero().item<std::int64_t>();
  }

  std::int64_t parameters_ = 0, nonzero_ = 0, bytes_ = 0;
  std::unordered_set<const void*> seen_;
  std::vector<c10::IValue> unpacked_;
};

}  // namespace

Size measure_size(const std::filesystem::path& path, const torch::jit::Module& module) {
  Size size;
  size.file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  size.zipped_bytes = deflated_size(path);
  WeightCounter counter;
  counter.count_module(module);
  counter.fill(size);
  return size;
}

}  // namespace edgecompress
