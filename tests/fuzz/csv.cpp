#include <numeric>
#include <stdexcept>

#include "data/source.h"
#include "fuzz/parts.h"
#include "fuzz/read_whole.h"
#include "fuzz/readers.h"

void edgecompress::fuzz::read_csv(std::string_view input) {
  const auto end = std::min(input.find('\n'), input.size());
  const Json options =
      Json::parse(input.begin(), input.begin() + end, nullptr, /*allow_exceptions=*/false);
  if (!options.is_object()) return;
  const Source source = csv_source();
  SourceRequest request;
  try {
    request.options = source.options.resolve(options.value("options", Json::object()), "");
    request.target = options.value("target", "");
    request.inputs = options.value("inputs", std::vector<std::string>());
  } catch (const std::exception&) {
    return;  // it is the file that is read here, not the recipe
  }
  request.path = memory_file(input.substr(std::min(end + 1, input.size())));
  read_whole(*source.open(request));
}
