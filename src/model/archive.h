// Tells what a file is before LibTorch opens it, so that a wrong one gets an answer, not a stack.
#pragma once

#include <filesystem>

namespace edgecompress {

/// Returns if `path` looks like a TorchScript archive that this LibTorch can read. Otherwise throws
/// Error(kModel) saying what the file is (a pickle, a state_dict, ONNX, an HTML page, cut off, of a
/// newer format, ...) and what to do, or naming the entry whose checksum is wrong, or the tensor
/// that would reach beyond the bytes of the file.
void check_torchscript_archive(const std::filesystem::path& path);

}  // namespace edgecompress
