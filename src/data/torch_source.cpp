// Source "torch": a dict of tensors as torch.save({...}, path) writes it. It is read to memory
// whole.
#include <ATen/core/ivalue.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include "data/bytes.h"
#include "data/source.h"
#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "util/file.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr const char* kHowToSave =
    "save it in Python: torch.save({'images': x, 'labels': y}, path)";

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

/// The unpickler believes the sizes that a file gives a tensor; the file must hold its storage.
void check_storage(const at::Tensor& tensor, std::int64_t file_bytes, const std::string& name) {
  if (tensor.layout() != at::kStrided || tensor.is_quantized())
    throw Error(ExitCode::kData, name + ": is sparse or quantized, expected a plain tensor");
  if (static_cast<std::int64_t>(tensor.storage().nbytes()) > file_bytes)
    throw Error(ExitCode::kData, fmt::format("{}: claims more values than the file holds", name));
}

Tensors load_tensors(const std::filesystem::path& path) {
  const auto bytes = open_file_bytes(path);
  const auto size = bytes->size();
  check_fits_memory(2 * size, path.string());
  std::vector<char> content(size);
  bytes->read(0, content.data(), size);
  if (size < 2 || content[0] != 'P' || content[1] != 'K')
    throw Error(
        ExitCode::kData,
        fmt::format("{}: is not what torch.save has written since PyTorch 1.6 (a zip archive)",
                    path.string()),
        kHowToSave);
  at::IValue value;
  try {
    value = torch::jit::pickle_load(content);
  } catch (const std::exception& error) {
    const std::string what = error.what();
    throw Error(
        ExitCode::kData,
        fmt::format("{}: can't be read: {}", path.string(), what.substr(0, what.find('\n'))),
        kHowToSave);
  }
  if (!value.isGenericDict())
    throw Error(
        ExitCode::kData,
        fmt::format("{}: holds a {}, expected a dict of tensors", path.string(), value.tagKind()),
        kHowToSave);
  Tensors tensors;
  for (const auto& item : value.toGenericDict()) {
    if (!item.key().isString() || !item.value().isTensor()) continue;
    const auto key = item.key().toStringRef();
    const auto tensor = item.value().toTensor();
    check_storage(tensor, size, fmt::format("{}: tensor '{}'", path.string(), key));
    tensors.emplace_back(key, tensor.detach());
  }
  return tensors;
}

at::Tensor find_tensor(const Tensors& tensors, const std::string& key,
                       const std::filesystem::path& path) {
  std::vector<std::string> keys;
  for (const auto& [name, tensor] : tensors) {
    if (name == key) return tensor;
    keys.push_back(name);
  }
  throw Error(ExitCode::kData, fmt::format("{}: has no tensor '{}', it has {}", path.string(), key,
                                           join(keys, ", ")));
}

std::shared_ptr<const Dataset> open_torch(const SourceRequest& request) {
  const auto tensors = load_tensors(request.path);
  auto keys = request.inputs;
  if (keys.empty()) {
    for (const auto& [key, tensor] : tensors)
      if (key != request.target) keys.push_back(key);
    if (keys.size() != 1)
      throw Error(ExitCode::kData,
                  fmt::format("{}: which tensor is the input? It has {}", request.path.string(),
                              join(keys, ", ")),
                  R"(name it: "inputs": ["images"])");
  }
  std::vector<at::Tensor> inputs;
  for (const auto& key : keys) inputs.push_back(find_tensor(tensors, key, request.path));
  at::Tensor target;
  if (!request.target.empty()) target = find_tensor(tensors, request.target, request.path);
  return std::make_shared<TensorDataset>(std::move(inputs), target, request.path.string(),
                                         std::vector<std::filesystem::path>{request.path});
}

}  // namespace

Source torch_source() {
  return {"torch",
          "a dict of tensors saved by torch.save; inputs and target name its entries",
          /*needs_path=*/true,
          {},
          open_torch};
}

}  // namespace edgecompress
