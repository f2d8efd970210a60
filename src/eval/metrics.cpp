#include "eval/metrics.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>

#include "edgecompress/error.h"
#include "model/model.h"
#include "util/text.h"

namespace edgecompress {
namespace {

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

/// The sizes from dimension `first` on without those of 1: [n] fits [n, 1], and a pooled
/// [n, classes, 1, 1] is class scores.
std::vector<std::int64_t> significant_sizes(const at::Tensor& tensor, std::int64_t first) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t dim = first; dim < tensor.dim(); ++dim) {
    if (tensor.size(dim) != 1) sizes.push_back(tensor.size(dim));
  }
  return sizes;
}

/// Class scores and labels, one row a labelled position.
struct ClassRows {
  at::Tensor scores;  ///< [rows, classes], float32 or float64
  at::Tensor labels;  ///< [rows], int64
  std::int64_t classes = 0;
};

void check_labels(const at::Tensor& labels, std::int64_t classes, const BatchOrigin& origin) {
  const at::Tensor outside = (labels < 0).logical_or(labels >= classes).nonzero();
  if (outside.size(0) == 0) return;
  const auto row = outside[0][0].item<std::int64_t>();
  const std::int64_t rows_per_sample = labels.numel() / origin.size;
  throw Error(ExitCode::kData,
              fmt::format("{}: sample {} has label {}, but the model's output has {} classes "
                          "(labels 0 to {})",
                          origin.data, origin.first + row / rows_per_sample,
                          labels[row].item<std::int64_t>(), classes, classes - 1),
              "labels count from 0; check the target's key or column, or use a model with enough "
              "classes");
}

ClassRows class_rows(const at::Tensor& output, const at::Tensor& target,
                     const BatchOrigin& origin) {
  const bool is_integral = at::isIntegralType(target.scalar_type(), /*includeBool=*/true);
  const bool fits = is_integral && output.dim() >= 2 && target.dim() >= 1 &&
                    output.size(0) == origin.size && target.size(0) == origin.size &&
                    significant_sizes(output, 2) == significant_sizes(target, 1);
  if (!fits) {
    throw Error(
        ExitCode::kData,
        fmt::format("{}: output {} and target {} of {} do not fit a class metric, which takes "
                    "scores [n, classes] and integer labels [n]",
                    origin.data, shape_text(output), shape_text(target),
                    dtype_name(target.scalar_type())),
        "choose a metric that fits the task: mse and mae compare numbers");
  }
  ClassRows rows;
  rows.classes = output.size(1);
  rows.labels = target.reshape(-1).to(at::kLong);
  check_labels(rows.labels, rows.classes, origin);
  rows.scores = output.movedim(1, -1).reshape({-1, rows.classes});
  if (rows.scores.scalar_type() != at::kDouble) rows.scores = rows.scores.to(at::kFloat);
  return rows;
}

/// Share of rows whose label is among the `k` highest scores. Of equal scores the lower class comes
/// first, so that a constant output is right for one class, not for all.
class TopK : public Metric {
 public:
  explicit TopK(std::int64_t k) : k_(k) {}

  void add(const at::Tensor& output, const at::Tensor& target, const BatchOrigin& origin) override {
    const ClassRows rows = class_rows(output, target, origin);
    if (rows.classes < k_) {
      throw Error(ExitCode::kData,
                  fmt::format("{}: top{} needs at least {} classes, but the model's output has {}",
                              origin.data, k_, k_, rows.classes),
                  "use the metric top1");
    }
    const at::Tensor labels = rows.labels.unsqueeze(1);
    const at::Tensor own = rows.scores.gather(1, labels);
    const at::Tensor is_lower_class = at::arange(rows.classes).unsqueeze(0) < labels;
    const at::Tensor is_ahead =
        (rows.scores > own).logical_or((rows.scores == own).logical_and(is_lower_class));
    correct_ += (is_ahead.sum(1) < k_).sum().item<std::int64_t>();
    rows_ += rows.labels.numel();
  }
  double value() const override { return rows_ == 0 ? 0.0 : double(correct_) / double(rows_); }
  std::optional<std::int64_t> correct() const override { return correct_; }

 private:
  std::int64_t k_;
  std::int64_t correct_ = 0;
  std::int64_t rows_ = 0;
};

/// Mean of the classes' F1 = 2 tp / (2 tp + fp + fn), over classes that occur as a label or as a
/// prediction.
class MacroF1 : public Metric {
 public:
  void add(const at::Tensor& output, const at::Tensor& target, const BatchOrigin& origin) override {
    const ClassRows rows = class_rows(output, target, origin);
    const at::Tensor predicted = rows.scores.argmax(1);
    const auto count = [&](const at::Tensor& classes) {
      return classes.bincount(/*weights=*/{}, /*minlength=*/rows.classes);
    };
    const at::Tensor hits = rows.labels.masked_select(predicted == rows.labels);
    if (!labelled_.defined()) labelled_ = predicted_ = hits_ = at::zeros({rows.classes}, at::kLong);
    labelled_ = labelled_ + count(rows.labels);
    predicted_ = predicted_ + count(predicted);
    hits_ = hits_ + count(hits);
  }
  double value() const override {
    if (!labelled_.defined()) return 0.0;
    // tp + fn = labelled and tp + fp = predicted.
    const at::Tensor present = labelled_ + predicted_;
    const at::Tensor f1 = 2.0 * hits_.to(at::kDouble) / present.to(at::kDouble);
    return f1.masked_select(present > 0).mean().item<double>();
  }

 private:
  at::Tensor labelled_, predicted_, hits_;  // [classes]
};

/// Mean over all elements of |output - target| to the power of 1 (mae) or 2 (mse), in float64.
class MeanError : public Metric {
 public:
  explicit MeanError(int power) : power_(power) {}

  void add(const at::Tensor& output, const at::Tensor& target, const BatchOrigin& origin) override {
    if (output.dim() < 1 || target.dim() < 1 || output.size(0) != target.size(0) ||
        significant_sizes(output, 1) != significant_sizes(target, 1)) {
      throw Error(ExitCode::kData,
                  fmt::format("{}: output {} and target {} differ in shape", origin.data,
                              shape_text(output), shape_text(target)),
                  "mse and mae compare each number of the output with one of the target; class "
                  "labels need top1, top5 or f1");
    }
    const at::Tensor error =
        (output.reshape(-1).to(at::kDouble) - target.reshape(-1).to(at::kDouble)).abs();
    total_ += error.pow(power_).sum().item<double>();
    elements_ += error.numel();
  }
  double value() const override { return elements_ == 0 ? 0.0 : total_ / double(elements_); }

 private:
  int power_;
  double total_ = 0;
  std::int64_t elements_ = 0;
};

}  // namespace

const std::vector<MetricInfo>& metric_table() {
  static const std::vector<MetricInfo> table = {
      {"top1", true, true, [] { return std::unique_ptr<Metric>(new TopK(1)); }},
      {"top5", true, true, [] { return std::unique_ptr<Metric>(new TopK(5)); }},
      {"f1", true, true, [] { return std::unique_ptr<Metric>(new MacroF1); }},
      {"mse", false, false, [] { return std::unique_ptr<Metric>(new MeanError(2)); }},
      {"mae", false, false, [] { return std::unique_ptr<Metric>(new MeanError(1)); }},
  };
  return table;
}

const MetricInfo& find_metric(const std::string& name) {
  std::vector<std::string> names;
  for (const MetricInfo& info : metric_table()) {
    if (name == info.name) return info;
    names.push_back(info.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw Error(ExitCode::kRecipe,
              fmt::format("unknown metric \"{}\"; known are {}", name, join(names, ", ")),
              nearest.empty() ? "" : fmt::format("did you mean \"{}\"?", nearest));
}

}  // namespace edgecompress
