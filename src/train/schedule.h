// Learning-rate schedules: a factor for every step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

struct ScheduleOptions {
  std::string name = "cosine";                   ///< constant, cosine, step, one_cycle
  double warm_up = 0.0;                          ///< share of the steps with a linear ramp, [0, 1)
  double gamma = 0.1;                            ///< step: factor at each milestone
  std::vector<double> milestones = {0.5, 0.75};  ///< step: shares of the training
  double peak = 0.3;                             ///< one_cycle: share of the steps before the top
};
Options<ScheduleOptions> schedule_options(const ScheduleOptions& defaults = {});

/// Factor of the base learning rate at `step` (0-based) of `total`. With w = floor(warm_up *
/// total):
///   step < w   (step + 1) / w
///   constant   1
///   cosine     (1 + cos(pi (step - w) / (total - w))) / 2   (Loshchilov & Hutter 2017, SGDR)
///   step       gamma ^ (number of milestones m with m * total <= step)
///   one_cycle  along a cosine from 1/25 up to 1 at step peak * total - 1, then down to 1/25e4 at
///              the last step; momentum stays (Smith & Topin 2018, "Super-Convergence")
double schedule_factor(const ScheduleOptions& options, std::int64_t step, std::int64_t total);

}  // namespace edgecompress
