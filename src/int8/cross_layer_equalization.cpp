#include "int8/cross_layer_equalization.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "channels/scale_flow.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostSweeps = 50;
constexpr double kSettled = 0.01;  // in logarithms of factors
constexpr double kNothing = -std::numeric_limits<double>::infinity();

using Cells = std::vector<std::int64_t>;  // by kernel; -1: fixed

/// The logarithm of the largest weight of each kernel, and the channels that it makes and reads.
struct Kernels {
  Cells outputs, inputs;
  std::vector<double> largest;

  /// Of the channels on one side, by cell, as `factors` scale them; kNothing where all is zero.
  std::vector<double> ranges(const Cells& side, const std::vector<double>& factors) const {
    const auto factor = [&](std::int64_t cell) {
      return cell < 0 ? 0 : factors[static_cast<std::size_t>(cell)];
    };
    std::vector<double> ranges(factors.size(), kNothing);
    for (std::size_t i = 0; i < side.size(); ++i) {
      if (side[i] < 0) continue;
      double& range = ranges[static_cast<std::size_t>(side[i])];
      range = std::max(range, largest[i] + factor(outputs[i]) - factor(inputs[i]));
    }
    return ranges;
  }
};

Cells to_cells(const at::Tensor& numbers) {
  const at::Tensor flat = numbers.flatten().contiguous();
  const auto* data = flat.data_ptr<std::int64_t>();
  return {data, data + flat.numel()};
}

Kernels kernels_of(const Model& model, ScaleFlow& flow, const ScaledWeight& scaled) {
  const at::Tensor weight = model.tensor(scaled.weight).detach().to(at::kDouble);
  const at::Tensor largest =
      weight.abs().reshape({weight.size(0), weight.size(1), -1}).amax(2).log().contiguous();
  const auto* data = largest.data_ptr<double>();
  return {to_cells(flow.free_cells(scaled.outputs)),
          to_cells(flow.free_cells(scaled.inputs)),
          {data, data + largest.numel()}};
}

/// Finds the factors, as logarithms, one weight's outputs after the other.
class Equalizer {
 public:
  Equalizer(const Model& model, ScaleFlow& flow) {
    for (const ScaledWeight& scaled : flow.weights)
      weights_.push_back(kernels_of(model, flow, scaled));
    factors_.resize(static_cast<std::size_t>(flow.free_count()), 0.0);
    find_neighbours();
  }

  /// Returns how many sweeps it took.
  std::int64_t settle() {
    for (std::int64_t sweep = 1; sweep <= kMostSweeps; ++sweep) {
      double moved = 0;
      for (std::size_t i = 0; i < weights_.size(); ++i) moved = std::max(moved, equalize(i));
      if (moved < kSettled) return sweep;
    }
    return kMostSweeps;
  }

  const std::vector<double>& factors() const { return factors_; }

 private:
  static constexpr std::size_t kNoOwner = std::numeric_limits<std::size_t>::max();

  void find_neighbours() {
    owner_.assign(factors_.size(), kNoOwner);
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      for (const std::int64_t cell : weights_[i].outputs) {
        if (cell >= 0 && owner_[static_cast<std::size_t>(cell)] == kNoOwner)
          owner_[static_cast<std::size_t>(cell)] = i;
      }
    }
    makers_.resize(weights_.size());
    readers_.resize(weights_.size());
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      note_owners(weights_[i].outputs, i, makers_);
      note_owners(weights_[i].inputs, i, readers_);
    }
  }

  void note_owners(const Cells& cells, std::size_t weight,
                   std::vector<std::vector<std::size_t>>& neighbours) const {
    for (const std::int64_t cell : cells) {
      if (cell < 0) continue;
      const std::size_t owner = owner_[static_cast<std::size_t>(cell)];
      if (owner == kNoOwner) continue;
      auto& known = neighbours[owner];
      if (known.empty() || known.back() != weight) known.push_back(weight);
    }
  }

  /// The channels that `weight` owns; returns by how much a factor moved at most.
  double equalize(std::size_t weight) {
    std::vector<double> sums(factors_.size(), 0.0);
    std::vector<int> made(factors_.size(), 0), read(factors_.size(), 0);
    const auto add = [&](const std::vector<double>& ranges, double sign, std::vector<int>& count) {
      for (std::size_t cell = 0; cell < ranges.size(); ++cell) {
        if (owner_[cell] != weight || ranges[cell] == kNothing) continue;
        sums[cell] += sign * ranges[cell];
        ++count[cell];
      }
    };
    for (const std::size_t i : makers_[weight])
      add(weights_[i].ranges(weights_[i].outputs, factors_), -1, made);
    for (const std::size_t i : readers_[weight])
      add(weights_[i].ranges(weights_[i].inputs, factors_), 1, read);
    double moved = 0;
    for (std::size_t cell = 0; cell < sums.size(); ++cell) {
      if (made[cell] == 0 || read[cell] == 0) continue;
      const double step = sums[cell] / (made[cell] + read[cell]);
      factors_[cell] += step;
      moved = std::max(moved, std::abs(step));
    }
    return moved;
  }

  std::vector<Kernels> weights_;
  std::vector<double> factors_;
  std::vector<std::size_t> owner_;  // of a cell: the first weight that makes it
  std::vector<std::vector<std::size_t>> makers_, readers_;  // of the cells that a weight owns
};

double spread_of(const at::Tensor& weight) {
  const at::Tensor ranges = weight.detach().abs().flatten(1).amax(1);
  const at::Tensor alive = ranges.masked_select(ranges > 0);
  return alive.numel() == 0 ? 1 : (alive.max() / alive.min()).item<double>();
}

}  // namespace

Equalization equalize_layers(Model& model) {
  ScaleFlow flow = find_scale_flow(model);
  Equalizer equalizer(model, flow);
  Equalization result;
  result.sweeps = equalizer.settle();
  const at::Tensor factors = at::tensor(equalizer.factors(), at::kDouble).exp();
  result.channels = factors.ne(1).sum().item<std::int64_t>();
  std::vector<std::pair<std::string, at::Tensor>> before;
  for (const ScaledWeight& scaled : flow.weights)
    before.emplace_back(scaled.weight, model.tensor(scaled.weight));
  scale_channels(model, flow, factors);
  for (const auto& [name, weight] : before) {
    const at::Tensor scaled = model.tensor(name);
    if (scaled.equal(weight)) continue;
    ++result.weights;
    result.spread_before = std::max(result.spread_before, spread_of(weight));
    result.spread_after = std::max(result.spread_after, spread_of(scaled));
  }
  return result;
}

}  // namespace edgecompress
