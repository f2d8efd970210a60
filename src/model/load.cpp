#include <torch/csrc/jit/serialization/import.h>

#include <exception>
#include <string>

#include "edgecompress/error.h"
#include "model/archive.h"
#include "model/model.h"
#include "model/torch_compat.h"
#include "model/torch_error.h"

namespace edgecompress {
namespace {

// What follows `label` in LibTorch's message, up to the first of `ends`.
std::string name_after(const std::string& message, const std::string& label, const char* ends) {
  const auto found = message.find(label);
  if (found == std::string::npos) return {};
  const auto start = found + label.size();
  return message.substr(start, message.find_first_of(ends, start) - start);
}

[[noreturn]] void blame(const std::filesystem::path& path, const std::exception& error) {
  throw_if_out_of_memory(error);
  const std::string message = torch_message(error);
  const std::string own_ops =
      "load the library that registers it with --op-library FILE.so (built for "
      "LibTorch " TORCH_VERSION ")";
  if (const auto op = name_after(message, "Unknown builtin op: ", " .\n"); !op.empty()) {
    const bool is_torch_op = op.compare(0, 6, "aten::") == 0 || op.compare(0, 6, "prim::") == 0;
    throw Error(ExitCode::kModel, path.string() + ": the model uses the unknown operator " + op,
                is_torch_op ? "this LibTorch (" TORCH_VERSION
                              ") is older than the PyTorch that wrote the file: use a newer one"
                            : own_ops);
  }
  for (const auto* label : {"__torch__.torch.classes.", "custom class "}) {
    if (const auto name = name_after(message, label, " '\",.\n"); !name.empty()) {
      throw Error(ExitCode::kModel,
                  path.string() + ": the model uses the unknown custom class " + name, own_ops);
    }
  }
  throw Error(ExitCode::kModel, path.string() + ": LibTorch can't load it: " + message,
              "check that Python loads it with torch.jit.load");
}

}  // namespace

torch::jit::Module load_as_stored(const std::filesystem::path& path) {
  check_torchscript_archive(path);
  try {
    auto module = torch::jit::load(path.string(), c10::Device(c10::kCPU));
    module.eval();
    return module;
  } catch (const std::exception& error) {
    blame(path, error);
  }
}

}  // namespace edgecompress
