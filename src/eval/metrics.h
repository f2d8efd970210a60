// The metrics by which a model's outputs are scored against labels: one small class each, fed batch
// by batch, so that memory does not grow with the set.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace edgecompress {

/// Where a batch comes from, for messages: samples [first, first + size) of the set `data`.
struct BatchOrigin {
  std::string data;  ///< "validation"
  std::int64_t first = 0;
  std::int64_t size = 0;
};

class Metric {
 public:
  virtual ~Metric() = default;
  /// `output`: the model's first output. Class metrics take scores [n, classes] with int64 targets
  /// [n], or dense ones [n, classes, d...] with [n, d...], where every position counts alike.
  /// Errors (mse, mae) take tensors of one shape, sizes of 1 aside.
  /// Throws Error(kData) for a target out of range or a shape that does not fit.
  virtual void add(const at::Tensor& output, const at::Tensor& target,
                   const BatchOrigin& origin) = 0;
  virtual double value() const = 0;
  /// Of metrics that count right samples: how many were.
  virtual std::optional<std::int64_t> correct() const { return std::nullopt; }
};

struct MetricInfo {
  const char* name;
  bool higher_is_better;
  bool wants_classes;  ///< targets are class ids, the output holds a score for each class
  std::unique_ptr<Metric> (*make)();
};

const std::vector<MetricInfo>& metric_table();
/// Throws Error(kRecipe) naming the nearest known metric.
const MetricInfo& find_metric(const std::string& name);

}  // namespace edgecompress
