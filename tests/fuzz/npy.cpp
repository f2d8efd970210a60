#include "data/npy.h"

#include "fuzz/read_whole.h"
#include "fuzz/readers.h"

void edgecompress::fuzz::read_npy(std::string_view input) {
  std::vector<NpyArray> arrays;
  arrays.emplace_back(memory_bytes({input.begin(), input.end()}, "input.npy"));
  const NpyArray target = arrays[0];
  touch(target.read_whole());
  read_whole(*npy_dataset(arrays, nullptr, {}));
  read_whole(*npy_dataset(arrays, &target, {}));
}
