#include "cli/command.h"
#include "cli/engine.h"

namespace edgecompress {

void add_demo(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<DemoRequest>();
  CLI::App* command =
      add_command(app, "demo", "Train a small network on built-in images, to try things on",
                  "  edgecompress demo --output demo\n"
                  "  edgecompress run configs/quickstart.json --model demo/model.pt");
  command->add_option("-o,--output", request->output, "Write model.pt into this folder")
      ->required()
      ->type_name("DIR");
  command->add_option("--seed", request->seed, "Seed of weights, images and training");
  command->add_option("--epochs", request->epochs, "Passes over the images")
      ->check(CLI::Range(1, 1000));
  add_threads_option(*command, request->threads);
  command->add_flag("--overwrite", request->overwrite, "Replace an earlier demo");
  command->callback(
      [&context, request] { call_engine(context, &EdgecompressCommands::demo, *request); });
}

}  // namespace edgecompress
