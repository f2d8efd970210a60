#include "canonical/canonical_trail.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

namespace edgecompress::canonical {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using torch::jit::Graph;

const std::vector<InputSpec> kInputs = {{{2, 3}, "float32", 2}};

torch::jit::Module doubling() {
  torch::jit::Module module("Net");
  module.register_attribute("training", c10::BoolType::get(), false);
  module.define("def forward(self, x):\n    return torch.mul(x, 2.0)\n");
  return module;
}

/// Multiplies the output by another factor too.
Step scaling_by(double factor, bool may_round) {
  return {"scale",
          [factor](Draft& draft) {
            Graph& graph = *draft.graph;
            const torch::jit::WithInsertPoint point(graph.return_node());
            graph.return_node()->replaceInput(
                0, graph.insert(c10::aten::mul, {graph.outputs()[0], factor}));
            return true;
          },
          may_round};
}

Step failing() {
  return {"fail",
          [](Draft& draft) -> bool {
            draft.graph->block()->clear();
            throw std::runtime_error("no luck\nbacktrace");
          },
          true};
}

struct TrailTest : testing::Test {
  torch::jit::Module module = doubling();
  Witness witness{module, kInputs};
  Draft draft = freeze_to_draft(module);

  bool doubles() const {
    return witness.compare(witness.ask(draft.module, *draft.graph), witness.original()) ==
           Agreement::kSame;
  }
};

TEST_F(TrailTest, IsSoundWhereEveryStepKeepsTheOutputs) {
  Trail trail(draft, witness, Checks::kAtEnd);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(trail.take(scaling_by(1, false)));
  EXPECT_TRUE(trail.is_sound());
}

TEST_F(TrailTest, StepsThatMayRoundDoSo) {
  Trail trail(draft, witness, Checks::kAtEnd);
  trail.take(scaling_by(1, false));
  trail.take(scaling_by(1 + 1e-6, true));
  trail.take(scaling_by(1, false));
  EXPECT_TRUE(trail.is_sound());
}

TEST_F(TrailTest, FindsTheStepThatRoundsWithoutLeave) {
  Trail trail(draft, witness, Checks::kAtEnd);
  trail.take(scaling_by(1, true));
  trail.take(scaling_by(1 + 1e-6, false));
  trail.take(scaling_by(1, true));
  EXPECT_FALSE(trail.is_sound());
}

TEST_F(TrailTest, StepsThatMayRoundMayNotChangeTheOutputs) {
  Trail trail(draft, witness, Checks::kAtEnd);
  trail.take(scaling_by(1.01, true));
  EXPECT_FALSE(trail.is_sound());
}

TEST_F(TrailTest, TakesBackAndNamesTheOneThatChangesTheOutputs) {
  Trail trail(draft, witness, Checks::kEachStep);
  EXPECT_TRUE(trail.take(scaling_by(1, false)));
  EXPECT_FALSE(trail.take(scaling_by(3, true)));
  EXPECT_TRUE(trail.take(scaling_by(1, false)));
  EXPECT_TRUE(doubles());
  EXPECT_THAT(draft.findings,
              ElementsAre(Field(&Finding::what, "could not scale: the outputs would change")));
}

TEST_F(TrailTest, TakesBackAndNamesTheOneThatFails) {
  Trail trail(draft, witness, Checks::kAtEnd);
  EXPECT_FALSE(trail.take(failing()));
  EXPECT_TRUE(doubles());
  EXPECT_TRUE(trail.is_sound());
  EXPECT_THAT(draft.findings, ElementsAre(Field(&Finding::what, "could not fail: no luck")));
}

}  // namespace
}  // namespace edgecompress::canonical
