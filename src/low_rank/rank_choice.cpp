#include "low_rank/rank_choice.h"

#include <algorithm>

namespace edgecompress {
namespace {

/// What an option saves and does; the first corner of a hull, which does nothing, has none.
struct Corner {
  std::int64_t saved = 0;
  double damage = 0;
  const RankOption* option = nullptr;
};

struct HullStep {
  std::size_t layer;
  Corner to;
  double slope;  ///< damage for what is saved
};

double slope_between(const Corner& a, const Corner& b) {
  return (b.damage - a.damage) / static_cast<double>(b.saved - a.saved);
}

/// By what they save; of those that save the same, the one that does least.
std::vector<Corner> corners_of(const RankOptions& layer, std::int64_t LayerCost::*cost) {
  std::vector<Corner> corners(1);
  for (const RankOption& option : layer.options) {
    const std::int64_t saved = layer.as_it_is.*cost - option.cost.*cost;
    if (saved > 0) corners.push_back({saved, layer.damage * option.lost, &option});
  }
  std::stable_sort(corners.begin(), corners.end(), [](const Corner& a, const Corner& b) {
    return a.saved != b.saved ? a.saved < b.saved : a.damage < b.damage;
  });
  const auto is_same = [](const Corner& a, const Corner& b) { return a.saved == b.saved; };
  corners.erase(std::unique(corners.begin(), corners.end(), is_same), corners.end());
  return corners;
}

void add_hull(const std::vector<Corner>& corners, std::size_t layer, std::vector<HullStep>& steps) {
  std::vector<Corner> hull;
  for (const Corner& corner : corners) {
    while (hull.size() >= 2 && slope_between(hull[hull.size() - 2], hull.back()) >=
                                   slope_between(hull.back(), corner)) {
      hull.pop_back();
    }
    hull.push_back(corner);
  }
  for (std::size_t i = 1; i < hull.size(); ++i)
    steps.push_back({layer, hull[i], slope_between(hull[i - 1], hull[i])});
}

}  // namespace

RankChoice choose_within_budget(const std::vector<RankOptions>& layers,
                                std::int64_t LayerCost::*cost, std::int64_t budget) {
  std::vector<std::vector<Corner>> corners;
  std::vector<HullStep> steps;
  std::int64_t left_to_save = -budget;
  for (const RankOptions& layer : layers) {
    left_to_save += layer.as_it_is.*cost;
    corners.push_back(corners_of(layer, cost));
    add_hull(corners.back(), corners.size() - 1, steps);
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const HullStep& a, const HullStep& b) { return a.slope < b.slope; });
  std::vector<Corner> taken(layers.size());
  for (const HullStep& step : steps) {
    if (left_to_save <= 0) break;
    const std::int64_t before = left_to_save + taken[step.layer].saved;
    taken[step.layer] = step.to;
    left_to_save = before - step.to.saved;
    if (left_to_save > 0) continue;
    for (const Corner& corner : corners[step.layer]) {
      if (corner.saved >= before && corner.damage < taken[step.layer].damage)
        taken[step.layer] = corner;
    }
  }
  RankChoice choice;
  choice.is_met = left_to_save <= 0;
  for (const Corner& corner : taken) {
    choice.chosen.push_back(corner.option == nullptr ? std::nullopt
                                                     : std::optional(*corner.option));
  }
  return choice;
}

}  // namespace edgecompress
