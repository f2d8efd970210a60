#include "model/runtime.h"

#include <ATen/Config.h>
#include <ATen/Context.h>
#include <dlfcn.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <thread>

#include "edgecompress/error.h"
#include "model/torch_compat.h"
#include "util/cpu.h"

namespace edgecompress {
namespace {

// LibTorch doesn't know which BLAS library it was linked with (Debian's alternatives choose it), so
// OpenBLAS's own functions are looked for among the symbols of this process.
template <typename Function>
Function* loaded_symbol(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

std::string text_from(const char* symbol) {
  auto* function = loaded_symbol<char*()>(symbol);
  const char* text = function ? function() : nullptr;
  return text ? text : "";
}

void choose_quantized_engine() {
  const auto supported = at::globalContext().supportedQEngines();
  const auto has = [&](at::QEngine engine) {
    return std::find(supported.begin(), supported.end(), engine) != supported.end();
  };
#if defined(__x86_64__) || defined(__i386__)
  const auto preferred = {at::kONEDNN, at::kX86, at::kFBGEMM, at::kQNNPACK};
#else
  const auto preferred = {at::kQNNPACK, at::kONEDNN};
#endif
  for (const auto engine : preferred) {
    if (has(engine)) return at::globalContext().setQEngine(engine);
  }
}

// A container's share of the processors ("max 100000" or "150000 100000"); 0: no limit known.
std::int64_t cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::ceil(std::atof(quota.c_str()) / period)));
}

std::string operating_system() {
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    const std::string key = "PRETTY_NAME=\"";
    if (line.compare(0, key.size(), key) == 0) {
      return line.substr(key.size(), line.size() - key.size() - 1);
    }
  }
  utsname name{};
  return uname(&name) == 0 ? std::string(name.sysname) + " " + name.release : "";
}

// From the configuration text "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ... Prescott
// MAX_THREADS=64".
std::string blas_name() {
  const auto config = text_from("openblas_get_config");
  if (config.empty()) return at::hasMKL() ? "MKL" : "unknown";
  const auto version_end = config.find(' ', config.find(' ') + 1);
  return config.substr(0, version_end);
}

}  // namespace

void initialise_runtime() {
  static std::once_flag once;
  std::call_once(once, [] {
    torch::jit::setTensorExprFuserEnabled(false);
    torch::jit::overrideCanFuseOnCPU(false);
    at::globalContext().setFlushDenormal(true);
    choose_quantized_engine();
    spend_quantized_warning();
  });
}

std::int64_t usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  const auto share = cgroup_cores();
  return share > 0 ? std::min(cores, share) : cores;
}

std::int64_t set_threads(std::int64_t threads) {
  if (threads <= 0) threads = usable_cores();
  const int count = static_cast<int>(threads);
  at::set_num_threads(count);
  if (auto* set_blas_threads = loaded_symbol<void(int)>("openblas_set_num_threads")) {
    set_blas_threads(count);
  }
  return threads;
}

std::string quantized_engine() { return at::toString(at::globalContext().qEngine()); }

Environment describe_environment() {
  Environment environment;
  environment.edgecompress_version = EDGECOMPRESS_VERSION;
  environment.libtorch_version = TORCH_VERSION;
  environment.quantized_engine = quantized_engine();
  environment.cpu = cpu_name();
  environment.blas = blas_name();
  environment.blas_core = text_from("openblas_get_corename");
  environment.cores = usable_cores();
  environment.threads = at::get_num_threads();
  environment.operating_system = operating_system();
  return environment;
}

std::string blas_complaint() {
  const auto used = text_from("openblas_get_corename");
  const auto best = best_openblas_core();
  const auto same = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
  if (used.empty() || best.empty() ||
      std::equal(used.begin(), used.end(), best.begin(), best.end(), same)) {
    return {};
  }
  return "OpenBLAS runs its " + used + " kernels, this CPU deserves " + best +
         ": float layers are slow; set OPENBLAS_CORETYPE=" + best + " before starting";
}

void load_op_library(const std::string& path) {
  // A bare name is a file of the working directory for the user, not one of the linker's path.
  const auto file = path.find('/') == std::string::npos ? "./" + path : path;
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) return;
  const char* reason = dlerror();
  throw Error(
      ExitCode::kModel,
      "can't load the operator library " + path + ": " + (reason ? reason : "no reason given"),
      "give a shared object built for this LibTorch (" TORCH_VERSION ") with --op-library");
}

}  // namespace edgecompress
