// Files for the tests of data sources: a folder that goes away, bytes by hand, and, where there is
// one, a Python that writes what other people's files look like.
#pragma once

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/source.h"
#include "edgecompress/error.h"

namespace edgecompress::testing {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "edgecompress-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A version 1 .npy file with this header dict and these values.
inline std::string npy_file(const std::string& dict, const std::string& values) {
  std::string header = dict;
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + values;
}

inline std::string npy_dict(const std::string& type, const std::string& shape,
                            const std::string& fortran = "False") {
  return "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::shared_ptr<const Dataset> open_source(const std::string& source,
                                                  const std::filesystem::path& path,
                                                  const std::vector<std::string>& inputs = {},
                                                  const std::string& target = "",
                                                  const Json& options = Json::object()) {
  const std::string pointer = "/source";
  const auto& found = find_source(source, pointer);
  return found.open({path, inputs, target, found.options.resolve(options, "/options")});
}

/// Every sample, in index order.
inline Batch read_all(const Dataset& dataset) {
  std::vector<std::int64_t> indices(dataset.size());
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<std::int64_t>(i);
  return dataset.read(indices, 0);
}

/// The Error that `function` throws has this code, and its message and hint hold these texts.
inline void expect_error(const std::function<void()>& function, ExitCode code,
                         const std::vector<std::string>& texts) {
  try {
    function();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    const auto all = std::string(error.what()) + " | " + error.hint();
    for (const auto& text : texts) EXPECT_THAT(all, ::testing::HasSubstr(text));
  }
}

/// Runs a script in `folder` with the Python that has NumPy and PyTorch; false if there is none.
inline bool run_python(const Folder& folder, const std::string& script) {
  folder.write("script.py", "import numpy as np, torch, torchvision\n" + script);
  const auto command = "cd '" + folder.path().string() +
                       "' && /usr/bin/python3 -c 'import numpy, torch, torchvision' 2>/dev/null";
  if (std::system(command.c_str()) != 0) return false;
  const auto run = "cd '" + folder.path().string() + "' && /usr/bin/python3 script.py";
  if (std::system(run.c_str()) != 0) throw std::runtime_error("the Python script failed");
  return true;
}

#define SKIP_WITHOUT_PYTHON(folder, script) \
  if (!run_python(folder, script)) GTEST_SKIP() << "no Python with NumPy, PyTorch and torchvision"

}  // namespace edgecompress::testing
