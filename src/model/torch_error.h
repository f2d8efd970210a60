// What LibTorch threw, as one readable message.
#pragma once

#include <exception>
#include <string>

namespace edgecompress {

/// The cause alone: without C++ frames and without the TorchScript traceback around it.
std::string torch_message(const std::exception& error);

/// LibTorch tells that memory ran out as it tells any other error, so it would be taken for a fault
/// of the model or of the data. Throws std::bad_alloc if it was that.
void throw_if_out_of_memory(const std::exception& error);

}  // namespace edgecompress
