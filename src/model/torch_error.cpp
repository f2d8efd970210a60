#include "model/torch_error.h"

#include <c10/util/Exception.h>

#include <new>
#include <string_view>

#include "util/text.h"

namespace edgecompress {
namespace {

// LibTorch's own messages run over many lines; the first says what is wrong.
constexpr std::size_t kMaxLength = 400;

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  text = text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength) + "...";
  return text;
}

}  // namespace

std::string torch_message(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::string text = torch_error ? torch_error->what_without_backtrace() : error.what();
  text = text.substr(0, text.find("\nException raised from "));
  // The TorchScript interpreter puts the cause after its traceback: "RuntimeError: <cause>".
  const std::string label = "RuntimeError: ";
  if (const auto cause = text.rfind("\n" + label); cause != std::string::npos) {
    text = text.substr(cause + 1 + label.size());
  }
  text = trimmed(text);
  return trimmed(text.substr(0, text.find('\n')));
}

void throw_if_out_of_memory(const std::exception& error) {
  const bool is_so =
      dynamic_cast<const std::bad_alloc*>(&error) ||
      std::string_view(error.what()).find("can't allocate memory") != std::string_view::npos;
  if (is_so) throw std::bad_alloc();
}

}  // namespace edgecompress
