// The engine, libedgecompress, loaded only by the commands that need it: LibTorch takes half a
// second to load, and --help should not wait for it.
#pragma once

#include <functional>

#include "cli/command.h"

namespace edgecompress {

using EngineCall =
    std::function<Outcome(const EdgecompressCommands& engine, const ProgressListener& listener)>;

/// Loads the engine and makes the call, with progress shown as fits the terminal and with
/// interrupts turned into Error(kInterrupted). Throws Error(kInternal) if the engine can't be
/// loaded.
Outcome call_engine(const CommandContext& context, const EngineCall& call);

}  // namespace edgecompress
