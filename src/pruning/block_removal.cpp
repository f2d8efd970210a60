#include "pruning/block_removal.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "channels/residual_blocks.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostSamples = 512;

bool is_open(const ResidualBlock& block, const LayerFilter& included, const LayerFilter& excluded) {
  const auto accepted_by = [](const LayerFilter& filter) {
    return [&](const std::string& layer) { return filter.accepts(layer); };
  };
  return std::any_of(block.layers.begin(), block.layers.end(), accepted_by(included)) &&
         std::all_of(block.layers.begin(), block.layers.end(), accepted_by(excluded));
}

/// Streams samples through the network; returns what they were.
std::string measure(const Model& model, BlockInfluence& influence, const DataSets* data,
                    Progress& progress) {
  const c10::InferenceMode inference;
  if (data == nullptr || !data->calibration || data->calibration->size() == 0) {
    influence.observe(model.example_inputs(0));
    return "random example inputs, for want of calibration data";
  }
  const std::int64_t samples = std::min(data->calibration->size(), kMostSamples);
  progress.begin("block influence", samples);
  Loader loader(data->calibration, data->calibration_batch);
  std::int64_t seen = 0;
  for (Batch batch; seen < samples && loader.next(batch); seen += batch.size) {
    influence.observe(batch.inputs);
    progress.advance(batch.size);
  }
  progress.end();
  return fmt::format("{} calibration samples", seen);
}

/// The indices of the `count` smallest, the first of equals first.
std::vector<std::size_t> smallest(const std::vector<double>& values, std::size_t count) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  order.resize(std::min(count, order.size()));
  return order;
}

}  // namespace

std::int64_t BlockRemoval::removed() const {
  return std::count_if(blocks.begin(), blocks.end(),
                       [](const Block& block) { return block.is_removed; });
}

BlockRemoval remove_blocks(Model& model, double depth, const LayerFilter& included,
                           const LayerFilter& excluded, const DataSets* data, Progress& progress) {
  std::vector<ResidualBlock> found = find_residual_blocks(model);
  found.erase(std::remove_if(
                  found.begin(), found.end(),
                  [&](const ResidualBlock& block) { return !is_open(block, included, excluded); }),
              found.end());
  BlockRemoval removal;
  if (found.empty()) return removal;
  BlockInfluence influence(model, found);
  removal.measured_on = measure(model, influence, data, progress);
  const std::vector<double> influences = influence.result();
  for (std::size_t i = 0; i < found.size(); ++i)
    removal.blocks.push_back({found[i].name, influences[i], false});

  const double count = depth < 1 ? depth * static_cast<double>(found.size()) : depth;
  std::vector<ResidualBlock> removed;
  for (const std::size_t i : smallest(influences, static_cast<std::size_t>(std::llround(count)))) {
    removal.blocks[i].is_removed = true;
    removed.push_back(found[i]);
  }
  if (!removed.empty()) remove_residual_blocks(model, removed);
  return removal;
}

}  // namespace edgecompress
