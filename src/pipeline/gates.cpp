#include "pipeline/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/evaluate.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// A quantity a gate bounds, and how it was come by.
struct Measured {
  double value = std::numeric_limits<double>::quiet_NaN();
  std::string note;
};

Measured drop_of_scores(const Score& before, const Score& after) {
  return {accuracy_drop(before, after), fmt::format("on {}, {}", after.data, after.metric)};
}

/// How far the outputs are from the original's; the original itself has no Fidelity.
Measured drop_of_fidelity(const std::optional<Fidelity>& before, const Fidelity& after) {
  if (after.top1_agreement) {
    const double agreed = before && before->top1_agreement ? *before->top1_agreement : 1;
    return {agreed - *after.top1_agreement,
            fmt::format("no labels: loss of top-1 agreement with the original on {}", after.data)};
  }
  return {(before ? before->cosine : 1) - after.cosine,
          fmt::format("no labels: loss of cosine with the original on {}", after.data)};
}

Measured find_accuracy_drop(const Evaluation& before, const Evaluation& after, GateScope scope) {
  if (scope == GateScope::kRun && before.test && after.test) {
    return drop_of_scores(*before.test, *after.test);
  }
  if (before.validation && after.validation) {
    return drop_of_scores(*before.validation, *after.validation);
  }
  if (after.fidelity) return drop_of_fidelity(before.fidelity, *after.fidelity);
  if (!before.fidelity && !after.fidelity && !after.validation && !after.test) {
    return {0, "the model is still the original"};
  }
  return {std::numeric_limits<double>::quiet_NaN(), "accuracy was not measured"};
}

Measured find_size_ratio(const Evaluation& before, const Evaluation& after) {
  if (before.size.zipped_bytes <= 0) {
    return {std::numeric_limits<double>::quiet_NaN(), "the size before is unknown"};
  }
  return {static_cast<double>(after.size.zipped_bytes) / before.size.zipped_bytes, "zipped bytes"};
}

Measured find_speedup(const Evaluation& before, const Evaluation& after) {
  if (!before.speedup || !after.speedup || !after.latency) {
    return {std::numeric_limits<double>::quiet_NaN(),
            "latency was not measured: the shapes of the model's inputs are unknown"};
  }
  return {*after.speedup / *before.speedup,
          fmt::format("batch {}, {} threads", after.latency->batch_size, after.latency->threads)};
}

}  // namespace

std::vector<GateResult> check_gates(const GateSpec& spec, const Evaluation& before,
                                    const Evaluation& after, GateScope scope) {
  std::vector<GateResult> results;
  // Comparisons with NaN are false, so what was not measured is not met.
  if (spec.max_accuracy_drop) {
    const Measured found = find_accuracy_drop(before, after, scope);
    results.push_back({"max_accuracy_drop", *spec.max_accuracy_drop, found.value,
                       found.value <= *spec.max_accuracy_drop, found.note});
  }
  if (spec.max_size_ratio) {
    const Measured found = find_size_ratio(before, after);
    results.push_back({"max_size_ratio", *spec.max_size_ratio, found.value,
                       found.value <= *spec.max_size_ratio, found.note});
  }
  if (spec.min_speedup) {
    const Measured found = find_speedup(before, after);
    results.push_back({"min_speedup", *spec.min_speedup, found.value,
                       found.value >= *spec.min_speedup, found.note});
  }
  return results;
}

bool are_met(const std::vector<GateResult>& gates) {
  return std::all_of(gates.begin(), gates.end(),
                     [](const GateResult& gate) { return gate.is_met; });
}

std::string describe_failures(const std::vector<GateResult>& gates) {
  std::vector<std::string> failures;
  for (const GateResult& gate : gates) {
    if (gate.is_met) continue;
    const char* const relation = gate.gate == "min_speedup" ? "below" : "above";
    failures.push_back(std::isnan(gate.found)
                           ? fmt::format("{} could not be checked ({})", gate.gate, gate.note)
                           : fmt::format("{} {:.4g} is {} {:.4g} ({})", gate.gate, gate.found,
                                         relation, gate.bound, gate.note));
  }
  return join(failures, "; ");
}

}  // namespace edgecompress
