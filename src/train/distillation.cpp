#include "train/distillation.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <memory>
#include <utility>

#include "edgecompress/error.h"
#include "train/layout.h"

namespace edgecompress {

namespace {

/// The teacher's first output, without gradients.
class Teacher {
 public:
  Teacher(Model model, const std::vector<at::Tensor>& sample)
      : model_(std::move(model)), layout_(model_, sample) {}

  at::Tensor operator()(const std::vector<at::Tensor>& inputs) const {
    const at::NoGradGuard no_grad;
    return model_.forward(layout_.lay_out(inputs)).at(0);
  }

 private:
  Model model_;
  ChannelsLast layout_;
};

void check_outputs(const at::Tensor& student, const at::Tensor& teacher,
                   const std::string& teacher_name, const DistillOptions& options,
                   const std::string& pass) {
  if (options.soft_loss == "kl" && (student.dim() < 2 || teacher.dim() < 2)) {
    throw Error(ExitCode::kPass,
                fmt::format("{}: soft_loss kl needs class scores [n, classes, ...], but the "
                            "outputs have {} (student) and {} (teacher) dimensions",
                            pass, student.dim(), teacher.dim()),
                "choose soft_loss mse");
  }
  if (student.sizes() == teacher.sizes()) return;
  const auto shape = [](const at::Tensor& output) {
    return fmt::format("[{}]", fmt::join(output.sizes().slice(1), ", "));
  };
  throw Error(ExitCode::kPass,
              fmt::format("{}: the teacher '{}' gives {} numbers a sample, the student {}", pass,
                          teacher_name, shape(teacher), shape(student)),
              "choose a teacher that was trained on the same classes");
}

}  // namespace

LossFunction distillation_loss(Model teacher, const std::string& teacher_name, const Model& student,
                               const std::vector<at::Tensor>& sample, const DistillOptions& options,
                               LossFunction label_loss, const std::string& pass) {
  const auto shared = std::make_shared<Teacher>(std::move(teacher), sample);
  {
    const at::NoGradGuard no_grad;
    check_outputs(student.forward(sample).at(0), (*shared)(sample), teacher_name, options, pass);
  }
  return [=](const std::vector<at::Tensor>& outputs, const Batch& batch) {
    at::Tensor loss = options.alpha * soft_loss(outputs.at(0), (*shared)(batch.inputs), options);
    if (options.alpha < 1) loss = loss + (1 - options.alpha) * label_loss(outputs, batch);
    return loss;
  };
}

}  // namespace edgecompress
