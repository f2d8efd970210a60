// LibTorch's INT8 engines: which of them packs weights, and how many bits of a weight are safe.
//
// An engine is the process's, not the file's: TorchScript stores packed weights as plain int8
// numbers, scales and biases, and whoever loads the file packs them for its own engine
// (torch.backends.quantized.engine in Python). Packed weights run on the engine that packed them.
// Two engines give the same outputs but for rounding, one step of a layer's output scale, as long
// as neither overflows: see choose_weight_bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edgecompress {

/// Those that this LibTorch has, of "onednn", "x86", "fbgemm" and "qnnpack".
std::vector<std::string> int8_engines();
/// The one that packs now; "none" where there is none.
std::string int8_engine();
/// `name`, or for "auto" the one that is best on CPUs like this one.
/// Throws Error(kRecipe), with those that there are, if this LibTorch doesn't have it.
void use_int8_engine(const std::string& name);

/// Packs with another engine while it lives.
class Int8EngineGuard {
 public:
  /// "auto" keeps the one that packs now. Throws as use_int8_engine does.
  explicit Int8EngineGuard(const std::string& name);
  ~Int8EngineGuard();
  Int8EngineGuard(const Int8EngineGuard&) = delete;
  Int8EngineGuard& operator=(const Int8EngineGuard&) = delete;

 private:
  std::string previous_;
};

/// How large INT8 weights may be, and why.
struct WeightBits {
  std::int64_t largest;
  std::string reason;
};
/// x86 kernels without VNNI add two products in 16 bits: all of these engines but qnnpack, which
/// adds in 32. A file outlives the machine that makes it, so unless `reduces` (what the recipe
/// says) decides, weights get all 8 bits only where the recipe names qnnpack as their `engine`; the
/// same recipe gives the same file on every CPU. `has_dot_products`: of this CPU, see util/cpu.h.
WeightBits choose_weight_bits(std::optional<bool> reduces, const std::string& engine,
                              bool has_dot_products);

}  // namespace edgecompress
