#include "cli/command.h"
#include "cli/engine.h"

namespace edgecompress {

void add_inspect(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<InspectRequest>();
  CLI::App* command =
      add_command(app, "inspect", "List a model's layers, shapes, parameters and costs",
                  "  edgecompress inspect net.pt --input 1x3x224x224\n"
                  "  edgecompress inspect net.pt --input 1x3x224x224 --groups\n"
                  "  edgecompress inspect out/model.pt --int8\n"
                  "  edgecompress inspect encoder.pt --input 1x128:int64 --json");
  command->add_option("model", request->model, "TorchScript file")->required()->type_name("MODEL");
  add_input_option(*command, request->inputs);
  command->add_flag("--groups", request->groups,
                    "List the channel groups that prune_channels can shrink, what must change with "
                    "each, and the layers that it leaves alone; needs --input");
  command->add_flag("--int8", request->int8,
                    "List the INT8 layers: ranges and scales as the file holds them, and what "
                    "quantize_int8 found each layer to cost");
  add_op_library_option(*command, request->op_libraries);
  add_json_flag(*command, context, "Print JSON");
  command->callback(
      [&context, request] { call_engine(context, &EdgecompressCommands::inspect, *request); });
}

}  // namespace edgecompress
