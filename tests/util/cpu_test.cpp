#include "util/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace edgecompress {
namespace {

/// The flags that the kernel lists for this processor.
std::string cpu_flags() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    if (line.rfind("flags", 0) == 0) return line + " ";
  }
  return "";
}

TEST(BestOpenblasCore, AgreesWithTheKernelsListOfInstructions) {
  const std::string flags = cpu_flags();
  if (flags.empty()) GTEST_SKIP() << "the kernel lists no x86 flags";
  const auto has = [&](const std::string& flag) {
    return flags.find(" " + flag + " ") != std::string::npos;
  };
  const std::string core = best_openblas_core();
  if (has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl") && has("avx512cd")) {
    EXPECT_EQ(core, "SkylakeX");
  } else if (has("avx2") && has("fma")) {
    EXPECT_TRUE(core == "Haswell" || core == "Zen") << core;
  } else {
    EXPECT_EQ(core, "");
  }
}

TEST(ChooseOpenblasCore, LeavesTheUsersChoiceAlone) {
  ::setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
  choose_openblas_core();
  EXPECT_STREQ(std::getenv("OPENBLAS_CORETYPE"), "Nehalem");
  ::unsetenv("OPENBLAS_CORETYPE");
  choose_openblas_core();
  const char* chosen = std::getenv("OPENBLAS_CORETYPE");
  EXPECT_EQ(chosen == nullptr ? "" : std::string(chosen), best_openblas_core());
}

class ChooseOpenmpSpin : public ::testing::Test {
 protected:
  ChooseOpenmpSpin() {
    ::unsetenv("GOMP_SPINCOUNT");
    ::unsetenv("OMP_WAIT_POLICY");
  }
};

TEST_F(ChooseOpenmpSpin, IsShorterThanThe300000OfGnuOpenmp) {
  choose_openmp_spin();
  const char* const chosen = std::getenv("GOMP_SPINCOUNT");
  ASSERT_NE(chosen, nullptr);
  EXPECT_GT(std::stoi(chosen), 0);
  EXPECT_LT(std::stoi(chosen), 300000);
}

TEST_F(ChooseOpenmpSpin, LeavesTheUsersCountAlone) {
  ::setenv("GOMP_SPINCOUNT", "77", 1);
  choose_openmp_spin();
  EXPECT_STREQ(std::getenv("GOMP_SPINCOUNT"), "77");
}

TEST_F(ChooseOpenmpSpin, LeavesTheUsersPolicyAlone) {
  ::setenv("OMP_WAIT_POLICY", "active", 1);
  choose_openmp_spin();
  EXPECT_EQ(std::getenv("GOMP_SPINCOUNT"), nullptr);
}

TEST(HasInt8DotProducts, AgreesWithTheKernelsListOfInstructions) {
  const std::string flags = cpu_flags();
  if (flags.empty()) GTEST_SKIP() << "the kernel lists no x86 flags";
  const bool is_listed = flags.find(" avx512_vnni ") != std::string::npos ||
                         flags.find(" avx_vnni ") != std::string::npos;
  EXPECT_EQ(has_int8_dot_products(), is_listed);
}

TEST(CpuName, IsNeverEmpty) { EXPECT_NE(cpu_name(), ""); }

}  // namespace
}  // namespace edgecompress
