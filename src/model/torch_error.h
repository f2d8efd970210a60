// What LibTorch threw, as one readable message.
#pragma once

#include <exception>
#include <string>

namespace edgecompress {

/// The cause alone: without C++ frames and without the TorchScript traceback around it.
std::string torch_message(const std::exception& error);

}  // namespace edgecompress
