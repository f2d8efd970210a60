#include "train/input_moments.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <unordered_map>

#include "edgecompress/error.h"
#include "model/interpreter.h"

namespace edgecompress {
namespace {

/// The sums of one weight's inputs.
class MomentSum {
 public:
  MomentSum(const PrunableWeight& weight, Moment moment) : weight_(weight), moment_(moment) {}

  /// `output_size`: elements that the node gives for `input`.
  void add(const torch::jit::Node& node, const at::Tensor& input, std::int64_t output_size) {
    const std::int64_t positions = output_size / std::max<std::int64_t>(weight_.rows(), 1);
    for (const at::Tensor& part : split_for_features(weight_, input, positions)) {
      const at::Tensor x = input_features(weight_, node, part.to(at::kFloat));
      const at::Tensor sum = moment_ == Moment::kSquares ? x.square().sum(2, false, at::kDouble)
                                                         : at::bmm(x, x.transpose(1, 2));
      if (!sum_.defined()) sum_ = at::zeros(sum.sizes(), at::kDouble);
      sum_.add_(sum);
    }
  }

  const at::Tensor& sum() const { return sum_; }
  const PrunableWeight& weight() const { return weight_; }

 private:
  const PrunableWeight& weight_;
  Moment moment_;
  at::Tensor sum_;
};

}  // namespace

std::int64_t MomentRequest::bytes() const {
  const std::int64_t width = moment == Moment::kSquares ? 1 : weight->columns();
  return weight->groups * weight->columns() * width * static_cast<std::int64_t>(sizeof(double));
}

std::map<std::string, at::Tensor> sum_input_moments(const Model& model,
                                                    const std::vector<MomentRequest>& requests,
                                                    const DataSets* data, Progress& progress) {
  if (data == nullptr || data->calibration == nullptr || data->calibration->size() == 0) {
    throw Error(ExitCode::kData, "there are no calibration samples",
                "give the recipe a data.calibration, or use \"criterion\": \"magnitude\"");
  }
  if (requests.empty()) return {};
  std::vector<MomentSum> sums;
  sums.reserve(requests.size());
  std::unordered_map<const torch::jit::Node*, std::vector<MomentSum*>> by_node;
  for (const MomentRequest& request : requests) {
    sums.emplace_back(*request.weight, request.moment);
    for (const torch::jit::Node* node : request.weight->nodes)
      by_node[node].push_back(&sums.back());
  }
  const c10::InferenceMode inference;
  const Interpreter interpreter(model);
  progress.begin("calibrate", data->calibration->size());
  Loader loader(data->calibration, data->calibration_batch);
  for (Batch batch; loader.next(batch);) {
    interpreter.run({batch.inputs.begin(), batch.inputs.end()},
                    [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue> inputs,
                        c10::ArrayRef<c10::IValue> outputs) {
                      const auto found = by_node.find(&node);
                      if (found == by_node.end()) return;
                      for (MomentSum* sum : found->second) {
                        sum->add(node, inputs[0].toTensor(), outputs[0].toTensor().numel());
                      }
                    });
    progress.advance(batch.size);
  }
  progress.end();

  std::map<std::string, at::Tensor> result;
  for (const MomentSum& sum : sums) {
    if (!sum.sum().defined()) continue;
    if (!at::isfinite(sum.sum()).all().item<bool>()) {
      throw Error(ExitCode::kData,
                  "calibration: the inputs of " + sum.weight().layer + " are not finite",
                  "look for NaN in the data or for weights that overflow");
    }
    result[sum.weight().weight] = sum.sum();
  }
  return result;
}

}  // namespace edgecompress
