#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "data/errors.h"
#include "data/source.h"
#include "data/views.h"
#include "edgecompress/error.h"

namespace edgecompress {
namespace {

/// Enough for stable observers, few enough to be quick.
constexpr std::int64_t kDefaultCalibrationSamples = 256;

/// Some samples of a source, in ascending order so that files are read forwards.
struct Share {
  std::shared_ptr<const Dataset> source;
  std::vector<std::int64_t> indices;
};

/// The sets of a recipe and how they hang together. A set's *pool* is what `source` or `from`,
/// `split` and `limit` give it; what other sets split off is taken out of the pool.
class SetFamily {
 public:
  SetFamily(std::map<std::string, DatasetSpec> specs, std::filesystem::path base,
            std::uint64_t seed, std::string pointer)
      : specs_(std::move(specs)),
        base_(std::move(base)),
        seed_(seed),
        pointer_(std::move(pointer)) {}

  std::shared_ptr<const Dataset> open(const std::string& name, bool is_training);

 private:
  std::string pointer_to(const std::string& name, const std::string& key) const {
    return pointer_.empty() ? "/" + key : pointer_ + "/" + name + "/" + key;
  }
  const Share& pool(const std::string& name);
  Share open_source(const std::string& name) const;
  /// What set `child` splits off its parent; empty child: what all splits leave.
  Share split(const std::string& parent, const std::string& child);
  void apply_limit(const std::string& name, Share& share) const;
  std::vector<Transform> transforms(const std::string& name, bool is_training) const;

  std::map<std::string, DatasetSpec> specs_;
  std::filesystem::path base_;
  std::uint64_t seed_;
  std::string pointer_;
  std::map<std::string, Share> pools_;
  std::set<std::string> being_opened_;
};

std::shared_ptr<const Dataset> SetFamily::open(const std::string& name, bool is_training) {
  pool(name);
  auto share = split(name, "");
  auto set = share.source;
  if (static_cast<std::int64_t>(share.indices.size()) != set->size())
    set = std::make_shared<SubsetDataset>(set, std::move(share.indices));
  auto list = transforms(name, is_training);
  if (list.empty()) return set;
  return std::make_shared<TransformedDataset>(set, std::move(list), "data set '" + name + "'");
}

const Share& SetFamily::pool(const std::string& name) {
  if (const auto known = pools_.find(name); known != pools_.end()) return known->second;
  const auto& spec = specs_.at(name);
  Share share;
  if (spec.from.empty()) {
    share = open_source(name);
  } else {
    if (specs_.count(spec.from) == 0)
      recipe_error(pointer_to(name, "from"), fmt::format("there is no data set '{}'", spec.from));
    if (!being_opened_.insert(name).second)
      recipe_error(
          pointer_to(name, "from"),
          fmt::format("data sets are taken from each other in a circle through '{}'", name));
    pool(spec.from);
    share = split(spec.from, spec.split ? name : "");
  }
  apply_limit(name, share);
  return pools_[name] = std::move(share);
}

Share SetFamily::open_source(const std::string& name) const {
  const auto& spec = specs_.at(name);
  const std::string pointer = pointer_to(name, "source");
  const auto& source = find_source(spec.source, pointer);
  if (source.needs_path && spec.path.empty())
    recipe_error(pointer_to(name, "path"), fmt::format("source '{}' needs a path", source.name));
  Share share;
  share.source = source.open({base_ / spec.path, spec.inputs, spec.target,
                              source.options.resolve(spec.options, pointer_to(name, "options"))});
  if (share.source->size() == 0)
    throw Error(ExitCode::kData, fmt::format("data set '{}' ({}) has no samples", name, spec.path));
  if (!spec.map_labels.empty())
    share.source = std::make_shared<MappedLabelsDataset>(share.source, spec.map_labels,
                                                         "data set '" + name + "'");
  share.indices.resize(share.source->size());
  std::iota(share.indices.begin(), share.indices.end(), 0);
  return share;
}

Share SetFamily::split(const std::string& parent, const std::string& child) {
  const auto& whole = pools_.at(parent);
  const auto size = static_cast<std::int64_t>(whole.indices.size());
  const auto order = Random(derive_seed(seed_, "split " + parent)).permutation(size);
  // The splits lie one after the other in one seeded order; what follows the last is left.
  std::int64_t first = 0, last = 0;
  bool is_found = false;
  for (const auto& [name, spec] : specs_) {
    if (spec.from != parent || !spec.split) continue;
    const auto count = std::llround(*spec.split * static_cast<double>(size));
    if (count == 0 || last + count >= size)
      recipe_error(pointer_to(name, "split"),
                   fmt::format("{} of the {} samples of '{}' leaves an empty set", *spec.split,
                               size, parent));
    first = last;
    last += count;
    if (name == child) {
      is_found = true;
      break;
    }
  }
  if (!is_found) {
    first = last;
    last = size;
  }
  Share share{whole.source, {}};
  for (auto i = first; i < last; ++i) share.indices.push_back(whole.indices[order[i]]);
  std::sort(share.indices.begin(), share.indices.end());
  return share;
}

void SetFamily::apply_limit(const std::string& name, Share& share) const {
  const auto& limit = specs_.at(name).limit;
  const auto size = static_cast<std::int64_t>(share.indices.size());
  if (!limit || *limit >= size) return;
  const auto order = Random(derive_seed(seed_, "limit " + name)).permutation(size);
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < *limit; ++i) kept.push_back(share.indices[order[i]]);
  std::sort(kept.begin(), kept.end());
  share.indices = std::move(kept);
}

std::vector<Transform> SetFamily::transforms(const std::string& name, bool is_training) const {
  auto owner = name;
  while (specs_.at(owner).transforms.empty() && !specs_.at(owner).from.empty())
    owner = specs_.at(owner).from;
  auto list = parse_transforms(specs_.at(owner).transforms, pointer_to(owner, "transforms"));
  if (!is_training || !specs_.at(name).augment)
    list.erase(
        std::remove_if(list.begin(), list.end(),
                       [](const Transform& transform) { return transform.is_training_only; }),
        list.end());
  return list;
}

void add_default_calibration(std::map<std::string, DatasetSpec>& specs) {
  const std::string from = specs.count("train") ? "train" : "validation";
  if (specs.count(from) == 0) return;
  DatasetSpec spec;
  spec.from = from;
  spec.limit = kDefaultCalibrationSamples;
  spec.batch_size = specs.at(from).batch_size;
  specs["calibration"] = spec;
}

}  // namespace

DataSets open_data(const Recipe& recipe) {
  auto specs = recipe.data;
  const bool is_calibration_given = specs.count("calibration") != 0;
  if (!is_calibration_given) add_default_calibration(specs);
  SetFamily family(specs, recipe.base, recipe.seed, "/data");

  DataSets sets;
  const auto open = [&](const std::string& name, std::shared_ptr<const Dataset>& set,
                        std::int64_t& batch) {
    const auto spec = specs.find(name);
    if (spec == specs.end()) return;
    set = family.open(name, /*is_training=*/name == "train");
    batch = spec->second.batch_size;
  };
  open("train", sets.train, sets.train_batch);
  open("calibration", sets.calibration, sets.calibration_batch);
  open("validation", sets.validation, sets.validation_batch);
  open("test", sets.test, sets.test_batch);
  if (sets.calibration && !is_calibration_given)
    sets.calibration = std::make_shared<UnlabelledDataset>(sets.calibration);

  if (!sets.validation && sets.test)
    sets.notes.push_back(
        "no validation set: choices are made on test, so its score is no independent last word");
  if (!sets.validation && !sets.test && sets.train)
    sets.notes.push_back("no validation or test set: choices are made on train");
  return sets;
}

std::shared_ptr<const Dataset> open_dataset(const DatasetSpec& spec,
                                            const std::filesystem::path& base, std::uint64_t seed,
                                            bool is_training) {
  if (!spec.from.empty())
    recipe_error("/from", "a set on its own can't be taken from another",
                 "give its source and path");
  return SetFamily({{"data", spec}}, base, seed, "").open("data", is_training);
}

std::shared_ptr<const Dataset> DataSets::for_choices() const {
  return validation ? validation : test ? test : train;
}

std::int64_t DataSets::for_choices_batch() const {
  return validation ? validation_batch : test ? test_batch : train_batch;
}

std::string DataSets::for_choices_name() const {
  return validation ? "validation" : test ? "test" : train ? "train" : "";
}

}  // namespace edgecompress
