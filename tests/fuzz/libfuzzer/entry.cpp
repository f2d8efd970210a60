// One fuzzer: the reader named by EDGECOMPRESS_READER, which may refuse an input in no other way
// than by an Error of the code EDGECOMPRESS_CODE.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "edgecompress/error.h"
#include "fuzz/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  try {
    edgecompress::fuzz::EDGECOMPRESS_READER({reinterpret_cast<const char*>(bytes), size});
  } catch (const edgecompress::Error& error) {
    if (error.code() == edgecompress::ExitCode::EDGECOMPRESS_CODE) return 0;
    std::fprintf(stderr, "exit code %d: %s\n", static_cast<int>(error.code()), error.what());
    std::abort();
  }
  return 0;
}
