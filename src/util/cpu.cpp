#include "util/cpu.h"

#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>

#include "util/text.h"

namespace edgecompress {

std::string best_openblas_core() {
#if defined(__x86_64__)
  // The compiler's own check asks the operating system too whether it saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd")) {
    return "SkylakeX";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
  }
#endif
  return "";
}

void choose_openblas_core() {
  const std::string core = best_openblas_core();
  if (!core.empty()) ::setenv("OPENBLAS_CORETYPE", core.c_str(), /*overwrite=*/0);
}

void choose_openmp_spin() {
  // GOMP_SPINCOUNT would override the policy, which is the user's choice too.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    ::setenv("GOMP_SPINCOUNT", "10000", /*overwrite=*/0);
  }
}

std::string cpu_name() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    const std::size_t colon = line.find(": ");
    if (starts_with(line, "model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  // Not every architecture's cpuinfo has a name.
  utsname system{};
  return ::uname(&system) == 0 ? system.machine : "unknown";
}

bool has_int8_dot_products() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vnni") || __builtin_cpu_supports("avxvnni");
#else
  return true;
#endif
}

}  // namespace edgecompress
