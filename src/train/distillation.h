// Training against a teacher's outputs, as the passes share it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/model.h"
#include "train/distillation_losses.h"
#include "train/losses.h"

namespace edgecompress {

/// alpha * soft_loss(student, teacher) + (1 - alpha) * label_loss(student), of the first outputs;
/// with alpha 1 labels are not looked at. `teacher_name` and `pass` are for messages.
/// Throws Error(kPass) where the outputs of both for `sample` can't be compared.
LossFunction distillation_loss(Model teacher, const std::string& teacher_name, const Model& student,
                               const std::vector<at::Tensor>& sample, const DistillOptions& options,
                               LossFunction label_loss, const std::string& pass);

}  // namespace edgecompress
