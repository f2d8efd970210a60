// The public functions: a request in, an Outcome or an Error out.
#include "edgecompress/edgecompress.h"
#include "model/torch_error.h"
#include "pipeline/commands.h"
#include "util/progress.h"

namespace edgecompress {
namespace {

class ListenedProgress : public Progress {
 public:
  explicit ListenedProgress(const ProgressListener& listener) : listener_(listener) {}

 protected:
  void show(const std::string& stage, std::int64_t done, std::int64_t total, double seconds_left,
            const std::string& detail) override {
    if (listener_) listener_({stage, done, total, seconds_left, detail, false});
  }
  void hide() override {
    if (!listener_) return;
    ProgressEvent end;
    end.is_end = true;
    listener_(end);
  }

 private:
  const ProgressListener& listener_;
};

/// An interrupt stops one command, not the ones that a program calls after it.
template <class Request>
Outcome call(Outcome (*command)(const Request&, Progress&), const Request& request,
             const ProgressListener& listener) {
  ListenedProgress progress(listener);
  try {
    const Outcome outcome = command(request, progress);
    progress.end();
    return outcome;
  } catch (const std::exception& error) {
    progress.end();
    clear_interrupt();
    throw_if_out_of_memory(error);
    throw;
  }
}

}  // namespace

Outcome run(const RunRequest& request, const ProgressListener& listener) {
  return call(run_command, request, listener);
}
Outcome inspect(const InspectRequest& request, const ProgressListener& listener) {
  return call(inspect_command, request, listener);
}
Outcome evaluate(const EvaluateRequest& request, const ProgressListener& listener) {
  return call(evaluate_command, request, listener);
}
Outcome benchmark(const BenchmarkRequest& request, const ProgressListener& listener) {
  return call(benchmark_command, request, listener);
}
Outcome demo(const DemoRequest& request, const ProgressListener& listener) {
  return call(demo_command, request, listener);
}

}  // namespace edgecompress

const EdgecompressCommands* edgecompress_commands() {
  static const EdgecompressCommands commands = {edgecompress::run, edgecompress::inspect,
                                                edgecompress::evaluate, edgecompress::benchmark,
                                                edgecompress::demo};
  return &commands;
}
