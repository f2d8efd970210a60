#include "cli/command.h"
#include "cli/engine.h"

namespace edgecompress {

void add_benchmark(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<BenchmarkRequest>();
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command =
      add_command(app, "benchmark", "Time models side by side, repeat by repeat in turn",
                  "  edgecompress benchmark net.pt small/model.pt --input 1x3x224x224\n"
                  "  edgecompress benchmark a.pt b.pt --input 1x3x32x32 --threads 2 --repeats 200");
  command
      ->add_option("models", request->models,
                   "TorchScript files; the speed-up is over the first of them")
      ->required()
      ->type_name("MODEL");
  command
      ->add_option("-i,--input", request->inputs,
                   "Shape of an input, batch first; once for each input, in order")
      ->required()
      ->type_name("1x3x32x32[:dtype]")
      ->allow_extra_args(false);
  command->add_option("--batch-size", request->batch_size, "Samples a call", true)
      ->check(CLI::Range(1, 65536));
  command->add_option("--threads", request->threads, "Threads", true)->check(CLI::Range(1, 4096));
  command->add_option("--warm-up", request->warm_up, "Calls that are not counted", true)
      ->check(CLI::Range(0, 1000000));
  command->add_option("--repeats", request->repeats, "Calls that are", true)
      ->check(CLI::Range(1, 1000000));
  command
      ->add_option("--op-library", request->op_libraries,
                   "Shared object that registers custom operators; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_flag("--json", *as_json, "Print JSON");
  command->callback([&context, request, as_json] {
    context.finish(
        call_engine(context,
                    [&](const EdgecompressCommands& engine, const ProgressListener& listener) {
                      return engine.benchmark(*request, listener);
                    }),
        *as_json);
  });
}

}  // namespace edgecompress
