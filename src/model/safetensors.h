// The safetensors format: 8 bytes little-endian header length, a JSON header, raw tensor data.
// Written from its specification (github.com/huggingface/safetensors); adapters are stored in it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>

namespace edgecompress {

struct Safetensors {
  std::map<std::string, at::Tensor> tensors;    ///< dense, on the CPU
  std::map<std::string, std::string> metadata;  ///< the header's "__metadata__"
};

/// The bytes of a file. Tensors lie in order of falling element size, then of name, so each is
/// aligned; the same content gives the same bytes.
/// Throws Error(kInternal) for a dtype that the format doesn't have.
std::string write_safetensors(const Safetensors& content);

/// The content of a file, whose name `where` is for messages. Takes nothing on trust: the header's
/// length, unknown or missing or repeated keys, shapes against bytes, overlapping ranges and holes
/// are all checked before a tensor is made. Throws Error(kData).
Safetensors read_safetensors(std::string_view bytes, const std::string& where);

}  // namespace edgecompress
