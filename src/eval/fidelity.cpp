// How near a model's outputs are to those of a reference on the same inputs.
//   cosine   mean over samples of <a, b> / (|a| |b|), all outputs of a sample taken as one vector
//   SQNR     10 log10(sum of reference^2 / sum of (output - reference)^2), over the whole set
// Everything is summed in float64.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "edgecompress/error.h"
#include "eval/checked_forward.h"
#include "eval/evaluate.h"
#include "eval/reference_outputs.h"
#include "eval/sqnr.h"

namespace edgecompress {
namespace {

/// One row a sample, float64. The batch is the first dimension of that size (recurrent states have
/// it second); a tensor that does not know the batch is the same for every sample.
at::Tensor rows_of(const at::Tensor& output, std::int64_t samples) {
  const at::Tensor values = output.to(at::kDouble);
  for (std::int64_t dim = 0; dim < values.dim(); ++dim) {
    if (values.size(dim) == samples) return values.movedim(dim, 0).reshape({samples, -1});
  }
  return values.reshape({1, -1}).expand({samples, -1});
}

at::Tensor rows_of(const std::vector<at::Tensor>& outputs, std::int64_t samples) {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& output : outputs) rows.push_back(rows_of(output, samples));
  return at::cat(rows, 1);
}

class FidelitySums {
 public:
  void add(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& references,
           std::int64_t samples) {
    const at::Tensor a = rows_of(outputs, samples);
    const at::Tensor b = rows_of(references, samples);
    const at::Tensor norms = a.norm(2, {1}) * b.norm(2, {1});
    // Two vectors of zeros agree; one alone shares no direction with anything.
    const at::Tensor both_zero = (a == b).all(1).to(at::kDouble);
    cosine_ +=
        at::where(norms > 0, (a * b).sum(1) / norms, both_zero).clamp(-1, 1).sum().item<double>();
    signal_ += b.square().sum().item<double>();
    error_ += (a - b).square().sum().item<double>();
    samples_ += samples;
    add_agreement(outputs.front(), references.front());
  }

  Fidelity result(const std::string& data_name) const {
    Fidelity fidelity;
    fidelity.data = data_name;
    fidelity.samples = samples_;
    fidelity.cosine = cosine_ / double(samples_);
    fidelity.sqnr_db = sqnr_db(signal_, error_);
    if (has_classes_) fidelity.top1_agreement = double(agreeing_) / double(samples_);
    return fidelity;
  }

 private:
  void add_agreement(const at::Tensor& output, const at::Tensor& reference) {
    has_classes_ = has_classes_ && output.dim() == 2 && output.size(1) > 1;
    if (!has_classes_) return;
    agreeing_ += (output.argmax(1) == reference.argmax(1)).sum().item<std::int64_t>();
  }

  double cosine_ = 0, signal_ = 0, error_ = 0;
  std::int64_t samples_ = 0, agreeing_ = 0;
  bool has_classes_ = true;
};

void check_same_shapes(const std::vector<at::Tensor>& outputs,
                       const std::vector<at::Tensor>& references) {
  const bool is_same =
      std::equal(outputs.begin(), outputs.end(), references.begin(), references.end(),
                 [](const at::Tensor& a, const at::Tensor& b) { return a.sizes() == b.sizes(); });
  if (is_same) return;
  throw Error(ExitCode::kModel,
              fmt::format("the model returns {}, but the reference returns {}",
                          describe_tensors(outputs), describe_tensors(references)),
              "fidelity compares models of the same task");
}

}  // namespace

Fidelity evaluate_fidelity(const Forward& forward, const Forward& reference, const Dataset& data,
                           std::int64_t batch_size, const std::string& data_name,
                           Progress& progress) {
  ReferenceOutputs outputs(reference, /*limit_bytes=*/0);
  return evaluate_fidelity(forward, outputs, data, batch_size, data_name, progress);
}

Fidelity evaluate_fidelity(const Forward& forward, ReferenceOutputs& reference, const Dataset& data,
                           std::int64_t batch_size, const std::string& data_name,
                           Progress& progress) {
  check_not_empty(data, data_name);
  const c10::InferenceMode inference;
  const std::shared_ptr<const Dataset> borrowed(std::shared_ptr<const Dataset>(), &data);
  Loader loader(borrowed, batch_size);
  BatchOrigin origin{data_name, 0, 0};
  FidelitySums sums;
  progress.begin("compare " + data_name, data.size());
  for (Batch batch; loader.next(batch);) {
    origin.size = batch.size;
    const std::vector<at::Tensor> outputs = run_checked(forward, batch, origin);
    const std::vector<at::Tensor> references = reference.of(batch, origin);
    check_same_shapes(outputs, references);
    sums.add(outputs, references, batch.size);
    origin.first += batch.size;
    progress.advance(batch.size);
  }
  progress.end();
  return sums.result(data_name);
}

}  // namespace edgecompress
