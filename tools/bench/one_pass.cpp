// One pass on one network, without what a run evaluates around it: what the pass itself costs.
//   one_pass MODEL SHAPE PASS OPTIONS OUTPUT [DATA.npz [THREADS]]
//   one_pass net.pt 1x3x224x224 prune_channels '{"ratio": 0.5}' out.pt
// Calibration data is the archive's array "images", in batches of 32; with an array "labels" it is
// training data too, in batches of 128.
// Prints one JSON object: CPU seconds of loading, of the pass, its stages and of saving, the pass's
// seconds by the clock, peak memory, and what the pass says.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <map>

#include "data/dataset.h"
#include "edgecompress/error.h"
#include "eval/size.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// Of the CPU: on one thread that is what a machine with nothing else to do takes.
class Stopwatch {
 public:
  double lap_seconds() {
    const std::clock_t now = std::clock();
    const std::clock_t lap = now - last_;
    last_ = now;
    return static_cast<double>(lap) / CLOCKS_PER_SEC;
  }

 private:
  std::clock_t last_ = std::clock();
};

/// Seconds of each stage that the pass tells of.
class StageClock : public Progress {
 public:
  std::map<std::string, double> seconds;

 protected:
  void show(const std::string& stage, std::int64_t, std::int64_t, double,
            const std::string&) override {
    if (stage == stage_) return;
    hide();
    watch_.lap_seconds();
    stage_ = stage;
  }
  void hide() override {
    if (!stage_.empty()) seconds[stage_] += watch_.lap_seconds();
    stage_.clear();
  }

 private:
  std::string stage_;
  Stopwatch watch_;
};

InputSpec input_of(const std::string& shape) {
  InputSpec input;
  for (const std::string& size : split(shape, 'x')) input.shape.push_back(std::stoll(size));
  return input;
}

DataSets data_of(const std::string& path) {
  DataSets data;
  if (path.empty()) return data;
  Json spec = {{"source", "npz"}, {"path", path}, {"inputs", {"images"}}};
  data.calibration = open_dataset(parse_dataset(spec, ""), ".", /*seed=*/0, /*is_training=*/false);
  data.calibration_batch = 32;
  try {
    spec["target"] = "labels";
    data.train = open_dataset(parse_dataset(spec, ""), ".", /*seed=*/0, /*is_training=*/true);
    data.train_batch = 128;
  } catch (const Error&) {
    // Images alone.
  }
  return data;
}

Json run(const std::string& path, const std::string& shape, const std::string& pass,
         const std::string& options, const std::string& output, const std::string& data_path,
         std::int64_t threads) {
  initialise_runtime();
  set_threads(threads);
  Stopwatch watch;
  Model model = Model::load(path, {input_of(shape)});
  Json told = {{"load_seconds", watch.lap_seconds()}};
  const PassSpec& spec = find_pass(pass);
  StageClock progress;
  PassContext context{progress};
  const DataSets data = data_of(data_path);
  context.data = &data;
  const auto start = std::chrono::steady_clock::now();
  const PassResult result =
      spec.make(spec.description.options.resolve(Json::parse(options), ""))->run(model, context);
  told["seconds"] = watch.lap_seconds();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  told["wall_seconds"] = wall.count();
  told["stage_seconds"] = progress.seconds;
  model.save(output);
  told["save_seconds"] = watch.lap_seconds();
  told["peak_mib"] = peak_memory_bytes() >> 20;
  told["changed"] = result.changed;
  told["note"] = result.note;
  told["counts"] = result.counts;
  told["details"] = result.details;
  return told;
}

}  // namespace
}  // namespace edgecompress

int main(int count, char** arguments) {
  if (count < 6 || count > 8) {
    std::fputs("usage: one_pass MODEL SHAPE PASS OPTIONS OUTPUT [DATA.npz [THREADS]]\n", stderr);
    return 2;
  }
  try {
    std::puts(edgecompress::run(arguments[1], arguments[2], arguments[3], arguments[4],
                                arguments[5], count > 6 ? arguments[6] : "",
                                count > 7 ? std::stoll(arguments[7]) : 1)
                  .dump()
                  .c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
