#include "eval/thread_dependence.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include "eval/thread_scope.h"
#include "model/interpreter.h"
#include "util/progress.h"

namespace edgecompress {
namespace {

using Tensors = std::vector<at::Tensor>;
/// Running statistics and other tensors that no gradient goes to.
using Buffers = std::unordered_set<const c10::TensorImpl*>;

Buffers buffers_of(const Model& model) {
  Buffers buffers;
  for (const auto& buffer : model.module().named_buffers()) {
    buffers.insert(buffer.value.unsafeGetTensorImpl());
  }
  return buffers;
}

bool has_gradient(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_floating_point() && !tensor.is_quantized();
}

/// A copy that the node may write to and, with `buffers`, that remembers where gradients go.
c10::IValue own(const c10::IValue& value, const Buffers* buffers, Tensors& leaves) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!has_gradient(tensor)) return tensor;
    at::Tensor copy = tensor.detach().clone();
    if (buffers == nullptr || buffers->count(tensor.unsafeGetTensorImpl()) > 0) return copy;
    copy.set_requires_grad(true);
    leaves.push_back(copy);
    return copy.view_as(copy);  // an in-place operator may not write to a leaf
  }
  if (!value.isTensorList()) return value;
  c10::List<at::Tensor> list;
  for (const at::Tensor& tensor : value.toTensorVector()) {
    list.push_back(own(tensor, buffers, leaves).toTensor());
  }
  return list;
}

/// All float tensors that the node gives, and their gradients by its inputs.
Tensors results_of(torch::jit::Operation& operation, c10::ArrayRef<c10::IValue> inputs,
                   const Buffers* buffers) {
  const at::AutoGradMode mode(buffers != nullptr);
  Tensors leaves, results;
  torch::jit::Stack stack;
  for (const c10::IValue& input : inputs) stack.push_back(own(input, buffers, leaves));
  operation(stack);
  for (const c10::IValue& output : stack) {
    if (!output.isTensor() || !has_gradient(output.toTensor())) continue;
    results.push_back(output.toTensor());
  }
  Tensors roots;
  for (const at::Tensor& result : results) {
    if (result.requires_grad()) roots.push_back(result);
  }
  if (roots.empty() || leaves.empty()) return results;
  Tensors seeds;
  for (const at::Tensor& root : roots) seeds.push_back(root.detach().sin());  // no two alike
  for (const at::Tensor& gradient : torch::autograd::grad(roots, leaves, seeds, /*retain_graph=*/{},
                                                          /*create_graph=*/false,
                                                          /*allow_unused=*/true)) {
    if (gradient.defined()) results.push_back(gradient);
  }
  return results;
}

bool are_equal(const Tensors& a, const Tensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) {
                      return x.detach().nan_to_num().equal(y.detach().nan_to_num());
                    });
}

bool depends_on_threads(const torch::jit::Node& node, c10::ArrayRef<c10::IValue> inputs,
                        std::int64_t threads, const Buffers* buffers) {
  torch::jit::Operation operation = node.getOperation();
  const auto run = [&](std::int64_t count) {
    const ThreadScope scope(count);
    return results_of(operation, inputs, buffers);
  };
  try {
    const Tensors first = run(1);
    if (!are_equal(first, run(1))) return false;  // random
    return !are_equal(first, run(threads));
  } catch (const c10::Error&) {
    return false;  // no gradient passes it: nothing is trained before it
  }
}

}  // namespace

std::vector<std::string> thread_dependent_operators(const Model& model, std::int64_t batch_size,
                                                    std::int64_t threads, bool gradients) {
  if (model.inputs().empty()) return {};
  std::set<std::string> names;
  const Buffers buffers = buffers_of(model);
  const auto examples = model.example_inputs(batch_size);
  const at::NoGradGuard no_gradients;
  Interpreter(model).run(
      {examples.begin(), examples.end()},
      [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue> inputs,
          c10::ArrayRef<c10::IValue> outputs) {
        throw_if_interrupted();
        const std::string name = node.kind().toQualString();
        const bool gives_floats =
            std::any_of(outputs.begin(), outputs.end(), [](const c10::IValue& output) {
              return output.isTensor() && has_gradient(output.toTensor());
            });
        if (!node.kind().is_aten() || !gives_floats || names.count(name) > 0) return;
        if (depends_on_threads(node, inputs, threads, gradients ? &buffers : nullptr))
          names.insert(name);
      });
  return {names.begin(), names.end()};
}

}  // namespace edgecompress
