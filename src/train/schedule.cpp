#include "train/schedule.h"

#include <algorithm>
#include <cmath>

namespace edgecompress {

Options<ScheduleOptions> schedule_options(const ScheduleOptions& defaults) {
  Options<ScheduleOptions> o(defaults);
  o.add("name", &ScheduleOptions::name, "how the learning rate moves over the steps")
      .one_of({"constant", "cosine", "step", "one_cycle"});
  o.add("warm_up", &ScheduleOptions::warm_up, "share of the steps with a linear ramp from 0")
      .at_least(0)
      .below(1)
      .only_with("name", {"constant", "cosine", "step"});
  o.add("gamma", &ScheduleOptions::gamma, "factor at each milestone")
      .above(0)
      .at_most(1)
      .only_with("name", {"step"});
  o.add("milestones", &ScheduleOptions::milestones, "shares of the training")
      .at_least(0)
      .at_most(1)
      .only_with("name", {"step"});
  o.add("peak", &ScheduleOptions::peak, "share of the steps on the way up")
      .above(0)
      .below(1)
      .only_with("name", {"one_cycle"});
  return o;
}

namespace {

/// From `start` to `end` along half a cosine; `share` of the way, in [0, 1].
double between(double start, double end, double share) {
  return end + (start - end) / 2 * (1 + std::cos(std::acos(-1.0) * share));
}

double one_cycle(double peak, double step, double total) {
  if (total <= 1) return 1;
  const double top = std::max(peak * total - 1, 0.0);
  if (step < top) return between(1 / 25.0, 1, step / top);
  return between(1, 1 / 25e4, (step - top) / (total - 1 - top));
}

}  // namespace

double schedule_factor(const ScheduleOptions& options, std::int64_t step, std::int64_t total) {
  if (options.name == "one_cycle") {
    return one_cycle(options.peak, static_cast<double>(step), static_cast<double>(total));
  }
  const auto warm_up = static_cast<std::int64_t>(options.warm_up * static_cast<double>(total));
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up);
  if (options.name == "cosine") {
    const double share = static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up);
    return between(1, 0, share);
  }
  if (options.name == "step") {
    const auto passed =
        std::count_if(options.milestones.begin(), options.milestones.end(),
                      [&](double share) { return share * static_cast<double>(total) <= step; });
    return std::pow(options.gamma, static_cast<double>(passed));
  }
  return 1.0;
}

}  // namespace edgecompress
