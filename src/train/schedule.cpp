#include "train/schedule.h"

#include <algorithm>
#include <cmath>

namespace edgecompress {

Options<ScheduleOptions> schedule_options(const ScheduleOptions& defaults) {
  Options<ScheduleOptions> o(defaults);
  o.add("name", &ScheduleOptions::name, "how the learning rate moves over the steps")
      .one_of({"constant", "cosine", "step"});
  o.add("warm_up", &ScheduleOptions::warm_up, "share of the steps with a linear ramp from 0")
      .at_least(0)
      .below(1);
  o.add("gamma", &ScheduleOptions::gamma, "step: factor at each milestone").above(0).at_most(1);
  o.add("milestones", &ScheduleOptions::milestones, "step: shares of the training, in [0, 1]")
      .at_least(0)
      .at_most(1);
  return o;
}

double schedule_factor(const ScheduleOptions& options, std::int64_t step, std::int64_t total) {
  const auto warm_up = static_cast<std::int64_t>(options.warm_up * static_cast<double>(total));
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up);
  if (options.name == "cosine") {
    const double share = static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up);
    return 0.5 * (1.0 + std::cos(std::acos(-1.0) * share));
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
