#include "data/source.h"
#include "fuzz/parts.h"
#include "fuzz/read_whole.h"
#include "fuzz/readers.h"
#include "util/text.h"

void edgecompress::fuzz::read_npz(std::string_view input) {
  SourceRequest request;
  std::string archive(input);
  if (!starts_with(input, "PK")) {
    const auto parts = split_parts(input);
    archive = pack(parts);
    if (parts.size() > 1) request.target = "labels";
  }
  request.path = memory_file(archive);
  read_whole(*npz_source().open(request));
}
