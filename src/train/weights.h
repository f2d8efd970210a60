// Copies and averages of what a training moves.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// The tensors themselves: the parameters, and the model's buffers (running statistics).
std::vector<at::Tensor> moving_tensors(const Model& model,
                                       const std::vector<at::Tensor>& parameters);

/// Values of some tensors at one moment.
class Snapshot {
 public:
  explicit Snapshot(std::vector<at::Tensor> live) : live_(std::move(live)) { take(); }
  void take();
  void restore() const;
  std::vector<at::Tensor>& copies() { return copies_; }
  const std::vector<at::Tensor>& copies() const { return copies_; }

 private:
  std::vector<at::Tensor> live_, copies_;
};

/// Exponential moving average of some tensors over the steps of a training, which starts at their
/// first values (Polyak & Juditsky 1992). After step t, counted from 1:
///   a = d a + (1 - d) w    with d = min(decay, (1 + t) / (10 + t)), so that a short training is
///   not
///                          held back by where it began
/// Integers are taken as they are.
class WeightAverage {
 public:
  WeightAverage(std::vector<at::Tensor> live, double decay);
  void update(std::int64_t step);
  std::vector<at::Tensor>& averages() { return averages_; }
  const std::vector<at::Tensor>& averages() const { return averages_; }

  /// While it lives, the tensors hold the averages, and the averages what the tensors held.
  class InPlace {
   public:
    explicit InPlace(WeightAverage* average) : average_(average) { exchange(); }
    ~InPlace() { exchange(); }
    InPlace(const InPlace&) = delete;
    InPlace& operator=(const InPlace&) = delete;

   private:
    void exchange();
    WeightAverage* average_;  ///< null: nothing is exchanged
  };
  /// The tensors become the averages.
  void settle() const;

 private:
  std::vector<at::Tensor> live_, averages_;
  double decay_;
};

}  // namespace edgecompress
