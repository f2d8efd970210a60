#include "eval/checked_forward.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <optional>

#include "edgecompress/error.h"
#include "model/model.h"
#include "model/torch_error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// Index in the batch of the first sample that is not finite. A tensor without a batch dimension
/// blames the batch's first sample.
std::optional<std::int64_t> first_non_finite(const at::Tensor& tensor, std::int64_t batch_size) {
  if (!tensor.defined() || !tensor.is_floating_point()) return std::nullopt;
  const at::Tensor finite = at::isfinite(tensor);
  if (finite.all().item<bool>()) return std::nullopt;
  if (tensor.dim() == 0 || tensor.size(0) != batch_size) return 0;
  const at::Tensor bad = finite.reshape({batch_size, -1}).all(1).logical_not();
  return bad.nonzero()[0][0].item<std::int64_t>();
}

bool is_sample_finite(const Batch& batch, std::int64_t sample) {
  for (const at::Tensor& input : batch.inputs) {
    if (input.is_floating_point() && !at::isfinite(input[sample]).all().item<bool>()) return false;
  }
  return true;
}

void check_outputs(const std::vector<at::Tensor>& outputs, const Batch& batch,
                   const BatchOrigin& origin) {
  if (outputs.empty()) {
    throw Error(ExitCode::kData, fmt::format("{}: the model returns no tensor", origin.data));
  }
  for (const at::Tensor& output : outputs) {
    const auto sample = first_non_finite(output, batch.size);
    if (!sample) continue;
    const bool is_input_finite = is_sample_finite(batch, *sample);
    throw Error(
        ExitCode::kData,
        fmt::format("{}: the model's output for sample {} holds NaN or infinity{}", origin.data,
                    origin.first + *sample, is_input_finite ? "" : ", and so does its input"),
        is_input_finite ? "check that the data is scaled as the model expects, and that "
                          "its weights are finite"
                        : "mend or leave out the sample");
  }
}

}  // namespace

std::vector<at::Tensor> run_checked(const Forward& forward, const Batch& batch,
                                    const BatchOrigin& origin) {
  const c10::InferenceMode inference;
  std::vector<at::Tensor> outputs;
  try {
    outputs = forward(batch.inputs);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw_if_out_of_memory(error);
    throw Error(ExitCode::kData,
                fmt::format("{}: the model does not accept samples {} to {}, given as {}: {}",
                            origin.data, origin.first, origin.first + batch.size - 1,
                            describe_tensors(batch.inputs), torch_message(error)),
                "compare with the model's inputs (edgecompress inspect); transforms such as "
                "to_float, resize and layout change what it is given");
  }
  check_outputs(outputs, batch, origin);
  return outputs;
}

void check_batch_is_finite(const Batch& batch, const BatchOrigin& origin) {
  const auto check = [&](const at::Tensor& tensor, const std::string& what) {
    const auto sample = first_non_finite(tensor, batch.size);
    if (!sample) return;
    throw Error(ExitCode::kData,
                fmt::format("{}: {} of sample {} holds NaN or infinity", origin.data, what,
                            origin.first + *sample),
                "mend or leave out the sample, or check the transforms (a divisor or a std of 0)");
  };
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    check(batch.inputs[i], fmt::format("input {}", i));
  }
  check(batch.target, "the target");
}

void check_not_empty(const Dataset& data, const std::string& name) {
  if (data.size() > 0) return;
  throw Error(ExitCode::kData, name + ": the set holds no samples",
              "check its path, and limit and split");
}

void throw_not_runnable(const std::string& name, const std::vector<at::Tensor>& inputs,
                        const std::exception& error) {
  throw_if_out_of_memory(error);
  throw Error(ExitCode::kModel,
              fmt::format("{}: the model does not accept {}: {}", name, describe_tensors(inputs),
                          torch_message(error)),
              "give the inputs that the model takes; a traced model may take only the batch size "
              "it was traced with");
}

std::string describe_tensors(const std::vector<at::Tensor>& tensors) {
  std::vector<std::string> parts;
  for (const at::Tensor& tensor : tensors) {
    parts.push_back(
        fmt::format("{} [{}]", dtype_name(tensor.scalar_type()), fmt::join(tensor.sizes(), ", ")));
  }
  return join(parts, ", ");
}

}  // namespace edgecompress
