// The interface of a pass: it changes the model, and nothing else. It opens no file, reads no
// clock, prints nothing, evaluates nothing, rolls nothing back; all that is the runner's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eval/node_latency.h"
#include "model/model.h"
#include "recipe/pass_catalogue.h"
#include "train/training_context.h"
#include "util/scratch_file.h"

namespace edgecompress {

struct PassResult {
  bool changed = false;
  std::map<std::string, double> counts;
  std::string note;  ///< one sentence for the report; where changed is false: why
  Json details = Json::object();
  /// Files to be written beside the model, by name relative to the output folder.
  std::map<std::string, std::string> files;
};

/// All that a pass may touch besides the model.
struct PassContext : TrainingContext {
  using TrainingContext::TrainingContext;

  /// The network a name stands for: "original" is the run's input model, else a path (relative to
  /// the recipe). Throws Error(kModel).
  std::function<Model(const std::string&)> load_network;
  /// So many bytes on disk for the duration of the pass. Throws Error(kOutput) where there is no
  /// room for them. Empty: the pass has to do without.
  std::function<std::unique_ptr<ScratchFile>(std::int64_t bytes)> scratch;
  /// The bytes of a file, at most so many; `path` is relative to the recipe. Throws Error(kData).
  std::function<std::string(const std::string& path, std::int64_t limit)> read_file;
  /// Latency of a network as a share of that of the one the step began with: both measured in turn
  /// on this machine, each in its fastest form, as evaluation.latency says. Takes seconds. Empty
  /// where the inputs are not known.
  std::function<double(const Model&)> latency_share;
  /// Bytes of a network's file as a share of those of the network the step began with.
  std::function<double(const Model&)> size_share;
  /// Milliseconds of each node of some networks, run in turn as evaluation.latency says, each node
  /// by itself. Empty where the inputs are not known.
  NodeLatencyMeter node_latency;
};

class Pass {
 public:
  virtual ~Pass() = default;
  virtual PassResult run(Model& model, PassContext& context) = 0;
};

struct PassSpec {
  PassDescription description;
  /// From resolved options.
  std::function<std::unique_ptr<Pass>(const Json& options)> make;
};

}  // namespace edgecompress
