// Adapters in the two files of the PEFT library: adapter_model.safetensors and adapter_config.json.
//
//   base_model.model.MODULE.lora_A.weight, .lora_B.weight    A and B; PEFT's multi-head attention
//                                                            has its out_proj under base_layer
//   base_model.model.MODULE.lora_embedding_A, _B             the same of an embedding
//   base_model.model.MODULE.lora_magnitude_vector            m of DoRA
//   base_model.model.NAME                                    a tensor that was trained as a whole,
//                                                            of a module in modules_to_save
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "train/adapter.h"
#include "train/adapter_targets.h"

namespace edgecompress {

constexpr const char* kAdapterTensorsFile = "adapter_model.safetensors";
constexpr const char* kAdapterConfigFile = "adapter_config.json";

struct StoredAdapters {
  std::vector<Adapter> adapters;
  std::map<std::string, at::Tensor> tensors;  ///< trained as a whole, by dotted name
};

/// By the names of the files. All adapters have the same `rslora`, `dora` and `dropout`.
std::map<std::string, std::string> write_adapter_files(const StoredAdapters& stored);

/// From the content of both files; `where` names them in messages. Adapters have no kind yet but
/// that of an embedding or another; see fit_adapter(). Takes nothing on trust: throws Error(kData)
/// for another method than LoRA, variants that we don't have, adapters over a base that they
/// changed (PiSSA before it is converted), tensors that are missing, unknown, not finite or whose
/// ranks disagree.
StoredAdapters read_adapter_files(std::string_view config, std::string_view tensors,
                                  const std::string& where);

/// The adapter as one of the target's layer, in the dtype of its weight. Throws Error(kData) if
/// shapes don't fit.
Adapter fit_adapter(const Adapter& stored, const AdapterTarget& target, const at::Tensor& weight,
                    const std::string& where);

}  // namespace edgecompress
