#include "quantization/quantization_aware_training.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "edgecompress/error.h"
#include "int8/fake_quantization.h"
#include "model/graph_building.h"
#include "model/interpreter.h"
#include "train/distillation.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Value;

Options<QuantizationAwareTrainingOptions> quantization_aware_training_options() {
  using T = QuantizationAwareTrainingOptions;
  T defaults;
  defaults.training.train.optimizer.name = "adamw";
  defaults.training.train.optimizer.lr = 1e-4;
  Options<T> options(defaults);
  options.splice(&T::training, fine_tuning_options(defaults.training.train));
  options.add("learn_scales", &T::learn_scales,
              "the steps of weights and activations are trained too, instead of staying as "
              "calibrated");
  options.add("teacher", &T::teacher,
              "train to give the outputs of \"original\" (the run's input model) or of a "
              "TorchScript file");
  options.splice(&T::distill, distill_options());
  return options;
}

void check_training(const QuantizationAwareTrainingOptions& options, const std::string& pass) {
  if (options.teacher || options.distill.alpha < 1) return;
  throw Error(ExitCode::kRecipe,
              pass + ": training/alpha 1 leaves the labels no say, but there is no teacher",
              "name a training/teacher, for example \"original\"");
}

namespace {

at::Tensor log_of(const at::Tensor& scales) { return scales.to(at::kDouble).log().to(at::kFloat); }

/// Weights that stay float parameters and are rounded in the graph, by scales that may train too.
class TrainableParts : public FakeQuantizationParts {
 public:
  TrainableParts(Model& model, const Int8Scheme& scheme, std::int64_t largest_weight,
                 bool learn_scales, const std::vector<at::Tensor>& sample)
      : model_(model),
        scheme_(scheme),
        largest_weight_(largest_weight),
        shapes_(learn_scales ? shapes_of(model, sample) : ShapeMap()),
        batch_size_(sample.at(0).size(0)),
        learns_scales_(learn_scales),
        graph_(*model.edit()) {}

  Value* weight(const Int8Op& op) override {
    const std::string& name = *op.layer->weight;
    const QuantizedWeight& weight = scheme_.weights.at(name);
    const std::int64_t channels = weight.scales.numel();
    const std::int64_t numbers = weight.values.numel() / channels;
    Value* scales = learns_scales_
                        ? learned_scale(weight_scales_[name], name + ".log_scale", weight.scales)
                        : graph_.insertConstant(weight.scales.to(at::kFloat));
    std::vector<Value*> inputs{insert_attribute(graph_, model_, name), scales,
                               zero_points(channels)};
    if (channels > 1) inputs.push_back(graph_.insertConstant(weight.axis));
    return fake_quantize(inputs, channels > 1 ? "per_channel" : "per_tensor", -largest_weight_,
                         largest_weight_, gradient_factor(weight.scales, numbers, largest_weight_));
  }

  Value* bias(const Int8Op& op) override {
    const at::Tensor& bias = scheme_.biases.at(op.node);
    if (!bias.defined()) return graph_.insertConstant(c10::IValue());
    std::string& name = biases_[op.node];
    const bool is_own = op.layer->bias && model_.tensor(*op.layer->bias).equal(bias);
    name = is_own ? *op.layer->bias : model_.add_parameter(op.layer->name + ".bias", bias);
    return insert_attribute(graph_, model_, name);
  }

  Value* round(Value* value, const QuantizedGrid& grid) override {
    const auto shape = shapes_.find(grid.measured);
    if (shape == shapes_.end()) return insert_rounding(graph_, value, grid);
    const at::Tensor scale = at::full({1}, grid.range.scale, at::kDouble);
    Value* learned = learned_scale(activation_scales_[grid.measured], "log_scale", scale);
    Value* zero_point =
        graph_.insertConstant(at::full({1}, static_cast<double>(grid.range.zero_point)));
    const std::int64_t numbers = c10::multiply_integers(shape->second.sizes) / batch_size_;
    return fake_quantize({value, learned, zero_point}, "per_tensor", grid.lowest, kAffineSteps,
                         gradient_factor(scale, numbers, kAffineSteps));
  }

  /// What training found, for a scheme of the same plan on another model.
  void tell(Int8Scheme& original) const {
    for (std::size_t i = 0; i < scheme_.plan.ops.size(); ++i) {
      const Int8Op& op = scheme_.plan.ops[i];
      if (!op.layer) continue;
      const auto bias = biases_.find(op.node);
      if (bias != biases_.end())
        original.biases[original.plan.ops[i].node] = model_.tensor(bias->second).detach();
      original.weights[*op.layer->weight] = rounded_weight(*op.layer->weight);
    }
    for (std::size_t i = 0; i < scheme_.plan.measured.size(); ++i) {
      const auto learned = activation_scales_.find(scheme_.plan.measured[i]);
      if (learned == activation_scales_.end()) continue;
      original.ranges.at(original.plan.measured[i]).scale =
          model_.tensor(learned->second).detach().exp().item<float>();
    }
  }

 private:
  static ShapeMap shapes_of(const Model& model, const std::vector<at::Tensor>& sample) {
    const at::NoGradGuard no_grad;
    return record_shapes(model, sample);
  }

  /// The graph reads exp of a parameter, which is made where `name` is still empty.
  Value* learned_scale(std::string& name, const std::string& wish, const at::Tensor& scales) {
    if (name.empty()) name = model_.add_parameter(wish, log_of(scales));
    Value* log_scale = insert_attribute(graph_, model_, name);
    return graph_.insert(c10::aten::exp, {log_scale});
  }

  Value* zero_points(std::int64_t channels) {
    return graph_.insertConstant(at::zeros({channels}, learns_scales_ ? at::kFloat : at::kInt));
  }

  double gradient_factor(const at::Tensor& scales, std::int64_t numbers, std::int64_t steps) const {
    const double scale = scales.mean().item<double>();
    return 1 / (scale * scale *
                std::sqrt(static_cast<double>(std::max<std::int64_t>(numbers, 1) * steps)));
  }

  Value* fake_quantize(std::vector<Value*> inputs, const std::string& granularity,
                       std::int64_t lowest, std::int64_t highest, double factor) {
    inputs.push_back(graph_.insertConstant(lowest));
    inputs.push_back(graph_.insertConstant(highest));
    if (learns_scales_) inputs.push_back(graph_.insertConstant(factor));
    const std::string op =
        learns_scales_ ? "_fake_quantize_learnable_" + granularity : "fake_quantize_" + granularity;
    return insert_op(graph_, "aten::" + op + "_affine", inputs)->output();
  }

  /// With the arithmetic of the ops that it was trained through.
  QuantizedWeight rounded_weight(const std::string& name) const {
    QuantizedWeight weight = scheme_.weights.at(name);
    at::Tensor scales = weight.scales.to(at::kFloat);
    if (learns_scales_) scales = model_.tensor(weight_scales_.at(name)).detach().exp();
    std::vector<std::int64_t> along_axis(static_cast<std::size_t>(weight.values.dim()), 1);
    along_axis.at(static_cast<std::size_t>(weight.axis)) = scales.numel();
    const at::Tensor inverse = scales.reciprocal().reshape(along_axis);
    weight.values = (model_.tensor(name).detach() * inverse)
                        .round()
                        .clamp(-largest_weight_, largest_weight_)
                        .to(at::kChar);
    weight.scales = scales.to(at::kDouble);
    return weight;
  }

  Model& model_;
  const Int8Scheme& scheme_;
  std::int64_t largest_weight_;
  ShapeMap shapes_;  // of the float graph, before it is edited; empty: scales stay
  std::int64_t batch_size_;
  bool learns_scales_;
  Graph& graph_;
  // Names of parameters: scales by the weight's name and by the measured value, biases by node.
  std::unordered_map<std::string, std::string> weight_scales_;
  std::unordered_map<const Value*, std::string> activation_scales_;
  std::unordered_map<const torch::jit::Node*, std::string> biases_;
};

/// Every parameter and buffer that both have.
void copy_tensors(const Model& from, Model& to) {
  const auto copy = [&](const std::string& name) {
    if (from.has_attribute(name)) to.set_tensor(name, from.tensor(name).detach());
  };
  for (const auto& [name, parameter] : to.named_parameters()) copy(name);
  for (const auto& buffer : to.module().named_buffers()) copy(buffer.name);
}

}  // namespace

TrainResult train_quantized(Model& model, Int8Scheme& scheme, std::int64_t largest_weight,
                            const QuantizationAwareTrainingOptions& options,
                            const std::string& pass, const TrainingContext& context,
                            const std::function<Model(const std::string&)>& load_teacher) {
  TrainTask task = make_task(pass, options.training.train, context);
  const auto sample = task.sample();
  Model simulated = model.clone();
  const Int8Scheme own = scheme.on(simulated);
  TrainableParts parts(simulated, own, largest_weight, options.learn_scales, sample);
  insert_fake_quantization(simulated, own, parts);
  task.parameters = floating_parameters(simulated);
  task.loss = target_loss(options.training.loss);
  if (options.teacher) {
    task.loss = distillation_loss(load_teacher(*options.teacher), *options.teacher, simulated,
                                  sample, options.distill, task.loss, pass);
  }
  const TrainResult result = train(simulated, task, context.progress);
  if (result.best_epoch > 0) {
    parts.tell(scheme);
    copy_tensors(simulated, model);
  }
  return result;
}

}  // namespace edgecompress
