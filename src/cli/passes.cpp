#include "cli/catalogue.h"
#include "cli/command.h"

namespace edgecompress {
namespace {

struct PassesRequest {
  std::string name;
  bool as_markdown = false;
};

std::string list_passes(const PassesRequest& request, bool as_json) {
  if (request.name.empty()) {
    const PassCatalogue& all = known_passes();
    if (as_json) return all.to_json().dump(2) + "\n";
    return request.as_markdown ? all.markdown() : all.console();
  }
  const PassDescription& pass = known_passes().at(request.name, "the command line");
  if (as_json) return PassCatalogue({pass}).to_json().dump(2) + "\n";
  return request.as_markdown ? to_markdown(pass) : to_console(pass);
}

}  // namespace

void add_passes(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<PassesRequest>();
  CLI::App* command = add_command(app, "passes", "List the passes, or one with its options",
                                  "  edgecompress passes\n"
                                  "  edgecompress passes quantize_int8\n"
                                  "  edgecompress passes prune_channels --markdown");
  command->add_option("name", request->name, "Show the options of this pass")->type_name("PASS");
  auto* markdown = command->add_flag("--markdown", request->as_markdown, "Print Markdown tables");
  add_json_flag(*command, context, "Print JSON")->excludes(markdown);
  command->callback(
      [&context, request] { context.result = list_passes(*request, context.is_json); });
}

}  // namespace edgecompress
