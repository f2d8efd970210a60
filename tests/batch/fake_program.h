// A stand-in for the edgecompress binary whose models are shell scripts: what a model does, its
// process does. Of the real binary it has the command line, the output folder and the exit codes.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_folder.h"

namespace edgecompress::testing {

class FakeProgram {
 public:
  FakeProgram() {
    write("recipe.json", R"({"name": "fake", "model": {"path": "none.pt"}, "passes": []})");
    write("program", R"(#!/bin/sh
for word in "$@"; do
  case "$word" in
    --model=*) model="${word#*=}" ;;
    --output=*) output="${word#*=}" ;;
  esac
done
echo "$@" > "$output/arguments.txt"
. "$model"
)");
    std::filesystem::permissions(path("program"), std::filesystem::perms::owner_all);
  }

  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(path(name).parent_path());
    std::ofstream(path(name), std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// zoo/NAME.pt, a model that runs `script`.
  void add_model(const std::string& name, const std::string& script) const {
    write("zoo/" + name + ".pt", script + "\n");
  }
  /// One that ends with `code` and leaves the results of a run, its size halved.
  void add_good_model(const std::string& name, int code = 0,
                      const std::string& gates = "[]") const {
    add_model(name,
              "hash=$(sha256sum < \"$model\" | cut -d' ' -f1)\n"
              "echo model > \"$output/model.pt\"\n"
              "cat > \"$output/report.json\" <<END\n"
              "{\"sha256\": {\"model\": \"$hash\"}, \"steps\": [], \"gates\": " +
                  gates +
                  ",\n"
                  " \"baseline\": {\"size\": {\"file_bytes\": 2000}},\n"
                  " \"final\": {\"size\": {\"file_bytes\": 1000}}}\n"
                  "END\n"
                  "exit " +
                  std::to_string(code));
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace edgecompress::testing
