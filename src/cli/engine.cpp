#include "cli/engine.h"

#include <dlfcn.h>

#include "cli/progress_view.h"
#include "cli/signals.h"
#include "util/cpu.h"
#include "util/log.h"

namespace edgecompress {
namespace {

/// By its soname, which the dynamic linker finds through this binary's own run path.
const EdgecompressCommands& load_engine() {
  // OpenBLAS and OpenMP read these when they are loaded, which is now.
  choose_openblas_core();
  choose_openmp_spin();
  void* library = dlopen(EDGECOMPRESS_LIBRARY, RTLD_LAZY | RTLD_GLOBAL);
  const char* const hint = "Build and install edgecompress again, and see that LibTorch is there.";
  if (library == nullptr) {
    const char* const reason = dlerror();
    throw Error(ExitCode::kInternal,
                std::string("the engine can't be loaded: ") + (reason ? reason : "unknown reason"),
                hint);
  }
  using Entry = const EdgecompressCommands* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "edgecompress_commands"));
  if (entry == nullptr) {
    throw Error(ExitCode::kInternal,
                std::string(EDGECOMPRESS_LIBRARY) + " holds no edgecompress_commands", hint);
  }
  return *entry();
}

}  // namespace

LogOptions log_options(const CommandContext& context) {
  LogOptions options;
  if (context.is_quiet) options.level = LogOptions::Level::kQuiet;
  if (context.is_verbose) options.level = LogOptions::Level::kVerbose;
  options.is_json = context.log_format == "json";
  return options;
}

Outcome with_engine(const CommandContext& context, const EngineCall& call) {
  log_to_stderr(log_options(context));
  const WorkSignals signals;
  const EdgecompressCommands& engine = load_engine();
  ProgressView view(context);
  return call(engine, [&view](const ProgressEvent& event) { view.show(event); });
}

}  // namespace edgecompress
