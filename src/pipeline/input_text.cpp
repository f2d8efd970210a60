#include "pipeline/input_text.h"

#include <charconv>

#include "edgecompress/error.h"
#include "model/model.h"
#include "util/text.h"

namespace edgecompress {
namespace {

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  throw Error(ExitCode::kUsage, "--input " + text + ": " + why,
              "Write sizes with x between them, batch first, and a type if it is not float32: "
              "1x3x224x224 or 4x16:int64.");
}

std::int64_t parse_size(const std::string& text, const std::string& digits) {
  std::int64_t size = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, size);
  if (error != std::errc() || stop != end || size < 1) {
    refuse(text, "'" + digits + "' is no size");
  }
  return size;
}

InputSpec parse_input(const std::string& text) {
  InputSpec input;
  const auto colon = text.find(':');
  if (colon != std::string::npos) {
    input.dtype = text.substr(colon + 1);
    try {
      parse_dtype(input.dtype);
    } catch (const Error& error) {
      refuse(text, error.what());
    }
  }
  for (const std::string& digits : split(text.substr(0, colon), 'x')) {
    input.shape.push_back(parse_size(text, digits));
  }
  return input;
}

}  // namespace

std::vector<InputSpec> parse_inputs(const std::vector<std::string>& texts) {
  std::vector<InputSpec> inputs;
  for (const std::string& text : texts) inputs.push_back(parse_input(text));
  return inputs;
}

}  // namespace edgecompress
