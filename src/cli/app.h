// The command line as a whole: global options, subcommands, and the one catch of the program.
#pragma once

namespace edgecompress {

/// The exit code of the process (see ExitCode).
int run_app(int argc, char** argv);

}  // namespace edgecompress
