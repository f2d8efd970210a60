// Gates: bounds on what a step, or the whole run, may cost.
#pragma once

#include <vector>

#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// A step is judged on the set where choices are made, against the model before it. The run is
/// judged on the test set where there is one, against the original.
enum class GateScope { kStep, kRun };

/// One result for each bound that `spec` sets. Without labels the accuracy drop is the loss of
/// top-1 agreement with the original (of cosine, where outputs are no class scores). A bound whose
/// quantity was not measured is not met: `found` is NaN and `note` says why.
std::vector<GateResult> check_gates(const GateSpec& spec, const Evaluation& before,
                                    const Evaluation& after, GateScope scope);

bool are_met(const std::vector<GateResult>& gates);

/// "max_accuracy_drop 0.031 is above 0.02 (on validation, top1)" for each that is not met.
std::string describe_failures(const std::vector<GateResult>& gates);

}  // namespace edgecompress
