#include "report/report.h"

#include <algorithm>

namespace edgecompress {

std::string to_string(StepState state) {
  switch (state) {
    case StepState::kKept:
      return "kept";
    case StepState::kUnchanged:
      return "unchanged";
    case StepState::kRolledBack:
      return "rolled_back";
    case StepState::kFailed:
      return "failed";
    case StepState::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

bool Report::gates_met() const {
  return std::all_of(gates.begin(), gates.end(),
                     [](const GateResult& gate) { return gate.is_met; });
}

const Evaluation& Report::final_evaluation() const {
  const auto last = std::find_if(steps.rbegin(), steps.rend(), [](const StepRecord& step) {
    return step.state == StepState::kKept && step.evaluation;
  });
  return last == steps.rend() ? baseline : *last->evaluation;
}

}  // namespace edgecompress
