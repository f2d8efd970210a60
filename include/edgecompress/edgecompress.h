// edgecompress as a library: what the subcommands of the binary do, from C++.
// Needs only the standard library to compile against; no LibTorch type appears here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "edgecompress/error.h"

namespace edgecompress {

/// Where long work is. `seconds_left` is negative while nothing can be said.
struct ProgressEvent {
  std::string stage;
  std::int64_t done = 0, total = 0;  ///< total 0: unknown
  double seconds_left = -1;
  std::string detail;
  bool is_end = false;  ///< the stage is over
};
using ProgressListener = std::function<void(const ProgressEvent&)>;

/// What a command found: the same as text for people and as JSON (UTF-8) for programs.
struct Outcome {
  ExitCode code = ExitCode::kDone;  ///< kDone, or kGate
  std::string text;
  std::string json;
};

struct RunRequest {
  std::string recipe;                ///< path; "-": standard input
  std::optional<std::string> model;  ///< overrides the recipe's, as the next ones do
  std::optional<std::string> output;
  std::optional<std::int64_t> seed, threads;
  std::vector<std::string> set;  ///< "passes/0/ratio=0.3"
  std::vector<std::string> op_libraries;
  bool deterministic = false;  ///< the same bytes at any number of threads: one computes
  bool overwrite = false;
  /// Goes on with a run into the same folder that was cut short, within a training too; what hangs
  /// on another recipe, model or data starts anew. Results of the same recipe are replaced.
  bool resume = false;
  /// Where finetune trains: cpu, cuda, or auto (cuda where there is a GPU). Everything else, and
  /// all that is measured, runs on the CPU.
  std::string device = "cpu";
  /// Folder where finished steps are kept, and taken from where nothing differs that they hang on;
  /// what was used longest ago goes where they are more than `cache_bytes`. Empty: none.
  std::string cache;
  std::int64_t cache_bytes = std::int64_t{4} << 30;
  bool dry_run = false;
};

struct InspectRequest {
  std::string model;
  std::vector<std::string> inputs;  ///< "1x3x224x224" or "4x16:int64"; empty: shapes stay unknown
  bool groups = false;              ///< channel groups too; needs inputs
  bool int8 = false;                ///< INT8 layers too
  std::vector<std::string> op_libraries;
};

struct EvaluateRequest {
  std::string model;
  std::string data;  ///< a data-set object as JSON, a file that holds one, or RECIPE#SET
  std::string metric = "auto";
  std::optional<std::string>
      reference;  ///< a model to compare outputs with; labels are not needed then
  std::optional<std::int64_t> threads;
  std::string device = "cpu";  ///< cpu, cuda, or auto; INT8 files run on the CPU alone
  std::vector<std::string> op_libraries;
};

struct BenchmarkRequest {
  std::vector<std::string> models;
  std::vector<std::string> inputs;  ///< as in InspectRequest; required
  std::int64_t batch_size = 1, threads = 1, warm_up = 10, repeats = 50;
  std::vector<std::string> op_libraries;
};

/// Makes a small trained network to try things on: a residual CNN and the built-in image set
/// `shapes`, no download.
struct DemoRequest {
  std::string output;  ///< folder; model.pt is written into it
  std::int64_t seed = 1;
  std::int64_t epochs = 3;
  std::optional<std::int64_t> threads;
  bool overwrite = false;
};

/// Each throws Error; nothing is printed. The first call of a process sets LibTorch's global state
/// (CPU fusers off, denormals flushed to zero, thread count).
Outcome run(const RunRequest& request, const ProgressListener& listener = {});
Outcome inspect(const InspectRequest& request, const ProgressListener& listener = {});
Outcome evaluate(const EvaluateRequest& request, const ProgressListener& listener = {});
Outcome benchmark(const BenchmarkRequest& request, const ProgressListener& listener = {});
Outcome demo(const DemoRequest& request, const ProgressListener& listener = {});

/// Asks the work under way to stop; it throws Error(kInterrupted) soon. Safe in a signal handler.
void request_interrupt();

}  // namespace edgecompress

/// These functions as a table, for a program that loads this library only when it needs it
/// (`dlopen`, then `edgecompress_commands`), as the edgecompress binary does.
struct EdgecompressCommands {
  edgecompress::Outcome (*run)(const edgecompress::RunRequest&,
                               const edgecompress::ProgressListener&);
  edgecompress::Outcome (*inspect)(const edgecompress::InspectRequest&,
                                   const edgecompress::ProgressListener&);
  edgecompress::Outcome (*evaluate)(const edgecompress::EvaluateRequest&,
                                    const edgecompress::ProgressListener&);
  edgecompress::Outcome (*benchmark)(const edgecompress::BenchmarkRequest&,
                                     const edgecompress::ProgressListener&);
  edgecompress::Outcome (*demo)(const edgecompress::DemoRequest&,
                                const edgecompress::ProgressListener&);
};
extern "C" const EdgecompressCommands* edgecompress_commands();
