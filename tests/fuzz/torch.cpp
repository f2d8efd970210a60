#include "data/source.h"
#include "fuzz/parts.h"
#include "fuzz/read_whole.h"
#include "fuzz/readers.h"
#include "util/text.h"

void edgecompress::fuzz::read_torch(std::string_view input) {
  SourceRequest request;
  request.path =
      memory_file(starts_with(input, "PK") ? std::string(input) : pack(split_parts(input)));
  request.inputs = {"images"};
  request.target = "labels";
  read_whole(*torch_source().open(request));
}
