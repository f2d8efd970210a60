// A network's head: the last layer before its output, which tells the classes apart. Transfer
// learning keeps what comes before it, and gives the network a fresh one for classes of its own.
// Yosinski et al. 2014, "How transferable are features in deep neural networks?"
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

struct NewHead {
  std::string layer;                    ///< dotted name: "fc"
  std::vector<std::string> parameters;  ///< of its weight and bias
  std::int64_t outputs_before = 0;
};

/// Gives the head `classes` outputs. `layer` names it; empty: the one linear layer or convolution
/// whose output reaches the network's through nothing but operators that keep classes apart
/// (softmax and activations, pooling, reshapes, dropout, numbers that are added or multiplied).
/// The weight, and the bias where there is one, are drawn as torch.nn.Linear and Conv2d draw
/// theirs: uniform within 1 / sqrt(fan_in) (He et al. 2015, with a = sqrt(5)).
/// `sample`: inputs to try the network on.
/// Throws Error(kPass) that names the layer or the operator in the way: no such layer, none found
/// or several, a grouped convolution, a weight that another layer shares or that the graph
/// computes, an output whose shape did not follow (a reshape that the tracing made constant).
NewHead replace_head(Model& model, std::int64_t classes, const std::string& layer,
                     std::uint64_t seed, const std::vector<at::Tensor>& sample);

}  // namespace edgecompress
