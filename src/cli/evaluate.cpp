#include "cli/command.h"
#include "cli/engine.h"

namespace edgecompress {

void add_evaluate(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<EvaluateRequest>();
  CLI::App* command = add_command(
      app, "evaluate", "Measure a model's accuracy on data, or its fidelity to a reference",
      "  edgecompress evaluate small/model.pt --data recipe.json#test\n"
      "  edgecompress evaluate small/model.pt --data test-set.json --reference net.pt\n"
      "  edgecompress evaluate model.pt \\\n"
      "    --data '{\"source\": \"synthetic\", \"options\": {\"task\": \"shapes\"}}'");
  command->add_option("model", request->model, "TorchScript file; measured as it is stored")
      ->required()
      ->type_name("MODEL");
  command
      ->add_option("-d,--data", request->data,
                   "A data set: JSON, a file that holds it, or one set of a recipe")
      ->required()
      ->type_name("JSON|FILE|RECIPE#SET");
  command->add_option("--metric", request->metric, "What to measure")
      ->check(CLI::IsMember({"auto", "top1", "top5", "f1", "mse", "mae", "fidelity"}));
  command
      ->add_option("-r,--reference", request->reference,
                   "Compare the outputs with this model's; needs no labels")
      ->type_name("MODEL");
  add_threads_option(*command, request->threads);
  add_device_option(*command, request->device, "the models run");
  add_op_library_option(*command, request->op_libraries);
  add_json_flag(*command, context, "Print JSON");
  command->callback(
      [&context, request] { call_engine(context, &EdgecompressCommands::evaluate, *request); });
}

}  // namespace edgecompress
