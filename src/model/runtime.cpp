#include "model/runtime.h"

#include <ATen/Config.h>
#include <ATen/Context.h>
#include <dlfcn.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "edgecompress/error.h"
#include "int8/int8_engine.h"
#include "model/torch_compat.h"
#include "util/cpu.h"
#include "util/machine.h"
#include "util/text.h"

namespace edgecompress {
namespace {

// LibTorch doesn't know which BLAS library it was linked with (Debian's alternatives choose it), so
// OpenBLAS's own functions are looked for among the symbols of this process.
template <typename Function>
Function* loaded_symbol(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
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

/// Which library float matrix products end in. Another BLAS may be loaded besides, behind LAPACK.
class BlasLibrary {
 public:
  BlasLibrary() {
    Dl_info symbol{};
    void* product = dlsym(RTLD_DEFAULT, "sgemm_");
    if (product == nullptr || dladdr(product, &symbol) == 0) return;
    handle_ = dlopen(symbol.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    std::error_code error;
    file_ = std::filesystem::canonical(symbol.dli_fname, error);
    if (error) file_ = symbol.dli_fname;
  }
  ~BlasLibrary() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  BlasLibrary(const BlasLibrary&) = delete;
  BlasLibrary& operator=(const BlasLibrary&) = delete;

  const std::filesystem::path& file() const { return file_; }
  /// What a function of this library, or of those that it stands on, says.
  std::string text_from(const char* name) const {
    auto* function = handle_ ? reinterpret_cast<char* (*)()>(dlsym(handle_, name)) : nullptr;
    const char* text = function ? function() : nullptr;
    return text ? text : "";
  }

 private:
  void* handle_ = nullptr;
  std::filesystem::path file_;
};

}  // namespace

void initialise_runtime() {
  static std::once_flag once;
  std::call_once(once, [] {
    torch::jit::setTensorExprFuserEnabled(false);
    torch::jit::overrideCanFuseOnCPU(false);
    at::globalContext().setFlushDenormal(true);
    use_int8_engine("auto");
    spend_quantized_warning();
  });
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

Environment describe_environment() {
  Environment environment;
  environment.edgecompress_version = EDGECOMPRESS_VERSION;
  environment.libtorch_version = TORCH_VERSION;
  environment.quantized_engine = int8_engine();
  environment.cpu = cpu_name();
  const Blas blas = describe_blas();
  environment.blas = blas.name;
  environment.blas_core = blas.core;
  environment.cores = usable_cores();
  environment.threads = at::get_num_threads();
  environment.operating_system = operating_system();
  return environment;
}

Blas describe_blas() {
  const BlasLibrary library;
  Blas blas;
  blas.library = library.file();
  blas.core = library.text_from("openblas_get_corename");
  // The configuration text: "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ... Prescott MAX_THREADS=64".
  const auto config = library.text_from("openblas_get_config");
  const auto file = library.file().filename().string();
  if (!config.empty()) {
    blas.name = config.substr(0, config.find(' ', config.find(' ') + 1));
  } else if (at::hasMKL()) {
    blas.name = "MKL";
  } else {
    // Netlib's own library bears the plain name; every other one has a name of its own.
    blas.name = starts_with(file, "libblas.so") ? Blas::kReference : file;
  }
  return blas;
}

std::string blas_complaint(const Blas& blas) {
  if (blas.name == Blas::kReference) {
    return "float matrix products run on the reference BLAS (" + blas.library +
           "), tens of times slower than they need be; install OpenBLAS "
           "(apt-get install libopenblas0-pthread)";
  }
  const auto best = best_openblas_core();
  const auto same = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
  if (blas.core.empty() || best.empty() ||
      std::equal(blas.core.begin(), blas.core.end(), best.begin(), best.end(), same)) {
    return {};
  }
  return "OpenBLAS runs its " + blas.core + " kernels, this CPU deserves " + best +
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
