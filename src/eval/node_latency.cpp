#include "eval/node_latency.h"

#include <c10/core/InferenceMode.h>

#include <chrono>
#include <memory>
#include <utility>

#include "eval/latency.h"
#include "eval/thread_scope.h"
#include "model/interpreter.h"
#include "train/layout.h"
#include "util/progress.h"

namespace edgecompress {
namespace {

using Clock = std::chrono::steady_clock;

/// One network, ready to be run again and again.
class TimedNetwork {
 public:
  TimedNetwork(Model& model, const LatencySpec& spec)
      : layout_(model, model.example_inputs(spec.batch_size)), interpreter_(model) {
    const auto inputs = layout_.lay_out(model.example_inputs(spec.batch_size));
    inputs_.assign(inputs.begin(), inputs.end());
  }

  void run(bool counts) {
    const c10::InferenceMode inference;
    std::unordered_map<const torch::jit::Node*, double> times;
    auto last = Clock::now();
    interpreter_.run(inputs_, [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue>,
                                  c10::ArrayRef<c10::IValue>) {
      const auto now = Clock::now();
      times[&node] += std::chrono::duration<double, std::milli>(now - last).count();
      last = Clock::now();
    });
    if (!counts) return;
    for (const auto& [node, time] : times) times_[node].push_back(time);
  }

  NodeLatency medians() const {
    NodeLatency result;
    for (const auto& [node, times] : times_) result[node] = percentile(times, 50);
    return result;
  }

 private:
  ChannelsLast layout_;
  Interpreter interpreter_;
  std::vector<c10::IValue> inputs_;
  std::unordered_map<const torch::jit::Node*, std::vector<double>> times_;
};

}  // namespace

std::vector<NodeLatency> measure_node_latency(const std::vector<Model*>& models,
                                              const LatencySpec& spec) {
  const ThreadScope threads(spec.threads);
  std::vector<std::unique_ptr<TimedNetwork>> networks;
  for (Model* model : models) networks.push_back(std::make_unique<TimedNetwork>(*model, spec));
  for (std::int64_t run = 0; run < spec.warm_up + spec.repeats; ++run) {
    throw_if_interrupted();
    for (const auto& network : networks) network->run(run >= spec.warm_up);
  }
  std::vector<NodeLatency> result;
  for (const auto& network : networks) result.push_back(network->medians());
  return result;
}

}  // namespace edgecompress
