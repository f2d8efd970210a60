#include <fmt/format.h>

#include "cli/command.h"
#include "util/text.h"

namespace edgecompress {
namespace {

std::string long_options(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return join(names, " ");
}

/// The words come from the app itself, so a new option completes the day it is added.
std::string bash_script(const CLI::App& app) {
  std::vector<std::string> commands;
  std::string cases;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
    cases += fmt::format("    {}) options=\"{} {}\" ;;\n", command->get_name(),
                         long_options(*command), long_options(app));
  }
  return fmt::format(R"(_edgecompress() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" options
  case "${{COMP_WORDS[1]}}" in
{}    *) options="{}" ;;
  esac
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 && $word != -* ]]; then
    COMPREPLY=($(compgen -W "{}" -- "$word"))
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  fi
}}
complete -o default -F _edgecompress edgecompress
)",
                     cases, long_options(app), join(commands, " "));
}

}  // namespace

void add_completion(CLI::App& app, CommandContext& context) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "completion", "Print what makes a shell complete the commands and options",
                  "  source <(edgecompress completion bash)\n"
                  "  source <(edgecompress completion zsh)");
  command->add_option("shell", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}))
      ->type_name("SHELL");
  command->callback([&app, &context, shell] {
    const std::string zsh_adapter =
        "autoload -Uz compinit bashcompinit && compinit -u && bashcompinit\n";
    context.result = (*shell == "zsh" ? zsh_adapter : "") + bash_script(app);
  });
}

}  // namespace edgecompress
