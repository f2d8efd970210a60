#include "train/losses.h"

#include <ATen/ATen.h>

#include <sstream>

#include "edgecompress/error.h"

namespace edgecompress {

Options<LossOptions> loss_options() {
  Options<LossOptions> o;
  o.add("loss", &LossOptions::name,
        "loss against the labels; auto: cross_entropy for class ids, mse for numbers; bce: of each "
        "output by itself, as log odds")
      .one_of({"auto", "cross_entropy", "bce", "mse", "l1"});
  o.add("label_smoothing", &LossOptions::label_smoothing,
        "share of the target that is spread over all classes")
      .at_least(0)
      .below(1)
      .only_with("loss", {"auto", "cross_entropy"});
  return o;
}

namespace {

std::string text_of(at::IntArrayRef sizes) {
  std::ostringstream text;
  text << sizes;
  return text.str();
}

at::Tensor cross_entropy(const at::Tensor& output, const at::Tensor& target, double smoothing) {
  if (target.scalar_type() != at::kLong || output.dim() != target.dim() + 1) {
    throw Error(ExitCode::kPass,
                "cross entropy needs class ids of type int64 and scores with one dimension more, "
                "found a target " +
                    text_of(target.sizes()) + " of type " + c10::toString(target.scalar_type()) +
                    " and an output " + text_of(output.sizes()),
                "choose another loss (bce, mse, l1) or another target");
  }
  return at::cross_entropy_loss(output, target, {}, at::Reduction::Mean, -100, smoothing);
}

/// [n] targets for [n, 1] outputs are what files of numbers usually hold.
at::Tensor as_output(const at::Tensor& target, const at::Tensor& output) {
  if (target.numel() != output.numel() || target.size(0) != output.size(0)) {
    throw Error(ExitCode::kPass,
                "the loss compares the output with the target, number by number, but the output "
                "is " +
                    text_of(output.sizes()) + " and the target " + text_of(target.sizes()),
                "class ids need the loss cross_entropy");
  }
  return target.to(output.scalar_type()).view_as(output);
}

at::Tensor cross_entropy_of_odds(const at::Tensor& output, const at::Tensor& target) {
  const at::Tensor odds = as_output(target, output);
  if ((odds < 0).logical_or(odds > 1).any().item<bool>()) {
    throw Error(ExitCode::kPass, "binary cross entropy needs targets in [0, 1], found others",
                "class ids of more than two classes need the loss cross_entropy");
  }
  return at::binary_cross_entropy_with_logits(output, odds);
}

at::Tensor compare(const at::Tensor& output, const at::Tensor& target, const LossOptions& options) {
  const bool is_class_id = target.scalar_type() == at::kLong;
  if (options.name == "cross_entropy" || (options.name == "auto" && is_class_id)) {
    return cross_entropy(output, target, options.label_smoothing);
  }
  if (options.name == "bce") return cross_entropy_of_odds(output, target);
  if (options.name == "l1") return at::l1_loss(output, as_output(target, output));
  return at::mse_loss(output, as_output(target, output));
}

}  // namespace

LossFunction target_loss(const LossOptions& options) {
  return [options](const std::vector<at::Tensor>& outputs, const Batch& batch) {
    if (!batch.target.defined()) {
      throw Error(ExitCode::kPass, "the loss needs labels, but the training set has none",
                  "give the set a target, or distil with alpha 1, which needs no labels");
    }
    const at::Tensor& output = outputs.at(0);
    const at::Tensor loss = compare(output, batch.target, options);
    if (!batch.other_target.defined()) return loss;
    return (1 - batch.other_share) * loss +
           batch.other_share * compare(output, batch.other_target, options);
  };
}

}  // namespace edgecompress
