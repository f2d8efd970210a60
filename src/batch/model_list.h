// Which models a batch is about, and what each is called.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace edgecompress {

struct ListedModel {
  /// Unique, and fit for a folder: its results are in OUTPUT/NAME.
  std::string name;
  std::filesystem::path path;    ///< absolute
  std::vector<std::string> set;  ///< changes to the recipe for this model alone: "seed=7"
};

/// The models that `arguments` name, sorted by name. Each is
///   - a model file, called by its name without the extension;
///   - a folder: every .pt, .pth, .ts and .torchscript file in it and below, called by the path
///   from
///     there ("resnet/a.pt" is "resnet-a"). Hidden entries and linked folders are left alone, and
///     so is `output`, where the models of an earlier batch are;
///   - a pattern of glob(7), of both;
///   - a manifest, a .json file:
///       {"models": [{"model": "a.pt", "name": "a-30", "set": ["passes/0/ratio=0.3"],
///                    "inputs": [{"shape": [1, 3, 32, 32]}], "data": {"test": {...}}}]}
///     in which only "model" is needed. `inputs` and `data` take the place of the recipe's; paths
///     are relative to the manifest. A file of the manifest need not be there: that is one model's
///     trouble, not the batch's.
/// A file that is named twice is one model, unless a manifest says so; of other names that would be
/// the same, each gets more of its path. Throws Error(kUsage).
std::vector<ListedModel> list_models(const std::vector<std::string>& arguments,
                                     const std::filesystem::path& output);

/// Which part of a batch this process does: every `count`-th model by name, from `index` on.
struct Shard {
  std::int64_t index = 1, count = 1;  ///< 1 <= index <= count
};
/// "2/4". Throws Error(kUsage).
Shard parse_shard(const std::string& text);
/// The shards of a list are disjoint, together they are the list.
std::vector<ListedModel> part_of(const std::vector<ListedModel>& models, const Shard& shard);

}  // namespace edgecompress
