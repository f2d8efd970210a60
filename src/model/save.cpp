#include <torch/csrc/jit/serialization/export.h>

#include <exception>
#include <filesystem>
#include <string>
#include <utility>

#include "edgecompress/error.h"
#include "model/model.h"
#include "model/torch_error.h"
#include "util/file.h"

namespace edgecompress {
namespace {

class EvalModeGuard {
 public:
  explicit EvalModeGuard(torch::jit::Module module, bool was_training)
      : module_(std::move(module)), was_training_(was_training) {
    if (was_training_) module_.train(false);
  }
  ~EvalModeGuard() {
    if (was_training_) module_.train(true);
  }
  EvalModeGuard(const EvalModeGuard&) = delete;
  EvalModeGuard& operator=(const EvalModeGuard&) = delete;

 private:
  torch::jit::Module module_;
  bool was_training_;
};

}  // namespace

void Model::save(const std::filesystem::path& path) const {
  const EvalModeGuard eval_mode(module_, is_training());
  write_file_atomic(path, [&](const ByteSink& write) {
    // Through a function, not by file name: that would become a name inside the archive, and the
    // same model would give other bytes elsewhere. LibTorch's writer throws from its destructor
    // once a write fails, which ends the process: the sink never tells it.
    const auto take = [&](const void* bytes, std::size_t count) {
      write({static_cast<const char*>(bytes), count});
      return count;
    };
    try {
      torch::jit::ExportModule(module_, take);
    } catch (const std::exception& error) {
      throw Error(ExitCode::kOutput,
                  "can't write the model " + path.string() + ": " + torch_message(error));
    }
  });
}

}  // namespace edgecompress
