// Source "torch": a dict of tensors as torch.save({...}, path) writes it. It is read to memory
// whole.
#include <ATen/core/ivalue.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include "data/bytes.h"
#include "data/source.h"
#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "model/archive_tensors.h"
#include "model/zip_archive.h"
#include "util/file.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr const char* kHowToSave =
    "save plain tensors in Python, two entries or more (LibTorch does not read a dict of one): "
    "torch.save({'images': x, 'labels': y}, path)";

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

/// LibTorch's unpickler believes the sizes, strides and offset that a file gives a tensor; reading
/// one that reaches beyond its storage would read foreign memory.
bool lies_in_storage(const at::Tensor& tensor) {
  auto last = tensor.storage_offset();
  if (last < 0) return false;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    const auto size = tensor.size(i), stride = tensor.stride(i);
    std::int64_t reach = 0;
    if (size < 0 || stride < 0) return false;
    if (size > 0 && (__builtin_mul_overflow(size - 1, stride, &reach) ||
                     __builtin_add_overflow(last, reach, &last)))
      return false;
  }
  const auto held = static_cast<std::int64_t>(tensor.storage().nbytes() / tensor.element_size());
  return tensor.numel() == 0 || last < held;
}

void check_tensor(const at::Tensor& tensor, const std::string& name) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_quantized())
    throw Error(ExitCode::kData, name + ": is sparse or quantized, expected a plain tensor");
  if (!lies_in_storage(tensor))
    throw Error(ExitCode::kData, name + ": claims more values than the file holds");
  check_fits_memory(static_cast<std::int64_t>(tensor.nbytes()), name);
}

/// LibTorch's unpickler trusts what it runs, and unpacks whatever an archive claims to hold.
void check_archive(const std::filesystem::path& path, std::int64_t size) {
  try {
    const ZipArchive archive(path);
    if (archive.unpacked_bytes() > static_cast<std::uint64_t>(size))
      throw Error(ExitCode::kData,
                  fmt::format("{}: unpacks to more than it is; torch.save does not compress",
                              path.string()));
    check_archive_tensors(archive);
  } catch (const Error& error) {
    throw Error(ExitCode::kData, error.what(), kHowToSave);
  }
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
  check_archive(path, size);
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
    check_tensor(tensor, fmt::format("{}: tensor '{}'", path.string(), key));
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
