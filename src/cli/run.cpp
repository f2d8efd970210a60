#include "cli/cache_options.h"
#include "cli/catalogue.h"
#include "cli/command.h"
#include "cli/engine.h"
#include "recipe/requested_recipe.h"

namespace edgecompress {
void add_run(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<RunRequest>();
  CLI::App* command = add_command(
      app, "run", "Compress a model by a recipe",
      "  edgecompress run recipe.json\n"
      "  edgecompress run recipe.json --model net.pt --output small --threads 2\n"
      "  edgecompress run recipe.json --set passes/0/ratio=0.3 --set seed=7 --dry-run\n\n"
      "Exit codes: 0 done and every gate met, 2 usage, 3 recipe, 4 model, 5 data, 6 a pass "
      "failed,\n"
      "7 a gate was not met (outputs are written), 8 output can't be written, 130 interrupted.");
  command->add_option("recipe", request->recipe, "Recipe file; - reads standard input")
      ->required()
      ->type_name("RECIPE");
  command->add_option("-m,--model", request->model, "Use this model instead of the recipe's")
      ->type_name("FILE");
  command->add_option("-o,--output", request->output, "Write into this folder")->type_name("DIR");
  command->add_option("--set", request->set, "Change one value of the recipe; may be repeated")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  command->add_option("--seed", request->seed, "Seed of everything that is random");
  add_threads_option(*command, request->threads);
  command->add_flag("--deterministic", request->deterministic,
                    "Give the same bytes at any number of threads: compute with one");
  add_device_option(*command, request->device, "finetune trains");
  add_op_library_option(*command, request->op_libraries);
  const auto cache = add_cache_options(*command);
  command->add_flag("--overwrite", request->overwrite, "Replace the results of an earlier run");
  command->add_flag("--resume", request->resume,
                    "Go on with a run into this folder that was cut short");
  command->add_flag("--dry-run", request->dry_run,
                    "Open and check everything, print the plan, write nothing");
  command->callback([&context, request, cache] {
    request->cache = cache->enabled_folder();
    request->cache_bytes = cache->bytes();
    // A recipe that is wrong is told at once, not after LibTorch was loaded. Standard input can be
    // read only once.
    if (request->recipe != "-") requested_recipe(*request, known_passes());
    call_engine(context, &EdgecompressCommands::run, *request);
  });
}

}  // namespace edgecompress
