#include "pruning/sparsity_allocation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "pruning/damage_meter.h"
#include "train/input_moments.h"

namespace edgecompress {
namespace {

constexpr std::size_t kCurvePoints = 33;
constexpr std::int64_t kSensitivitySamples = 64;

double share_of_count(std::int64_t count, std::int64_t size) {
  return size == 0 ? 0 : static_cast<double>(count) / static_cast<double>(size);
}

/// A layer as its pruning alone is tried out.
class Candidate {
 public:
  Candidate(const PrunableWeight& weight, const at::Tensor& original, const at::Tensor& squares,
            const WeightPruning& pruning)
      : weight_(weight),
        pruning_(pruning),
        dtype_(original.scalar_type()),
        matrix_(weight.to_matrix(original)),
        squares_(squares) {}

  at::Tensor pruned(double share) const {
    return weight_.from_matrix(pruned_matrix(share)).to(dtype_);
  }
  double removed_energy(double share) const {
    return prune_scores(weight_, matrix_, squares_)
        .masked_select(pruned_matrix(share) == 0)
        .square()
        .sum(at::kDouble)
        .item<double>();
  }

 private:
  at::Tensor pruned_matrix(double share) const {
    return pruning_.prune(weight_, matrix_, share, squares_);
  }

  const PrunableWeight& weight_;
  const WeightPruning& pruning_;
  at::ScalarType dtype_;
  at::Tensor matrix_, squares_;
};

/// Removed energy and damage at one share.
struct DamagePoint {
  double energy = 0, damage = 0;
};

/// The formula above; `points` by rising share, their damages made to rise with it.
double damage_at(double energy, const std::vector<DamagePoint>& points) {
  const DamagePoint& first = points.front();
  if (energy <= first.energy || points.size() == 1)
    return first.energy > 0 ? first.damage * energy / first.energy : 0;
  std::size_t b = 1;
  while (b + 1 < points.size() && energy > points[b].energy) ++b;
  const DamagePoint &left = points[b - 1], &right = points[b];
  if (left.damage <= 0 || left.energy <= 0 || right.energy <= left.energy) return right.damage;
  const double power = std::log(right.damage / left.damage) / std::log(right.energy / left.energy);
  return left.damage * std::pow(energy / left.energy, power);
}

DamageCurve predict_damage(const Candidate& candidate, std::int64_t size,
                           const std::vector<double>& shares, const std::vector<double>& measured) {
  std::vector<DamagePoint> points;
  double worst = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    worst = std::max(worst, measured[i]);
    points.push_back({candidate.removed_energy(shares[i]), worst});
  }
  DamageCurve curve{size, shares.back(), {}};
  for (std::size_t i = 0; i < kCurvePoints; ++i) {
    const double share =
        shares.back() * static_cast<double>(i) / static_cast<double>(kCurvePoints - 1);
    curve.damage.push_back(damage_at(candidate.removed_energy(share), points));
  }
  return curve;
}

/// A straight piece of a curve's lower convex hull.
struct HullSegment {
  std::size_t curve;
  std::int64_t weights;
  double slope;  ///< damage per weight
};

std::vector<HullSegment> hull_of(const DamageCurve& curve, std::size_t index) {
  const std::vector<double>& damage = curve.damage;
  std::vector<std::size_t> corners;
  const auto slope = [&](std::size_t a, std::size_t b) {
    return (damage[b] - damage[a]) / static_cast<double>(b - a);
  };
  for (std::size_t i = 0; i < damage.size(); ++i) {
    while (corners.size() >= 2 &&
           slope(corners[corners.size() - 2], corners.back()) >= slope(corners.back(), i)) {
      corners.pop_back();
    }
    corners.push_back(i);
  }
  const auto count = [&](std::size_t i) {
    return std::llround(curve.largest_share * static_cast<double>(curve.size) *
                        static_cast<double>(i) / static_cast<double>(damage.size() - 1));
  };
  std::vector<HullSegment> segments;
  for (std::size_t i = 1; i < corners.size(); ++i) {
    const std::int64_t weights = count(corners[i]) - count(corners[i - 1]);
    if (weights == 0) continue;
    const double rise = damage[corners[i]] - damage[corners[i - 1]];
    segments.push_back({index, weights, rise / static_cast<double>(weights)});
  }
  return segments;
}

/// The part `way` of the way from the uniform share to `shares`, in whole weights.
std::vector<double> blend(const std::vector<PrunableWeight>& weights, double uniform,
                          const std::vector<double>& shares, double way) {
  std::vector<double> result;
  double due = 0;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t size = weights[i].size();
    due += ((1 - way) * uniform + way * shares[i]) * static_cast<double>(size);
    const std::int64_t count = std::min(std::llround(due) - given, static_cast<long long>(size));
    given += count;
    result.push_back(share_of_count(count, size));
  }
  return result;
}

}  // namespace

std::vector<double> threshold_shares(const Model& model, const std::vector<PrunableWeight>& weights,
                                     double threshold) {
  std::vector<double> shares;
  for (const PrunableWeight& weight : weights) {
    const at::Tensor below = model.tensor(weight.weight).detach().abs().lt(threshold);
    shares.push_back(share_of_count(below.sum().item<std::int64_t>(), weight.size()));
  }
  return shares;
}

std::vector<double> global_shares(const Model& model, const std::vector<PrunableWeight>& weights,
                                  double share) {
  std::vector<at::Tensor> all;
  for (const PrunableWeight& weight : weights)
    all.push_back(model.tensor(weight.weight).detach().to(at::kFloat).abs().flatten());
  if (all.empty()) return {};
  const at::Tensor mask =
      prune_mask(at::cat(all).unsqueeze(0), share, {}, RankedWithin::kMatrix, 1);
  std::vector<double> shares;
  std::int64_t first = 0;
  for (const PrunableWeight& weight : weights) {
    const at::Tensor part = mask[0].slice(0, first, first + weight.size());
    shares.push_back(share_of_count(part.sum().item<std::int64_t>(), weight.size()));
    first += weight.size();
  }
  return shares;
}

std::vector<double> allocate_shares(const std::vector<DamageCurve>& curves, double share) {
  std::vector<HullSegment> segments;
  double all = 0;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const std::vector<HullSegment> own = hull_of(curves[i], i);
    segments.insert(segments.end(), own.begin(), own.end());
    all += static_cast<double>(curves[i].size);
  }
  std::stable_sort(segments.begin(), segments.end(),
                   [](const HullSegment& a, const HullSegment& b) { return a.slope < b.slope; });
  std::vector<std::int64_t> counts(curves.size(), 0);
  std::int64_t left = std::llround(share * all);
  for (const HullSegment& segment : segments) {
    const std::int64_t taken = std::min(segment.weights, left);
    counts[segment.curve] += taken;
    left -= taken;
  }
  std::vector<double> shares;
  for (std::size_t i = 0; i < curves.size(); ++i)
    shares.push_back(share_of_count(counts[i], curves[i].size));
  return shares;
}

SensitivityAllocation allocate_by_sensitivity(Model& model,
                                              const std::vector<PrunableWeight>& weights,
                                              double share, const WeightPruning& pruning,
                                              const DataSets* data, Progress& progress) {
  std::vector<MomentRequest> requests;
  for (const PrunableWeight& weight : weights) {
    if (weight.has_features() && pruning.criterion != PruneCriterion::kMagnitude)
      requests.push_back({&weight, Moment::kSquares});
  }
  std::map<std::string, at::Tensor> squares = sum_input_moments(model, requests, data, progress);
  DamageMeter meter(model, *data, kSensitivitySamples);
  const std::vector<double> tried = {share / 2, share, (1 + share) / 2};
  SensitivityAllocation result;
  std::vector<DamageCurve> curves;
  const auto candidate_of = [&](const PrunableWeight& weight) {
    return Candidate(weight, model.tensor(weight.weight).detach(), squares[weight.weight], pruning);
  };
  progress.begin("sensitivity", static_cast<std::int64_t>(weights.size()));
  for (const PrunableWeight& weight : weights) {
    const Candidate candidate = candidate_of(weight);
    std::vector<double>& measured = result.measured.emplace_back();
    for (const double tried_share : tried)
      measured.push_back(meter.damage({{weight.weight, candidate.pruned(tried_share)}}));
    curves.push_back(predict_damage(candidate, weight.size(), tried, measured));
    progress.advance();
  }
  progress.end();

  const auto damage_of = [&](const std::vector<double>& shares) {
    std::map<std::string, at::Tensor> pruned;
    for (std::size_t i = 0; i < weights.size(); ++i)
      pruned[weights[i].weight] = candidate_of(weights[i]).pruned(shares[i]);
    return meter.damage(pruned);
  };
  const std::vector<double> cheapest = allocate_shares(curves, share);
  result.shares.assign(weights.size(), share);
  result.damage = result.uniform_damage = damage_of(result.shares);
  for (const double way : {0.25, 0.5, 0.75, 1.0}) {
    const std::vector<double> shares = blend(weights, share, cheapest, way);
    const double damage = damage_of(shares);
    if (damage >= result.damage) continue;
    result.damage = damage;
    result.way = way;
    result.shares = shares;
  }
  return result;
}

}  // namespace edgecompress
