// Training through simulated INT8, so that weights settle where their rounding does least harm.
//
//   Formula  forward: the simulation of model/fake_quantization.h, weights rounded in the graph.
//            backward: rounding counts as the identity inside a range and as a constant outside it,
//            so a clipped value gets no gradient (the straight-through estimator; Jacob et al.
//            2018, "Quantization and Training of Neural Networks for Efficient
//            Integer-Arithmetic-Only Inference"). A learned scale s gets the gradient of LSQ (Esser
//            et al. 2020, "Learned Step Size Quantization"): sum of dL/dy * (round(x/s) - x/s),
//            or the range's end in steps for what is clipped. What is trained is log s (Jain et
//            al. 2020, "Trained Quantization Thresholds"), its gradient scaled by
//            1 / (s^2 sqrt(N Q)), so that a step moves s by the share that LSQ's moves it by
//            (N values a sample or a weight's channel has, Q steps to the range's end); so it stays
//            positive, and Adam's steps are shares of it too. Zero points stay.
//   Norms    batch norms are folded before: the graph that trains is the graph that will run, and
//            nothing has to be learned about statistics that rounding shifts (Nagel et al. 2021,
//            "A White Paper on Neural Network Quantization", section 4.2, finds static folding as
//            good as Jacob's). What could not be folded trains as in finetune.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "int8/int8_scheme.h"
#include "model/model.h"
#include "train/distillation_losses.h"
#include "train/fine_tuning.h"

namespace edgecompress {

struct QuantizationAwareTrainingOptions {
  FineTuningOptions training;
  bool learn_scales = true;            ///< of weights and activations; false: as calibrated
  std::optional<std::string> teacher;  ///< null: labels alone
  DistillOptions distill;              ///< with a teacher
};
Options<QuantizationAwareTrainingOptions> quantization_aware_training_options();
/// Throws Error(kRecipe) where the teacher alone counts but there is none.
void check_training(const QuantizationAwareTrainingOptions& options, const std::string& pass);

/// Trains every floating parameter, and the scales, of the simulation of the scheme's INT8 graph,
/// then gives the scheme its rounded weights, biases and ranges, and `model` all else that was
/// trained. Weights start from the model's own floats, so what the scheme rounded otherwise than to
/// nearest is lost. `largest_weight`: of the scheme's weights. Where no epoch was better than the
/// start, neither is changed.
/// `load_teacher` is called where a teacher is named. Throws as train() does.
TrainResult train_quantized(Model& model, Int8Scheme& scheme, std::int64_t largest_weight,
                            const QuantizationAwareTrainingOptions& options,
                            const std::string& pass, const TrainingContext& context,
                            const std::function<Model(const std::string&)>& load_teacher);

}  // namespace edgecompress
