#include "quantization/weight_only_quantization.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <utility>

#include "train/input_moments.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostBytesOfSums = std::int64_t{1} << 30;

/// Rounded weights by name: by GPTQ those whose inputs the data tells of.
class GptqRounding {
 public:
  GptqRounding(const Model& model, const WeightOnlyOptions& options, const DataSets& data,
               Progress& progress)
      : model_(model), options_(options), data_(data), progress_(progress) {}

  std::map<std::string, at::Tensor> run(const std::vector<WeightOnlyTarget>& targets) {
    std::set<std::string> wanted;
    for (const WeightOnlyTarget& target : targets) {
      if (target.is_linear) wanted.insert(target.weight);
    }
    const auto all = find_prunable_weights(model_, LayerFilter({}, {}));
    std::vector<MomentRequest> requests;
    std::int64_t bytes = 0;
    for (const PrunableWeight& weight : all) {
      const MomentRequest request{&weight, Moment::kProducts};
      if (wanted.count(weight.weight) == 0 || !weight.has_features() ||
          request.bytes() > kMostBytesOfSums)
        continue;
      if (bytes + request.bytes() > kMostBytesOfSums) {
        round(requests);
        requests.clear();
        bytes = 0;
      }
      requests.push_back(request);
      bytes += request.bytes();
    }
    round(requests);
    return std::move(rounded_);
  }

 private:
  void round(const std::vector<MomentRequest>& requests) {
    for (const auto& [name, products] : sum_input_moments(model_, requests, &data_, progress_)) {
      const at::Tensor weight = model_.tensor(name).detach();
      rounded_[name] =
          round_with_compensation(weight, products, weight_only_grid(weight, options_));
    }
  }

  const Model& model_;
  const WeightOnlyOptions& options_;
  const DataSets& data_;
  Progress& progress_;
  std::map<std::string, at::Tensor> rounded_;
};

}  // namespace

Options<WeightOnlyOptions> weight_only_options() {
  using T = WeightOnlyOptions;
  Options<T> options;
  options
      .add("bits", &T::bits,
           "8, or 4 (two numbers in a byte) for the weights of linear layers and "
           "embeddings; activations stay float, weights are made float again in each run")
      .at_least(4)
      .at_most(8)
      .only_with("mode", {"weight_only"});
  options
      .add("group_size", &T::group_size,
           "how many columns of a row share a scale at most; 0: the whole row")
      .at_least(0)
      .only_with("mode", {"weight_only"});
  options.add("smallest_size", &T::smallest_size, "weights of fewer numbers stay float")
      .at_least(0)
      .only_with("mode", {"weight_only"});
  return options;
}

WeightOnlyResult quantize_weights_only(Model& model, const LayerFilter& filter,
                                       const WeightOnlyOptions& options, const DataSets* data,
                                       Progress& progress) {
  const at::NoGradGuard no_grad;
  WeightOnlyTargets found = find_weight_only_targets(model, filter, options);
  std::map<std::string, at::Tensor> rounded;
  if (data != nullptr) rounded = GptqRounding(model, options, *data, progress).run(found.targets);
  WeightOnlyResult result;
  for (const WeightOnlyTarget& target : found.targets) {
    const at::Tensor weight = model.tensor(target.weight).detach();
    const RoundingGrid grid = weight_only_grid(weight, options);
    const auto known = rounded.find(target.weight);
    const bool is_gptq = known != rounded.end();
    const at::Tensor q = is_gptq ? known->second : round_to_nearest(weight, grid);
    result.bytes_before += static_cast<std::int64_t>(weight.nbytes());
    result.bytes_after += store_weight_only(model, target, q, grid, options.bits);
    result.layers.push_back({target.layer,
                             true,
                             "weights alone, " + std::to_string(options.bits) +
                                 " bits, groups of " + std::to_string(grid.group_size) +
                                 (is_gptq ? ", rounded by GPTQ" : ", rounded to nearest"),
                             {},
                             nullptr});
  }
  result.layers.insert(result.layers.end(), found.float_layers.begin(), found.float_layers.end());
  return result;
}

}  // namespace edgecompress
