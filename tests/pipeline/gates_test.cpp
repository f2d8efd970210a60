#include "pipeline/gates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace edgecompress {
namespace {

using ::testing::HasSubstr;

Score top1(const std::string& data, double value) { return {data, "top1", value, 1000, {}, true}; }

/// 900 zipped bytes, right 90 % of the time on validation and 88 % on test, at 1x.
Evaluation before() {
  Evaluation evaluation;
  evaluation.validation = top1("validation", 0.90);
  evaluation.test = top1("test", 0.88);
  evaluation.size.zipped_bytes = 900;
  evaluation.latency = Latency{};
  evaluation.speedup = 1;
  return evaluation;
}

/// A third of the size, 2.5x as fast, 3 % down on validation and 5 % on test.
Evaluation after() {
  Evaluation evaluation;
  evaluation.validation = top1("validation", 0.87);
  evaluation.test = top1("test", 0.83);
  evaluation.size.zipped_bytes = 300;
  evaluation.latency = Latency{};
  evaluation.speedup = 2.5;
  return evaluation;
}

GateSpec accuracy_gate(double bound) {
  GateSpec spec;
  spec.max_accuracy_drop = bound;
  return spec;
}

TEST(Gates, WithoutBoundsNothingIsChecked) {
  EXPECT_TRUE(check_gates({}, before(), after(), GateScope::kStep).empty());
}

TEST(Gates, StepLooksAtValidation) {
  const auto gates = check_gates(accuracy_gate(0.04), before(), after(), GateScope::kStep);
  ASSERT_EQ(gates.size(), 1U);
  EXPECT_NEAR(gates[0].found, 0.03, 1e-12);
  EXPECT_TRUE(gates[0].is_met);
  EXPECT_THAT(gates[0].note, HasSubstr("validation"));
}

TEST(Gates, RunLooksAtTest) {
  const auto gates = check_gates(accuracy_gate(0.04), before(), after(), GateScope::kRun);
  ASSERT_EQ(gates.size(), 1U);
  EXPECT_NEAR(gates[0].found, 0.05, 1e-12);
  EXPECT_FALSE(gates[0].is_met);
  EXPECT_THAT(gates[0].note, HasSubstr("test"));
}

TEST(Gates, RunWithoutTestLooksWhereChoicesWereMade) {
  Evaluation a = before(), b = after();
  a.test.reset();
  b.test.reset();
  EXPECT_NEAR(check_gates(accuracy_gate(0.04), a, b, GateScope::kRun)[0].found, 0.03, 1e-12);
}

TEST(Gates, HigherErrorIsADrop) {
  Evaluation a = before(), b = after();
  a.validation = Score{"validation", "mse", 0.10, 10, {}, false};
  b.validation = Score{"validation", "mse", 0.25, 10, {}, false};
  const auto gates = check_gates(accuracy_gate(0.1), a, b, GateScope::kStep);
  EXPECT_NEAR(gates[0].found, 0.15, 1e-12);
  EXPECT_FALSE(gates[0].is_met);
}

TEST(Gates, BetterScoreIsANegativeDrop) {
  const auto gates = check_gates(accuracy_gate(0), after(), before(), GateScope::kStep);
  EXPECT_NEAR(gates[0].found, -0.03, 1e-12);
  EXPECT_TRUE(gates[0].is_met);
}

TEST(Gates, WithoutLabelsTheDropIsLostAgreement) {
  Evaluation original, pruned, quantized;
  pruned.fidelity = Fidelity{"validation", 100, 0.99, 30, 0.97};
  quantized.fidelity = Fidelity{"validation", 100, 0.98, 25, 0.95};
  const auto first = check_gates(accuracy_gate(0.02), original, pruned, GateScope::kStep);
  EXPECT_NEAR(first[0].found, 0.03, 1e-12);
  EXPECT_FALSE(first[0].is_met);
  EXPECT_THAT(first[0].note, HasSubstr("no labels"));
  // The second step answers only for what it lost itself.
  const auto second = check_gates(accuracy_gate(0.025), pruned, quantized, GateScope::kStep);
  EXPECT_NEAR(second[0].found, 0.02, 1e-12);
  EXPECT_TRUE(second[0].is_met);
}

TEST(Gates, WithoutClassScoresTheDropIsLostCosine) {
  Evaluation original, pruned;
  pruned.fidelity = Fidelity{"random inputs", 32, 0.99, 30, std::nullopt};
  const auto gates = check_gates(accuracy_gate(0.02), original, pruned, GateScope::kRun);
  EXPECT_NEAR(gates[0].found, 0.01, 1e-12);
  EXPECT_THAT(gates[0].note, HasSubstr("cosine"));
}

TEST(Gates, SizeRatioIsOfZippedBytes) {
  GateSpec spec;
  spec.max_size_ratio = 0.33;
  const auto gates = check_gates(spec, before(), after(), GateScope::kRun);
  EXPECT_NEAR(gates[0].found, 1.0 / 3, 1e-12);
  EXPECT_FALSE(gates[0].is_met);
}

TEST(Gates, SpeedupIsAgainstTheModelBefore) {
  GateSpec spec;
  spec.min_speedup = 1.3;
  Evaluation last = after();
  last.speedup = 3.0;
  const auto gates = check_gates(spec, after(), last, GateScope::kStep);
  EXPECT_NEAR(gates[0].found, 3.0 / 2.5, 1e-12);
  EXPECT_FALSE(gates[0].is_met);
}

TEST(Gates, WhatWasNotMeasuredIsNotMet) {
  GateSpec spec;
  spec.min_speedup = 1.0;
  Evaluation a = before(), b = after();
  b.speedup.reset();
  b.latency.reset();
  const auto gates = check_gates(spec, a, b, GateScope::kRun);
  EXPECT_FALSE(gates[0].is_met);
  EXPECT_TRUE(std::isnan(gates[0].found));
  EXPECT_THAT(describe_failures(gates), HasSubstr("could not be checked"));
}

TEST(Gates, FailuresAreDescribedWithNumbers) {
  GateSpec spec;
  spec.max_accuracy_drop = 0.01;
  spec.max_size_ratio = 0.5;
  const auto gates = check_gates(spec, before(), after(), GateScope::kStep);
  EXPECT_EQ(describe_failures(gates), "max_accuracy_drop 0.03 is above 0.01 (on validation, top1)");
  EXPECT_FALSE(are_met(gates));
}

}  // namespace
}  // namespace edgecompress
