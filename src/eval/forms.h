// The forms in which LibTorch can run one stored network: the same outputs, other speeds. A fair
// comparison times each file in its fastest one.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

namespace edgecompress {

/// A network ready to be timed on fixed inputs.
class RunnableForm {
 public:
  /// `name`: "as saved", "frozen", "channels_last", "optimize_for_inference".
  RunnableForm(std::string name, torch::jit::Module module, const std::vector<at::Tensor>& inputs);

  const std::string& name() const { return name_; }
  /// One forward pass in inference mode, outputs flattened. Throws what LibTorch throws.
  std::vector<at::Tensor> outputs();
  /// Wall time of one forward pass, milliseconds.
  double time_ms();

 private:
  std::string name_;
  torch::jit::Module module_;
  std::vector<c10::IValue> inputs_;
};

/// Of the forms that run and give the stored one's outputs (to 1e-3 of the largest), the one with
/// the shortest run of a few interleaved ones, an earlier form of this list if it is as good to 2
/// %; the others are released as they lose, so that three copies of the weights live at most.
/// `stored` must be in eval mode.
///   as saved                the file as it is
///   frozen                  weights are constants, batch norms folded into convolutions
///   channels_last           frozen, with 4-D weights and inputs in NHWC memory order (inputs are
///                           converted before the clock starts)
///   optimize_for_inference  LibTorch's own rewrite for this CPU; not tried on statically quantized
///                           networks, for which it has nothing
/// Throws what LibTorch throws if the stored form itself doesn't run.
RunnableForm fastest_form(const torch::jit::Module& stored, const std::vector<at::Tensor>& inputs);

/// The form that fastest_form() chose before for the same network and inputs, without looking
/// again; "as saved" where there is none of that name.
RunnableForm form_named(const std::string& name, const torch::jit::Module& stored,
                        const std::vector<at::Tensor>& inputs);

}  // namespace edgecompress
