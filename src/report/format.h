// A report's numbers as people read them; shared by the writers of text. What was not measured is
// an en dash.
#pragma once

#include <string>
#include <vector>

#include "report/report.h"
#include "util/table.h"

namespace edgecompress {

inline constexpr const char* kMissing = "–";

/// "91.63 %" for shares (top1, top5, f1), else four significant digits.
std::string score_text(const Score& score);
/// "91.63 % (854 of 932)".
std::string score_with_counts(const Score& score);
std::string fidelity_text(const Fidelity& fidelity);
/// "0.26x" of two sizes; an en dash if either is unknown.
std::string ratio_text(std::int64_t after, std::int64_t before);
std::string milliseconds_text(double milliseconds);
/// Integers in full, else four significant digits, six from 10000 on.
std::string number_text(double value);

/// The original and every step, one a row.
Table summary_table(const Report& report);
/// What a dry run foretold of the step beside what came. The step has both.
Table forecast_table(const StepRecord& step);
Table gate_table(const std::vector<GateResult>& gates);

/// Where each kind of number comes from: one sentence each, of what was measured.
std::vector<std::string> describe_measurement(const Report& report);
/// "The written model, model.pt, is that of step 3 quantize_int8."
std::string describe_written_model(const Report& report);

}  // namespace edgecompress
