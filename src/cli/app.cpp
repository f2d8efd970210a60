#include "cli/app.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

#include "cli/command.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// Every name that could have been meant where `app` or one of its parsed subcommands did not know
/// a word.
std::vector<std::string> known_words(const CLI::App& app, bool is_option) {
  std::vector<std::string> words;
  if (!is_option) {
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      words.push_back(command->get_name());
    }
    return words;
  }
  std::vector<const CLI::App*> apps = {&app};
  for (const CLI::App* command : app.get_subcommands()) apps.push_back(command);
  for (const CLI::App* known : apps) {
    for (const CLI::Option* option : known->get_options()) {
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
    }
  }
  return words;
}

/// What CLI11 could not parse, in our words. An unknown word is told before anything else: it is
/// often why something else is missing.
Error usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const auto parsed = app.get_subcommands();
  const std::string help =
      fmt::format("See: edgecompress {}--help", parsed.empty() ? "" : parsed[0]->get_name() + " ");
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty() || unknown[0] == "--") return Error(ExitCode::kUsage, error.what(), help);

  const std::string word = unknown[0].substr(0, unknown[0].find('='));
  const bool is_option = starts_with(word, "-");
  const bool is_command = !is_option && parsed.empty();
  const std::string message = fmt::format("{} {}",
                                          is_command  ? "unknown command"
                                          : is_option ? "unknown option"
                                                      : "unexpected argument",
                                          word);
  const std::string nearest =
      is_option || is_command ? nearest_name(word, known_words(app, is_option)) : "";
  return Error(ExitCode::kUsage, message,
               nearest.empty() ? help : fmt::format("Did you mean {}? {}", nearest, help));
}

void add_global_options(CLI::App& app, CommandContext& context) {
  auto* quiet = app.add_flag("-q,--quiet", context.is_quiet, "Log only warnings and errors");
  app.add_flag("-v,--verbose", context.is_verbose, "Log details")->excludes(quiet);
  app.add_option("--log-format", context.log_format, "How the log is written: text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  app.set_version_flag("--version", "edgecompress " EDGECOMPRESS_VERSION);
}

void add_commands(CLI::App& app, CommandContext& context) {
  add_run(app, context);
  add_inspect(app, context);
  add_evaluate(app, context);
  add_benchmark(app, context);
  add_batch(app, context);
  add_compare(app, context);
  add_validate(app, context);
  add_passes(app, context);
  add_schema(app, context);
  add_demo(app, context);
  add_cache(app, context);
  add_completion(app, context);
}

void write_result(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ExitCode::kOutput,
                std::string("standard output can't be written: ") + std::strerror(errno));
  }
}

int run_command(int argc, char** argv) {
  CLI::App app("edgecompress makes trained TorchScript networks small and fast.");
  app.name("edgecompress");
  app.footer(
      "Examples:\n"
      "  edgecompress demo --output demo\n"
      "  edgecompress inspect demo/model.pt --input 1x3x32x32\n"
      "  edgecompress run configs/quickstart.json --model demo/model.pt --output small\n\n"
      "Results go to standard output, the log to standard error.");
  CommandContext context;
  add_global_options(app, context);
  add_commands(app, context);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) {
      throw Error(ExitCode::kUsage, "no command was given", "See: edgecompress --help");
    }
  } catch (const CLI::Success& help_or_version) {
    app.exit(help_or_version);
    return 0;
  } catch (const CLI::ParseError& error) {
    throw usage_error(app, error);
  }
  write_result(context.result);
  return static_cast<int>(context.code);
}

}  // namespace

void CommandContext::finish(const Outcome& outcome) {
  result = is_json ? outcome.json : outcome.text;
  if (!result.empty() && result.back() != '\n') result += '\n';
  code = outcome.code;
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& summary,
                      const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->fallthrough();
  command->footer("Examples:\n" + examples);
  return command;
}

CLI::Option* add_json_flag(CLI::App& command, CommandContext& context, const std::string& summary) {
  return command.add_flag("--json", context.is_json, summary);
}

CLI::Option* add_input_option(CLI::App& command, std::vector<std::string>& inputs) {
  return command
      .add_option("-i,--input", inputs,
                  "Shape of an input, batch first; once for each input, in order")
      ->type_name("1x3x32x32[:dtype]")
      ->allow_extra_args(false);
}

void add_threads_option(CLI::App& command, std::optional<std::int64_t>& threads) {
  command.add_option("--threads", threads, "Threads; 0: every core this process may use")
      ->check(CLI::Range(0, 4096));
}

void add_device_option(CLI::App& command, std::string& device, const std::string& what) {
  command
      .add_option("--device", device,
                  "Where " + what + ": cpu, cuda (with a LibTorch that has it), or auto")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("DEVICE");
}

void add_op_library_option(CLI::App& command, std::vector<std::string>& libraries) {
  command
      .add_option("--op-library", libraries,
                  "Shared object that registers custom operators; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
}

int run_app(int argc, char** argv) {
  try {
    return run_command(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    if (!error.hint().empty()) std::fprintf(stderr, "hint: %s\n", error.hint().c_str());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    std::fputs("error: out of memory\nhint: use a smaller batch_size or model\n", stderr);
  } catch (const std::exception& error) {
    // Only the first line: LibTorch appends C++ frames to what it says.
    const std::string text = error.what();
    std::fprintf(stderr, "error: internal: %s\n", text.substr(0, text.find('\n')).c_str());
  } catch (...) {
    std::fputs("error: internal: something that is no std::exception was thrown\n", stderr);
  }
  return static_cast<int>(ExitCode::kInternal);
}

}  // namespace edgecompress
