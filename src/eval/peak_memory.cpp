// Resident memory of this process, from /proc/self (see proc(5)); elsewhere everything is unknown.
#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "eval/checked_forward.h"
#include "eval/size.h"
#include "model/model.h"

namespace edgecompress {
namespace {

/// A line of /proc/self/status ("VmHWM"), bytes; 0 if there is none.
std::int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == key + ":" && status >> kibibytes) return kibibytes * 1024;
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

void run_once(torch::jit::Module& module, const std::vector<at::Tensor>& batch,
              const std::string& name) {
  const c10::InferenceMode inference;
  try {
    module.forward({batch.begin(), batch.end()});
  } catch (const std::exception& error) {
    throw_not_runnable(name, batch, error);
  }
}

}  // namespace

std::int64_t peak_memory_bytes() { return status_bytes("VmHWM"); }

bool reset_peak_memory() {
  // Freed memory that malloc keeps would be taken again unseen.
  malloc_trim(0);
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5" << std::flush;
  return clear.good();
}

std::int64_t measure_peak_memory(const std::filesystem::path& path,
                                 const std::vector<InputSpec>& inputs, std::int64_t batch_size) {
  const std::vector<at::Tensor> batch = make_example_inputs(inputs, batch_size, /*seed=*/0);
  if (!reset_peak_memory()) return 0;
  const std::int64_t before = status_bytes("VmRSS");
  if (before == 0) return 0;
  {
    torch::jit::Module module = load_as_stored(path);
    module.eval();
    run_once(module, batch, path.filename().string());
  }
  return std::max<std::int64_t>(0, peak_memory_bytes() - before);
}

}  // namespace edgecompress
