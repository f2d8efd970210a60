// Second moments of what layers are given, over calibration data.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "model/weight_matrix.h"
#include "util/progress.h"

namespace edgecompress {

enum class Moment {
  kSquares,  ///< sum of x_j^2: [groups, columns]
  kProducts  ///< X X^T: [groups, columns, columns]
};

struct MomentRequest {
  const PrunableWeight* weight;  ///< has_features()
  Moment moment;

  std::int64_t bytes() const;  ///< of the sums
};

/// Streams the calibration data through the network once and sums, in float64, over every position
/// (pixel, token, sample) that the layers of the weights see; see input_features(). Memory is that
/// of the sums, of one forward pass and of 64 MiB of unfolded inputs, whatever the size of the
/// data. By the weight's dotted name; a weight whose layers the data never reached is missing.
/// Throws Error(kData) if there is no calibration data or what a layer is given isn't finite.
std::map<std::string, at::Tensor> sum_input_moments(const Model& model,
                                                    const std::vector<MomentRequest>& requests,
                                                    const DataSets* data, Progress& progress);

}  // namespace edgecompress
