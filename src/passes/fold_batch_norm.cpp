// fold_batch_norm: merges batch norms into the layers before them.
//
//   Before   x -> conv(w, b) -> batch_norm(gamma, beta, mean, var) -> y
//   After    x -> conv(w', b') -> y
//   Applies  to a batch norm in eval mode that alone reads the output of a convolution (1-3 d,
//            transposed too) or linear layer whose weights nobody else uses.
//   Formula  g = gamma / sqrt(var + eps);  w' = w g;  b' = (b - mean) g + beta
//            Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
//            Integer-Arithmetic-Only Inference", section 3.2.
#include "model/batch_norm_folding.h"
#include "passes/pass.h"

namespace edgecompress {
namespace {

class FoldBatchNorm : public Pass {
 public:
  PassResult run(Model& model, PassContext&) override {
    const BatchNormFolding folding = fold_batch_norms(model);
    PassResult result;
    result.changed = folding.folded > 0;
    result.counts = {{"folded", static_cast<double>(folding.folded)},
                     {"kept", static_cast<double>(folding.kept.size())}};
    Json kept = Json::array();
    for (const auto& norm : folding.kept) {
      kept.push_back({{"layer", norm.name}, {"reason", norm.reason}});
    }
    result.details["kept"] = std::move(kept);
    result.note = note(folding);
    return result;
  }

 private:
  static std::string note(const BatchNormFolding& folding) {
    if (folding.folded == 0 && folding.kept.empty()) return "the model has no batch norms";
    if (folding.folded == 0) return "no batch norm can be folded: " + folding.kept[0].reason;
    std::string text = std::to_string(folding.folded) + " batch norms folded";
    if (!folding.kept.empty()) text += ", " + std::to_string(folding.kept.size()) + " kept";
    return text;
  }
};

}  // namespace

PassSpec fold_batch_norm_pass() {
  PassSpec spec;
  spec.description.name = "fold_batch_norm";
  spec.description.summary =
      "Merge batch norms into the convolutions and linear layers before them";
  spec.description.needs.float_model = true;
  spec.make = [](const Json&) { return std::make_unique<FoldBatchNorm>(); };
  return spec;
}

}  // namespace edgecompress
