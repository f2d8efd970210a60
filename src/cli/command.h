// A subcommand a file: each adds itself to the app and does its work in its callback.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edgecompress/edgecompress.h"

namespace edgecompress {

/// What the command line holds besides the subcommand's own options, and what comes of it.
struct CommandContext {
  bool is_quiet = false;
  bool is_verbose = false;
  std::string log_format = "text";
  bool is_json = false;  ///< --json of the subcommands that have it

  std::string result;  ///< for stdout
  ExitCode code = ExitCode::kDone;

  /// Takes over what the engine found.
  void finish(const Outcome& outcome);
};

void add_run(CLI::App& app, CommandContext& context);
void add_inspect(CLI::App& app, CommandContext& context);
void add_evaluate(CLI::App& app, CommandContext& context);
void add_benchmark(CLI::App& app, CommandContext& context);
void add_batch(CLI::App& app, CommandContext& context);
void add_compare(CLI::App& app, CommandContext& context);
void add_demo(CLI::App& app, CommandContext& context);
void add_validate(CLI::App& app, CommandContext& context);
void add_schema(CLI::App& app, CommandContext& context);
void add_passes(CLI::App& app, CommandContext& context);
void add_cache(CLI::App& app, CommandContext& context);
void add_completion(CLI::App& app, CommandContext& context);

/// A subcommand with the manners they all have: global options are taken after it too.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& summary,
                      const std::string& examples);

/// Options that several subcommands share, spelt and explained alike.
CLI::Option* add_json_flag(CLI::App& command, CommandContext& context, const std::string& summary);
CLI::Option* add_input_option(CLI::App& command, std::vector<std::string>& inputs);
void add_threads_option(CLI::App& command, std::optional<std::int64_t>& threads);
void add_device_option(CLI::App& command, std::string& device, const std::string& what);
void add_op_library_option(CLI::App& command, std::vector<std::string>& libraries);

}  // namespace edgecompress
