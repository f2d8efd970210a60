#include "eval/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/api/module.h>

#include <limits>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "eval/reference_outputs.h"
#include "model/model.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const float kNan = std::numeric_limits<float>::quiet_NaN();

/// The samples are the outputs.
std::vector<at::Tensor> identity(const std::vector<at::Tensor>& inputs) { return inputs; }

std::shared_ptr<TensorDataset> scores_dataset(const std::vector<std::int64_t>& predicted,
                                              const std::vector<std::int64_t>& labels,
                                              std::int64_t classes) {
  return std::make_shared<TensorDataset>(
      std::vector<at::Tensor>{at::one_hot(at::tensor(predicted), classes).to(at::kFloat)},
      at::tensor(labels));
}

template <typename Action>
std::string data_error(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "no error";
}

TEST(EvaluateScore, CountsEverySampleOnceWhateverTheBatchSize) {
  const auto data = scores_dataset({0, 1, 2, 0, 1, 2, 0}, {0, 1, 2, 0, 1, 0, 1}, 3);
  for (const std::int64_t batch_size : {1, 2, 3, 7, 100}) {
    Progress progress;
    const Score score = evaluate_score(identity, *data, batch_size, "top1", "test", progress);
    EXPECT_EQ(score.correct, 5) << "batch size " << batch_size;
    EXPECT_EQ(score.samples, 7);
    EXPECT_DOUBLE_EQ(score.value, 5.0 / 7);
    EXPECT_EQ(score.metric, "top1");
    EXPECT_EQ(score.data, "test");
    EXPECT_TRUE(score.higher_is_better);
  }
}

TEST(EvaluateScore, RunsTheModelWithoutGradients) {
  const auto data = scores_dataset({0}, {0}, 2);
  Progress progress;
  bool grad_enabled = true;
  evaluate_score(
      [&](const std::vector<at::Tensor>& inputs) {
        grad_enabled = c10::GradMode::is_enabled();
        return inputs;
      },
      *data, 1, "top1", "test", progress);
  EXPECT_FALSE(grad_enabled);
  EXPECT_TRUE(c10::GradMode::is_enabled());
}

TEST(EvaluateScore, NamesTheFirstSampleWhoseOutputIsNotFinite) {
  const auto data = scores_dataset({0, 1, 0, 1, 0, 1}, {0, 1, 0, 1, 0, 1}, 2);
  Progress progress;
  const Forward breaks_on_fourth = [calls = 0](const std::vector<at::Tensor>& inputs) mutable {
    at::Tensor output = inputs[0].clone();
    if (++calls == 2) output[1][0] = std::numeric_limits<float>::infinity();
    return std::vector<at::Tensor>{output};
  };
  EXPECT_THAT(
      data_error([&] { evaluate_score(breaks_on_fourth, *data, 2, "top1", "test", progress); }),
      AllOf(HasSubstr("test"), HasSubstr("sample 3"), Not(HasSubstr("its input"))));
}

TEST(EvaluateScore, SaysWhenTheInputIsToBlame) {
  at::Tensor scores = at::zeros({3, 2});
  scores[2][1] = kNan;
  const TensorDataset data({scores}, at::zeros({3}, at::kLong));
  Progress progress;
  EXPECT_THAT(data_error([&] { evaluate_score(identity, data, 2, "top1", "test", progress); }),
              AllOf(HasSubstr("sample 2"), HasSubstr("so does its input")));
}

TEST(EvaluateScore, WantsLabels) {
  const TensorDataset data({at::zeros({3, 2})});
  Progress progress;
  EXPECT_THAT(data_error([&] { evaluate_score(identity, data, 2, "top1", "test", progress); }),
              HasSubstr("needs labels"));
}

TEST(EvaluateFidelity, OfAModelToItselfIsPerfect) {
  const auto data = scores_dataset({0, 1, 2}, {0, 0, 0}, 3);
  Progress progress;
  const Fidelity fidelity = evaluate_fidelity(identity, identity, *data, 2, "test", progress);
  EXPECT_DOUBLE_EQ(fidelity.cosine, 1.0);
  EXPECT_DOUBLE_EQ(fidelity.sqnr_db, 200.0);
  EXPECT_EQ(fidelity.top1_agreement, 1.0);
  EXPECT_EQ(fidelity.samples, 3);
}

TEST(EvaluateFidelity, MatchesHandComputedFigures) {
  // References (3, 4) and (1, 0); outputs (4, 3) and (2, 0).
  const TensorDataset data({at::tensor({3.0F, 4.0F, 1.0F, 0.0F}).reshape({2, 2})});
  const Forward other = [](const std::vector<at::Tensor>& inputs) {
    const at::Tensor outputs = at::tensor({4.0F, 3.0F, 2.0F, 0.0F}).reshape({2, 2});
    return std::vector<at::Tensor>{outputs.slice(0, 0, inputs[0].size(0))};
  };
  Progress progress;
  const Fidelity fidelity = evaluate_fidelity(other, identity, data, 2, "test", progress);
  EXPECT_DOUBLE_EQ(fidelity.cosine, (24.0 / 25 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(fidelity.sqnr_db, 10 * std::log10(26.0 / 3));
  EXPECT_EQ(fidelity.top1_agreement, 0.5);
}

TEST(EvaluateFidelity, TakesOutputsWithoutClassScoresAndOfSeveralTensors) {
  const TensorDataset data({at::ones({4, 2, 3})});
  const Forward recurrent = [](const std::vector<at::Tensor>& inputs) {
    const std::int64_t n = inputs[0].size(0);  // a sequence output, a state [layers, n, hidden]
    return std::vector<at::Tensor>{inputs[0], at::ones({2, n, 5}), at::ones({})};
  };
  Progress progress;
  const Fidelity fidelity = evaluate_fidelity(recurrent, recurrent, data, 3, "test", progress);
  EXPECT_DOUBLE_EQ(fidelity.cosine, 1.0);
  EXPECT_EQ(fidelity.top1_agreement, std::nullopt);
}

TEST(EvaluateFidelity, IsTheSameWhetherTheReferenceIsKeptOrRunsAgain) {
  constexpr std::int64_t kSamples = 10, kBatch = 4, kBatches = 3;
  constexpr std::int64_t kSampleBytes = 3 * sizeof(float);
  at::manual_seed(1);
  const TensorDataset data({at::randn({kSamples, 3})});
  int step = 0;
  const auto noisy = [&](const std::vector<at::Tensor>& inputs) {
    return std::vector<at::Tensor>{inputs[0] + 0.01 * step * inputs[0].flip(1)};
  };
  struct Case {
    std::int64_t limit_bytes;
    int runs_again;  // batches of the second and third step that are not kept
  };
  for (const Case& kept :
       {Case{ReferenceOutputs::kDefaultLimit, 0}, Case{0, kBatches},
        Case{kBatch * kSampleBytes, kBatches - 1}, Case{kBatch * kSampleBytes - 1, kBatches - 1}}) {
    int runs = 0;
    // As a view of something larger that the model goes on to use.
    const auto reference = [&](const std::vector<at::Tensor>& inputs) {
      ++runs;
      return std::vector<at::Tensor>{at::cat({inputs[0].sin(), inputs[0]}, 1).narrow(1, 0, 3)};
    };
    ReferenceOutputs outputs(reference, kept.limit_bytes);
    for (step = 1; step <= 3; ++step) {
      Progress progress;
      const Fidelity found = evaluate_fidelity(noisy, outputs, data, kBatch, "test", progress);
      const Fidelity expected =
          evaluate_fidelity(noisy, Forward(reference), data, kBatch, "test", progress);
      EXPECT_EQ(found.cosine, expected.cosine) << "step " << step;
      EXPECT_EQ(found.sqnr_db, expected.sqnr_db);
      EXPECT_EQ(found.top1_agreement, expected.top1_agreement);
      EXPECT_EQ(found.samples, kSamples);
    }
    EXPECT_EQ(runs, 3 * kBatches + kBatches + 2 * kept.runs_again) << kept.limit_bytes;
  }
}

TEST(EvaluateFidelity, RefusesOutputsOfOtherShapes) {
  const TensorDataset data({at::ones({2, 3})});
  const Forward narrower = [](const std::vector<at::Tensor>& inputs) {
    return std::vector<at::Tensor>{inputs[0].slice(1, 0, 2)};
  };
  Progress progress;
  try {
    evaluate_fidelity(narrower, identity, data, 2, "test", progress);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kModel);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("[2, 2]"), HasSubstr("[2, 3]")));
  }
}

TEST(CheckDataFits, AcceptsSetsThatFit) {
  DataSets data;
  data.train = data.test = scores_dataset({0, 1}, {1, 1}, 2);
  data.calibration = std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::ones({3, 2})});
  EXPECT_NO_THROW(check_data_fits(identity, data, "auto"));
}

TEST(CheckDataFits, FindsABadLabelBeyondTheFirstBatch) {
  DataSets data;
  data.train = scores_dataset({0, 1}, {1, 1}, 2);
  data.validation = scores_dataset({0, 1, 0}, {1, 1, 2}, 3);
  data.validation_batch = 1;
  const Forward two_classes = [](const std::vector<at::Tensor>& inputs) {
    return std::vector<at::Tensor>{inputs[0].slice(1, 0, 2)};
  };
  EXPECT_THAT(data_error([&] { check_data_fits(two_classes, data, "top1"); }),
              AllOf(HasSubstr("validation"), HasSubstr("1 to 2"), HasSubstr("2 classes")));
}

TEST(CheckDataFits, FindsNanInInputsAndTargets) {
  DataSets data;
  at::Tensor inputs = at::zeros({3, 2});
  inputs[1][0] = kNan;
  data.calibration = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  EXPECT_THAT(data_error([&] { check_data_fits(identity, data, "auto"); }),
              AllOf(HasSubstr("calibration"), HasSubstr("input 0"), HasSubstr("sample 1")));
  data.calibration = nullptr;
  data.test = std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::zeros({3, 2})}, inputs);
  EXPECT_THAT(data_error([&] { check_data_fits(identity, data, "auto"); }),
              AllOf(HasSubstr("test"), HasSubstr("target"), HasSubstr("sample 1")));
}

TEST(CheckDataFits, SaysOnOneLineWhatTheModelSaidAndWhatItWasGiven) {
  torch::jit::Module module("net");
  module.register_parameter("weight", at::ones({2, 5}), false);
  module.define("def forward(self, x):\n  return torch.linear(x, self.weight)\n");
  const Forward forward = [&](const std::vector<at::Tensor>& inputs) {
    return flatten_outputs(module.forward({inputs.begin(), inputs.end()}));
  };
  DataSets data;
  data.test = scores_dataset({0, 1}, {0, 1}, 3);
  EXPECT_THAT(data_error([&] { check_data_fits(forward, data, "top1"); }),
              AllOf(HasSubstr("test"), HasSubstr("float32 [2, 3]"), HasSubstr("2x3 and 5x2"),
                    Not(HasSubstr("\n")), Not(HasSubstr("frame")), Not(HasSubstr("Traceback"))));
}

TEST(CheckDataFits, RefusesAnEmptySet) {
  DataSets data;
  data.test = std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::zeros({0, 2})});
  EXPECT_THAT(data_error([&] { check_data_fits(identity, data, "auto"); }),
              HasSubstr("test: the set holds no samples"));
}

TEST(ResolveMetric, FollowsTheTarget) {
  EXPECT_EQ(resolve_metric("auto", *scores_dataset({0}, {0}, 2)), "top1");
  const at::Tensor ones = at::ones({2, 2});
  EXPECT_EQ(resolve_metric("auto", TensorDataset({ones}, ones)), "mse");
  EXPECT_EQ(resolve_metric("auto", TensorDataset({ones})), "fidelity");
  EXPECT_EQ(resolve_metric("f1", TensorDataset({ones}, ones)), "f1");
}

TEST(AccuracyDrop, IsPositiveForWorseInBothDirections) {
  Score before, after;
  before.value = 0.9, after.value = 0.8;
  EXPECT_NEAR(accuracy_drop(before, after), 0.1, 1e-12);
  before.higher_is_better = after.higher_is_better = higher_is_better("mse");
  EXPECT_NEAR(accuracy_drop(before, after), -0.1, 1e-12);
}

}  // namespace
}  // namespace edgecompress
