// The engine, libedgecompress, loaded only by the commands that need it: LibTorch takes half a
// second to load, and --help should not wait for it.
#pragma once

#include <functional>

#include "cli/command.h"
#include "util/log.h"

namespace edgecompress {

using EngineCall =
    std::function<Outcome(const EdgecompressCommands& engine, const ProgressListener& listener)>;

/// How the command line says that the log is to be written.
LogOptions log_options(const CommandContext& context);

/// Loads the engine and makes the call, with progress shown as fits the terminal and with
/// interrupts turned into Error(kInterrupted). Throws Error(kInternal) if the engine can't be
/// loaded.
Outcome with_engine(const CommandContext& context, const EngineCall& call);

/// What the callback of a subcommand does: `command` of the engine, its outcome for the context.
template <class Request>
void call_engine(CommandContext& context,
                 Outcome (*EdgecompressCommands::*command)(const Request&, const ProgressListener&),
                 const Request& request) {
  context.finish(with_engine(
      context, [&](const EdgecompressCommands& engine, const ProgressListener& listener) {
        return (engine.*command)(request, listener);
      }));
}

}  // namespace edgecompress
