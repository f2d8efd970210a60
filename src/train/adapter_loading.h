// Adapters from files, put over a network.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/adapters.h"

namespace edgecompress {

struct AdapterSource {
  std::string path;   ///< a folder with both of PEFT's files
  double weight = 1;  ///< how much of its change counts
};

struct LoadedAdapters {
  struct Source {
    std::size_t adapters = 0, whole_tensors = 0;
  };
  std::vector<Source> sources;
  /// Tensors of the network that the first source replaced as a whole, as they were, and that the
  /// others replaced, as they are now.
  std::map<std::string, at::Tensor> replaced;
};

/// The bytes of a file, at most `limit`; throws Error(kData).
using FileReader = std::function<std::string(const std::string& path, std::int64_t limit)>;

/// Adds the adapters of every source, in order. What a source holds as a whole replaces the
/// network's, or with a weight other than 1 moves it by as much of the difference. Throws
/// Error(kData) where a source doesn't fit the network, or two replace the same tensor.
/// `stand_ins`: see find_adapter_targets(). Their layers have names without dots, which count as
/// those with dots.
LoadedAdapters load_adapters(Model& model, Adapters& adapters,
                             const std::vector<AdapterSource>& sources, const FileReader& read,
                             const std::map<std::string, std::string>& stand_ins = {});

}  // namespace edgecompress
