#include "eval/latency.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "eval/checked_forward.h"
#include "eval/forms.h"
#include "eval/thread_scope.h"
#include "model/model.h"
#include "model/torch_compat.h"

namespace edgecompress {
namespace {

// A median of fewer runs of a short model is that of one moment of the machine.
constexpr double kLeastMs = 200;
constexpr std::int64_t kMaxRepeats = 1000;

RunnableForm prepare(const LatencyCandidate& candidate, const std::vector<at::Tensor>& inputs) {
  torch::jit::Module module = load_as_stored(candidate.path);
  module.eval();
  try {
    return candidate.form.empty() ? fastest_form(module, inputs)
                                  : form_named(candidate.form, module, inputs);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw_not_runnable(candidate.name, inputs, error);
  }
}

/// Milliseconds of each form's passes, after `spec.warm_up` that do not count. The order turns
/// round from pass to pass, so that none is always the one that finds the other's data in the
/// caches.
std::vector<std::vector<double>> time_in_turn(std::vector<RunnableForm>& forms,
                                              const LatencySpec& spec, Progress& progress) {
  std::vector<std::vector<double>> times_ms(forms.size());
  double shortest_total_ms = 0;
  const auto is_enough = [&](std::int64_t repeat) {
    return repeat >= spec.repeats && (shortest_total_ms >= kLeastMs || repeat >= kMaxRepeats);
  };
  progress.begin("latency", spec.warm_up + spec.repeats);
  for (std::int64_t repeat = -spec.warm_up; !is_enough(repeat); ++repeat) {
    double shortest_ms = std::numeric_limits<double>::infinity();
    for (std::size_t turn = 0; turn < forms.size(); ++turn) {
      const std::size_t i = repeat % 2 == 0 ? turn : forms.size() - 1 - turn;
      const double time_ms = forms[i].time_ms();
      shortest_ms = std::min(shortest_ms, time_ms);
      if (repeat >= 0) times_ms[i].push_back(time_ms);
    }
    if (repeat >= 0) shortest_total_ms += shortest_ms;
    if (repeat < spec.repeats) progress.advance();
  }
  progress.end();
  return times_ms;
}

}  // namespace

double percentile(std::vector<double> values, double percent) {
  std::sort(values.begin(), values.end());
  const double position = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

std::vector<Latency> measure_latency(const std::vector<LatencyCandidate>& candidates,
                                     const std::vector<InputSpec>& inputs, const LatencySpec& spec,
                                     Progress& progress) {
  initialise_runtime();
  const ThreadScope threads(spec.threads);
  // LibTorch 1.13 warns at every pass of buffers that its own rewrite resizes; the outputs are
  // compared, so there is nothing to tell.
  const IgnoreWarnings ignore{};
  const std::vector<at::Tensor> batch = make_example_inputs(inputs, spec.batch_size, /*seed=*/0);

  const auto count = static_cast<std::int64_t>(candidates.size());
  progress.begin("latency: choose forms", count);
  std::vector<RunnableForm> forms;
  for (const LatencyCandidate& candidate : candidates) {
    forms.push_back(prepare(candidate, batch));
    progress.advance(1, candidate.name + ": " + forms.back().name());
  }
  progress.end();

  const auto times_ms = time_in_turn(forms, spec, progress);
  std::vector<Latency> latencies;
  for (std::size_t i = 0; i < forms.size(); ++i) {
    Latency latency;
    latency.median_ms = percentile(times_ms[i], 50);
    latency.p10_ms = percentile(times_ms[i], 10);
    latency.p90_ms = percentile(times_ms[i], 90);
    latency.batch_size = spec.batch_size;
    latency.threads = at::get_num_threads();
    latency.warm_up = spec.warm_up;
    latency.repeats = static_cast<std::int64_t>(times_ms[i].size());
    latency.form = forms[i].name();
    latencies.push_back(latency);
  }
  return latencies;
}

}  // namespace edgecompress
