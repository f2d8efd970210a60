#include "model/runtime.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "edgecompress/error.h"
#include "util/cpu.h"
#include "util/machine.h"

namespace edgecompress {
namespace {

TEST(Runtime, FlushesDenormals) {
  initialise_runtime();
  initialise_runtime();
  EXPECT_EQ((at::full({8}, 1e-39) * 1.0).sum().item<float>(), 0.0F);
}

TEST(Runtime, ChoosesAnEngineThatThisLibTorchHas) {
  initialise_runtime();
  const auto engines = at::globalContext().supportedQEngines();
  EXPECT_NE(std::find(engines.begin(), engines.end(), at::globalContext().qEngine()),
            engines.end());
}

TEST(Runtime, SetsThreads) {
  EXPECT_EQ(set_threads(1), 1);
  EXPECT_EQ(at::get_num_threads(), 1);
  EXPECT_EQ(set_threads(0), usable_cores());
  EXPECT_EQ(at::get_num_threads(), usable_cores());
  EXPECT_GE(usable_cores(), 1);
}

TEST(Runtime, DescribesWhatRuns) {
  set_threads(1);
  const auto environment = describe_environment();
  EXPECT_EQ(environment.threads, 1);
  EXPECT_EQ(environment.edgecompress_version, EDGECOMPRESS_VERSION);
  EXPECT_FALSE(environment.libtorch_version.empty());
  EXPECT_FALSE(environment.blas.empty());
  EXPECT_FALSE(environment.operating_system.empty());
}

TEST(BlasComplaint, SaysHowToReplaceTheReferenceLibrary) {
  const std::string complaint =
      blas_complaint({Blas::kReference, "", "/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0"});
  EXPECT_NE(complaint.find("blas/libblas.so.3.11.0"), std::string::npos);
  EXPECT_NE(complaint.find("libopenblas0"), std::string::npos);
}

TEST(BlasComplaint, NamesTheKernelsThatTheCpuDeserves) {
  const std::string best = best_openblas_core();
  if (best.empty()) GTEST_SKIP() << "no kernels are known to be the best for this CPU";
  EXPECT_EQ(blas_complaint({"OpenBLAS 0.3.21", best, ""}), "");
  const std::string complaint = blas_complaint({"OpenBLAS 0.3.21", "Prescott", ""});
  EXPECT_NE(complaint.find("OPENBLAS_CORETYPE=" + best), std::string::npos);
}

TEST(BlasComplaint, LeavesOtherLibrariesAlone) {
  EXPECT_EQ(blas_complaint({"libarmpl.so", "", "/opt/libarmpl.so"}), "");
}

TEST(Runtime, RefusesAnOperatorLibraryThatIsNotThere) {
  try {
    load_op_library("no_such_library.so");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kModel);
    EXPECT_NE(std::string(error.what()).find("no_such_library.so"), std::string::npos);
    EXPECT_FALSE(error.hint().empty());
  }
}

}  // namespace
}  // namespace edgecompress
