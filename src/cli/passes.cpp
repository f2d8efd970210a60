#include "cli/catalogue.h"
#include "cli/command.h"

namespace edgecompress {
namespace {

struct PassesRequest {
  std::string name;
  bool as_markdown = false;
};

std::string list_passes(const PassesRequest& request, bool as_json) {
  const PassCatalogue catalogue =
      request.name.empty() ? known_passes()
                           : PassCatalogue({known_passes().at(request.name, "the command line")});
  if (as_json) return catalogue.to_json().dump(2) + "\n";
  return request.as_markdown ? catalogue.markdown() : catalogue.console();
}

}  // namespace

void add_passes(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<PassesRequest>();
  CLI::App* command = add_command(app, "passes", "List the passes and their options",
                                  "  edgecompress passes\n"
                                  "  edgecompress passes quantize_int8\n"
                                  "  edgecompress passes --markdown");
  command->add_option("name", request->name, "Only this pass")->type_name("PASS");
  auto* markdown = command->add_flag("--markdown", request->as_markdown, "Print Markdown tables");
  add_json_flag(*command, context, "Print JSON")->excludes(markdown);
  command->callback(
      [&context, request] { context.result = list_passes(*request, context.is_json); });
}

}  // namespace edgecompress
