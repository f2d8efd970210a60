#include "model/archive.h"

#include <caffe2/serialize/versions.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "edgecompress/error.h"
#include "model/archive_code.h"
#include "model/archive_tensors.h"
#include "model/torch_compat.h"
#include "model/zip_archive.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr const char* kExportHint =
    "in Python, where the model's class is at hand: model.eval(); "
    "torch.jit.script(model).save(\"model.pt\"), or "
    "torch.jit.trace(model, example_input).save(\"model.pt\")";

// Deflate can make 1 kB of zeros out of 1 B; networks, even pruned ones, stay far below this.
constexpr std::uint64_t kMaxExpansion = 200;
constexpr std::uint64_t kAlwaysAllowed = std::uint64_t{256} << 20;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what,
                         const std::string& hint = kExportHint) {
  throw Error(ExitCode::kModel, path.string() + ": " + what, hint);
}

// ---- Files that are no zip ------------------------------------------------------------------

std::string first_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(512, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return bytes;
}

bool has_at(const std::string& bytes, std::size_t offset, std::string_view magic) {
  return bytes.size() >= offset && bytes.compare(offset, magic.size(), magic) == 0;
}

bool is_text(const std::string& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](unsigned char byte) {
    return byte >= 0x20 || byte == '\n' || byte == '\r' || byte == '\t';
  });
}

struct Looks {
  std::string what;
  std::string hint = kExportHint;
};

Looks looks_like(const std::string& bytes) {
  using namespace std::string_view_literals;
  std::string lower = bytes;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (has_at(bytes, 0, "version https://git-lfs")) {
    return {"a Git LFS pointer, not the file it stands for", "fetch the file with: git lfs pull"};
  }
  if (lower.find("<!doctype html") != std::string::npos ||
      lower.find("<html") != std::string::npos) {
    return {"an HTML page (a download that failed?)", "download the model file itself"};
  }
  if (has_at(bytes, 0, "\x89HDF"sv)) return {"an HDF5 file (Keras?)"};
  if (has_at(bytes, 4, "TFL3"sv)) return {"a TensorFlow Lite model"};
  if (has_at(bytes, 4, "PTMF"sv)) return {"a lite-interpreter model (flatbuffer)"};
  if (has_at(bytes, 4, "ET12"sv)) return {"an ExecuTorch program"};
  if (has_at(bytes, 0, "GGUF"sv)) return {"a GGUF model"};
  if (has_at(bytes, 0,
             "\x7f"
             "ELF"sv))
    return {"a program or shared library"};
  if (has_at(bytes, 0, "\x1f\x8b"sv)) return {"compressed with gzip", "decompress it first"};
  if (has_at(bytes, 257, "ustar"sv)) {
    return {"a tar archive", "unpack it first; if PyTorch before 0.4 wrote it, export it anew"};
  }
  if (has_at(bytes, 8, "{\""sv)) return {"a safetensors file: weights without a network"};
  if (bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) {
    return {"a Python pickle (torch.save of old: a state_dict or a pickled module)"};
  }
  if (has_at(bytes, 0, "\x08"sv) &&
      (lower.find("pytorch") != std::string::npos || lower.find("onnx") != std::string::npos)) {
    return {"an ONNX model"};
  }
  if (is_text(bytes)) return {"a text file"};
  return {"no zip archive, and nothing else that is known here"};
}

// ---- Zip archives ---------------------------------------------------------------------------

// The first class that a pickle of torch.save names: opcode GLOBAL, "c<module>\n<name>\n".
std::string first_class(const std::string& pickle) {
  for (auto at = pickle.find('c'); at != std::string::npos; at = pickle.find('c', at + 1)) {
    const auto module_end = pickle.find('\n', at);
    if (module_end == std::string::npos) break;
    const auto name_end = pickle.find('\n', module_end + 1);
    if (name_end == std::string::npos) break;
    const auto name = pickle.substr(at + 1, module_end - at - 1) + "." +
                      pickle.substr(module_end + 1, name_end - module_end - 1);
    const bool is_name = std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) || c == '_' || c == '.';
    });
    if (is_name) return name;
  }
  return {};
}

[[noreturn]] void blame_pickle(const std::filesystem::path& path, const ZipArchive& archive) {
  const auto name = first_class(archive.read("data.pkl", 1 << 16));
  if (name.empty() || starts_with(name, "collections.") || starts_with(name, "torch._utils.") ||
      name == "torch.FloatStorage") {
    refuse(path, "a state_dict or tensors written by torch.save: weights without the network");
  }
  refuse(path, "a Python object of class " + name +
                   " pickled by torch.save: only Python that has this class can load it");
}

[[noreturn]] void blame_contents(const std::filesystem::path& path, const ZipArchive& archive) {
  if (archive.has("bytecode.pkl")) {
    refuse(path, "a lite-interpreter model: it holds bytecode only, which can't be compressed");
  }
  if (archive.has("data.pkl")) blame_pickle(path, archive);
  const auto any = [&](const auto& test) {
    return std::any_of(archive.names().begin(), archive.names().end(), test);
  };
  if (any([](const std::string& name) { return ends_with(name, ".npy"); })) {
    refuse(path, "a NumPy npz file: arrays without a network");
  }
  if (any([](const std::string& name) {
        return ends_with(name, "archive_format") ||
               starts_with(name, "serialized_exported_program");
      })) {
    refuse(path, "a torch.export program, not TorchScript");
  }
  const auto first = archive.names().empty() ? "nothing" : archive.names().front();
  refuse(path, "a zip archive, but not of a TorchScript model (it holds " + first + ")");
}

void check_version(const std::filesystem::path& path, const ZipArchive& archive) {
  for (const auto* record : {"version", ".data/version"}) {
    const auto text = archive.read(record, 20);
    const auto version = std::strtoull(text.c_str(), nullptr, 10);
    if (version > caffe2::serialize::kMaxSupportedFileFormatVersion) {
      refuse(path,
             "written in TorchScript format " + std::to_string(version) + "; LibTorch " +
                 TORCH_VERSION + " reads up to " +
                 std::to_string(caffe2::serialize::kMaxSupportedFileFormatVersion),
             "save it with an older PyTorch, or build edgecompress with a newer LibTorch");
    }
  }
}

}  // namespace

void check_torchscript_archive(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    refuse(path, "there is no such model file", "check the path");
  }
  if (!std::filesystem::is_regular_file(status)) {
    refuse(path, "not a file", "give the TorchScript file itself");
  }
  const auto bytes = first_bytes(path);
  const auto file_size = std::filesystem::file_size(path, error);
  if (bytes.empty()) refuse(path, "empty, or it can't be read", "check its size and permissions");
  if (!has_at(bytes, 0, "PK")) {
    const auto looks = looks_like(bytes);
    refuse(path, "not a TorchScript archive but " + looks.what, looks.hint);
  }
  const ZipArchive archive(path);
  if (archive.unpacked_bytes() / kMaxExpansion > file_size &&
      archive.unpacked_bytes() > kAlwaysAllowed) {
    refuse(path,
           "unpacks to " + human_bytes(static_cast<std::int64_t>(archive.unpacked_bytes())) +
               " from " + human_bytes(static_cast<std::int64_t>(file_size)) +
               ", which no network does",
           "get the file from its source again");
  }
  if (!archive.has_folder("code") || !archive.has("constants.pkl")) blame_contents(path, archive);
  if (archive.has("model.json")) {
    refuse(path, "written by PyTorch 1.1 or older", "load it with PyTorch 1.13 and save it again");
  }
  check_version(path, archive);
  archive.check_crcs();
  check_archive_code(archive);
  check_archive_tensors(archive);
}

}  // namespace edgecompress
