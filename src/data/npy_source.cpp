// Source "npy": a folder of NAME.npy files, one for each input and the target; or one file.
#include <fmt/format.h>

#include "data/npy.h"
#include "data/source.h"
#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// The array NAME beside the others; NAME can't lead elsewhere.
std::filesystem::path array_file(const std::filesystem::path& folder, const std::string& name) {
  if (name.find('/') != std::string::npos)
    throw Error(ExitCode::kData, fmt::format("{}: array '{}' is a path, expected a file's name",
                                             folder.string(), name));
  return folder / (ends_with(name, ".npy") ? name : name + ".npy");
}

std::shared_ptr<const Dataset> open_npy(const SourceRequest& request) {
  namespace fs = std::filesystem;
  const bool is_folder = fs::is_directory(request.path);
  const auto folder = is_folder ? request.path : request.path.parent_path();
  std::vector<fs::path> files;
  if (is_folder) {
    for (const auto& name : request.inputs) files.push_back(array_file(folder, name));
    if (files.empty())
      throw Error(ExitCode::kData,
                  fmt::format("{}: is a folder, and no input is named", folder.string()),
                  R"(name the arrays: "inputs": ["images"] for images.npy)");
  } else {
    files.push_back(request.path);
  }
  std::vector<NpyArray> inputs;
  for (const auto& file : files) inputs.emplace_back(open_file_bytes(file));
  if (request.target.empty()) return npy_dataset(std::move(inputs), nullptr, files);
  files.push_back(array_file(folder, request.target));
  const NpyArray target(open_file_bytes(files.back()));
  return npy_dataset(std::move(inputs), &target, files);
}

}  // namespace

Source npy_source() {
  return {"npy",
          "NumPy arrays: one .npy file, or a folder of them named by inputs and target",
          /*needs_path=*/true,
          {},
          open_npy};
}

}  // namespace edgecompress
