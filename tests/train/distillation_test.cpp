#include "train/distillation.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "data/tensor_dataset.h"
#include "data/views.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using ::testing::HasSubstr;

Model tiny(const std::string& name, std::uint64_t seed = 1) {
  const auto made = testing::make_tiny_model(name, seed);
  return Model::from_module(made.module, made.inputs);
}

std::vector<NamedTeacher> teachers_of(std::vector<Model> models) {
  std::vector<NamedTeacher> teachers;
  for (Model& model : models) teachers.push_back({"teacher.pt", std::move(model)});
  return teachers;
}

FeatureOptions feature(const std::string& student, const std::string& teacher,
                       const std::string& loss, double weight) {
  return {student, teacher, 0, loss, weight};
}

DistillOptions mse_of_outputs(double alpha) {
  DistillOptions options;
  options.soft_loss = "mse";
  options.alpha = alpha;
  return options;
}

const LossFunction kNoLabels = [](const std::vector<at::Tensor>&, const Batch&) -> at::Tensor {
  throw Error(ExitCode::kInternal, "labels were looked at");
};

Batch batch_of(const std::vector<at::Tensor>& inputs) {
  Batch batch;
  batch.inputs = inputs;
  batch.size = inputs[0].size(0);
  return batch;
}

TEST(Distillation, AddsUpWhatIsComparedByItsWeight) {
  Model student = tiny("cnn", 2);
  const Model teacher = tiny("cnn", 1);
  const auto inputs = student.example_inputs(4);
  const auto conv1 = [&](const Model& model) {
    return at::conv2d(inputs[0], model.tensor("conv1.weight"), model.tensor("conv1.bias"), 1, 1);
  };
  const double soft =
      at::mse_loss(student.forward(inputs)[0], teacher.forward(inputs)[0]).item<double>();
  const double hint = at::mse_loss(conv1(student), conv1(teacher)).item<double>();

  std::vector<Model> models;
  models.push_back(teacher.clone());
  const Distillation distillation(student, teachers_of(std::move(models)), mse_of_outputs(0.25),
                                  {feature("conv1", "conv1", "mse", 3)}, inputs, 1, "test");
  const LossFunction labels = [](const auto&, const auto&) { return at::tensor(8.0); };
  const double loss =
      distillation.loss(labels)(student.forward(inputs), batch_of(inputs)).item<double>();
  EXPECT_NEAR(loss, 0.25 * soft + 0.75 * 8 + 3 * hint, 1e-4 * loss);
}

TEST(Distillation, TakesTheStudentsChannelsToTheTeachersByWeightsThatGoAgain) {
  Model student = tiny("cnn", 2);
  const std::string graph = student.graph().toString();
  const std::size_t parameters = student.named_parameters().size();
  const auto inputs = student.example_inputs(3);
  {
    std::vector<Model> models;
    models.push_back(tiny("cnn", 1));
    // 8 channels at 12x12 against 16 at 3x3.
    const Distillation distillation(student, teachers_of(std::move(models)), mse_of_outputs(0),
                                    {feature("conv1", "conv2", "mse", 1)}, inputs, 1, "test");
    ASSERT_EQ(student.named_parameters().size(), parameters + 1);
    const at::Tensor projection = student.named_parameters().back().second;
    EXPECT_EQ(projection.sizes(), (at::IntArrayRef{16, 8}));

    for (const char* name : {"conv1.weight", "fc.weight"})
      student.tensor(name).set_requires_grad(true);
    const auto outputs = student.forward(inputs);
    const LossFunction no_say = [](const auto&, const auto&) { return at::zeros({}); };
    const at::Tensor loss = distillation.loss(no_say)(outputs, batch_of(inputs));
    loss.backward();
    EXPECT_GT(projection.grad().abs().sum().item<double>(), 0);
    EXPECT_GT(student.tensor("conv1.weight").grad().abs().sum().item<double>(), 0);
    EXPECT_FALSE(student.tensor("fc.weight").grad().defined());
    EXPECT_TRUE(distillation.features()[0].at("is_projected").get<bool>());
  }
  EXPECT_EQ(student.named_parameters().size(), parameters);
  EXPECT_EQ(student.graph().toString(), graph);
}

TEST(Distillation, ProjectsAsA1x1ConvolutionDoes) {
  Model student = tiny("cnn", 2);
  const auto inputs = student.example_inputs(3);
  std::vector<Model> models;
  models.push_back(tiny("concat_cnn", 1));
  const Model& teacher = models[0];
  const at::Tensor crop = inputs[0];
  const at::Tensor own =
      at::conv2d(crop, student.tensor("conv1.weight"), student.tensor("conv1.bias"), 1, 1);
  const at::Tensor stem =
      at::relu(at::conv2d(crop, teacher.tensor("stem.weight"), teacher.tensor("stem.bias"), 1, 1));
  const at::Tensor taught =
      at::conv2d(stem, teacher.tensor("right.weight"), teacher.tensor("right.bias"), 1, 1);
  const Distillation distillation(student, teachers_of(std::move(models)), mse_of_outputs(0),
                                  {feature("conv1", "right", "mse", 1)}, inputs, 1, "test");
  const at::Tensor projection = student.named_parameters().back().second;
  const at::Tensor expected =
      at::mse_loss(at::conv2d(own, projection.unsqueeze(-1).unsqueeze(-1)), taught);
  const LossFunction no_say = [](const auto&, const auto&) { return at::zeros({}); };
  EXPECT_NEAR(distillation.loss(no_say)(student.forward(inputs), batch_of(inputs)).item<double>(),
              expected.item<double>(), 1e-4);
}

TEST(Distillation, AsksEachTeacherForItsOwnFeatures) {
  Model student = tiny("cnn", 3);
  const auto inputs = student.example_inputs(4);
  std::vector<Model> models;
  models.push_back(tiny("cnn", 1));
  models.push_back(tiny("residual_cnn", 2));
  FeatureOptions of_second = feature("conv1", "conv1", "attention", 1);
  of_second.of = 1;
  const Distillation distillation(student, teachers_of(std::move(models)), mse_of_outputs(1),
                                  {of_second, feature("conv2", "conv2", "angle", 1)}, inputs, 1,
                                  "test");
  const Json told = distillation.features();
  EXPECT_EQ(told[0].at("teacher_sizes"), (Json{8, 12, 12}));
  EXPECT_EQ(told[0].at("of"), 1);
  EXPECT_EQ(told[1].at("teacher_sizes"), (Json{16, 3, 3}));
  EXPECT_GT(distillation.loss(kNoLabels)(student.forward(inputs), batch_of(inputs)).item<double>(),
            0);
}

TEST(Distillation, RefusesLayersThatTheTeacherHasNot) {
  Model student = tiny("cnn", 2);
  const auto inputs = student.example_inputs(2);
  expect_error(
      ExitCode::kPass, "test, teacher 'teacher.pt': the network has no layer or module 'conv3'",
      [&] {
        std::vector<Model> models;
        models.push_back(tiny("cnn", 1));
        Distillation(student, teachers_of(std::move(models)), {},
                     {feature("conv1", "conv3", "mse", 1)}, inputs, 1, "test");
      },
      "conv1");
}

class KeptOnDisk : public ::testing::Test {
 protected:
  std::string keep(std::int64_t epochs, std::int64_t most_bytes) {
    return distillation_->keep_on_disk(data_, 8, epochs, most_bytes, scratch_, progress_);
  }
  void make() {
    distillation_.reset();
    std::vector<Model> models;
    models.push_back(tiny("cnn", 1));
    distillation_ = std::make_unique<Distillation>(
        student_, teachers_of(std::move(models)), mse_of_outputs(1),
        std::vector<FeatureOptions>{feature("conv2", "conv2", "attention", 1)},
        student_.example_inputs(2), 1, "test");
  }

  testing::TemporaryFolder folder_;
  Model student_ = tiny("cnn", 2);
  at::Tensor images_ = at::randn({20, 3, 12, 12});
  std::shared_ptr<const Dataset> data_ =
      std::make_shared<TensorDataset>(std::vector<at::Tensor>{images_});
  std::function<std::unique_ptr<ScratchFile>(std::int64_t)> scratch_ = [this](std::int64_t bytes) {
    return std::make_unique<ScratchFile>(folder_.path(), bytes);
  };
  Progress progress_;
  std::unique_ptr<Distillation> distillation_;
};

TEST_F(KeptOnDisk, GivesTheSameLossWithoutAskingAgain) {
  make();
  Batch batch = batch_of({images_.index_select(0, at::tensor({5, 17, 2}))});
  const auto outputs = student_.forward(batch.inputs);
  const double asked = distillation_->loss(kNoLabels)(outputs, batch).item<double>();
  // 4 scores and a map of 3x3, of 20 samples.
  EXPECT_THAT(keep(2, 1 << 20), HasSubstr("asked once: 1.0 kB on disk for 20 samples"));
  batch.indices = {5, 17, 2};
  EXPECT_NEAR(distillation_->loss(kNoLabels)(outputs, batch).item<double>(), asked, 1e-5 * asked);
  batch.inputs = {at::zeros({3, 3, 12, 12})};  // not looked at any more
  EXPECT_NEAR(distillation_->loss(kNoLabels)(outputs, batch).item<double>(), asked, 1e-5 * asked);
}

TEST_F(KeptOnDisk, MixedSamplesAreAskedFor) {
  make();
  keep(2, 1 << 20);
  const Batch mixed = batch_of({images_.slice(0, 0, 4) + images_.slice(0, 4, 8)});
  const auto outputs = student_.forward(mixed.inputs);
  const double found = distillation_->loss(kNoLabels)(outputs, mixed).item<double>();
  make();
  EXPECT_EQ(found, distillation_->loss(kNoLabels)(outputs, mixed).item<double>());
}

TEST_F(KeptOnDisk, SaysWhyNot) {
  make();
  EXPECT_THAT(keep(1, 1 << 20), HasSubstr("one epoch"));
  EXPECT_THAT(keep(2, 1000), HasSubstr("would take 1.0 kB"));
  scratch_ = {};
  EXPECT_THAT(keep(2, 1 << 20), HasSubstr("no folder"));
  scratch_ = [](std::int64_t bytes) { return std::make_unique<ScratchFile>("/absent", bytes); };
  EXPECT_THAT(keep(2, 1 << 20), HasSubstr("/absent"));
  data_ = std::make_shared<TransformedDataset>(
      data_, parse_transforms(Json::parse(R"([{"random_flip": {}}])"), ""), "test");
  EXPECT_THAT(keep(2, 1 << 20), HasSubstr("augmented"));
}

}  // namespace
}  // namespace edgecompress
