#include "pipeline/checks.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>

#include "edgecompress/error.h"
#include "pipeline/measure.h"

namespace edgecompress {
namespace {

constexpr const char* kHint = "This is a bug of the pass: please report it with the model.";

std::string sizes_of(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

void check_shapes(const std::vector<at::Tensor>& before, const std::vector<at::Tensor>& after,
                  const std::string& what) {
  if (before.size() != after.size()) {
    throw Error(ExitCode::kPass,
                fmt::format("{} gives {} outputs instead of {}", what, after.size(), before.size()),
                kHint);
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].sizes() == after[i].sizes()) continue;
    throw Error(ExitCode::kPass,
                fmt::format("{}: output {} has shape {} instead of {}", what, i, sizes_of(after[i]),
                            sizes_of(before[i])),
                kHint);
  }
}

/// Where `before` was not finite, `after` need not be either; an empty `before` excuses nothing.
void check_finite(const std::vector<at::Tensor>& before, const std::vector<at::Tensor>& after) {
  for (std::size_t i = 0; i < after.size(); ++i) {
    at::Tensor is_fine = at::isfinite(after[i]);
    if (!before.empty()) is_fine = is_fine.logical_or(at::isfinite(before[i]).logical_not());
    if (is_fine.all().item<bool>()) continue;
    throw Error(ExitCode::kPass,
                fmt::format("output {} of the model holds NaN or infinity after the pass", i),
                "If the pass trains, try a lower learning rate or clip_grad_norm.");
  }
}

/// The same kernels run on the same numbers, but a LibTorch may fuse a stored file differently.
bool are_close(const at::Tensor& expected, const at::Tensor& found) {
  const at::Tensor a = expected.to(at::kDouble), b = found.to(at::kDouble);
  const double largest = a.numel() == 0 ? 0 : a.nan_to_num(0, 0, 0).abs().max().item<double>();
  return at::allclose(b, a, /*rtol=*/1e-4, /*atol=*/1e-5 * std::max(1.0, largest),
                      /*equal_nan=*/true);
}

}  // namespace

void check_step(const Model& before, const Model& after, const std::filesystem::path& saved,
                bool new_outputs) {
  if (before.inputs().empty()) return;
  const c10::InferenceMode inference;
  const auto inputs =
      before.example_inputs(std::max<std::int64_t>(1, before.inputs()[0].shape.at(0)));
  const auto found = after.forward(inputs);
  if (new_outputs) {
    check_finite({}, found);
  } else {
    const auto expected = before.forward(inputs);
    check_shapes(expected, found, "the model after the pass");
    check_finite(expected, found);
  }

  const auto stored = forward_of(load_as_stored(saved))(inputs);
  check_shapes(found, stored, "the saved model");
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (are_close(found[i], stored[i])) continue;
    throw Error(
        ExitCode::kPass,
        fmt::format("output {} of the saved model differs from that of the model in memory", i),
        kHint);
  }
}

}  // namespace edgecompress
