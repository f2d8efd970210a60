#include "cli/command.h"
#include "cli/engine.h"

namespace edgecompress {

void add_benchmark(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<BenchmarkRequest>();
  CLI::App* command =
      add_command(app, "benchmark", "Time models side by side, repeat by repeat in turn",
                  "  edgecompress benchmark net.pt small/model.pt --input 1x3x224x224\n"
                  "  edgecompress benchmark a.pt b.pt --input 1x3x32x32 --threads 2 --repeats 200");
  command
      ->add_option("models", request->models,
                   "TorchScript files; the speed-up is over the first of them")
      ->required()
      ->type_name("MODEL");
  add_input_option(*command, request->inputs)->required();
  command->add_option("--batch-size", request->batch_size, "Samples a call")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->add_option("--threads", request->threads, "Threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->add_option("--warm-up", request->warm_up, "Calls that are not counted")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  command->add_option("--repeats", request->repeats, "Calls that are")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  add_op_library_option(*command, request->op_libraries);
  add_json_flag(*command, context, "Print JSON");
  command->callback(
      [&context, request] { call_engine(context, &EdgecompressCommands::benchmark, *request); });
}

}  // namespace edgecompress
