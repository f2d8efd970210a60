#include <cstdio>
#include <cstdlib>

#include "cli/app.h"

int main(int argc, char** argv) {
  const int code = edgecompress::run_app(argc, argv);
  std::fflush(nullptr);
  // Everything is written and closed. What LibTorch and its BLAS tidy up at the end of a process
  // takes its time, and waits for ever for threads that could not be started for lack of memory.
  std::_Exit(code);
}
