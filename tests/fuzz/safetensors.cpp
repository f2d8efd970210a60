#include "model/safetensors.h"

#include <stdexcept>

#include "fuzz/parts.h"
#include "fuzz/read_whole.h"
#include "fuzz/readers.h"
#include "train/adapter_files.h"
#include "util/text.h"

void edgecompress::fuzz::read_safetensors(std::string_view input) {
  if (starts_with(input, "@@")) {
    const auto parts = split_parts(input);
    for (const Adapter& adapter : read_adapter_files(part(parts, kAdapterConfigFile),
                                                     part(parts, kAdapterTensorsFile), "adapter")
                                      .adapters) {
      touch(adapter.a);
      touch(adapter.b);
    }
    return;
  }
  const Safetensors content = edgecompress::read_safetensors(input, "input.safetensors");
  for (const auto& [name, tensor] : content.tensors) touch(tensor);
  const std::string written = write_safetensors(content);
  if (write_safetensors(edgecompress::read_safetensors(written, "written")) != written) {
    throw std::logic_error("what was written reads as something else");
  }
}
