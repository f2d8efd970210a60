// Takes the steps to the canonical form and holds them to the network's outputs.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "canonical/canonical_witness.h"

namespace edgecompress::canonical {

struct Step {
  const char* name;  ///< as in "could not ..."
  /// Whether it changed the draft.
  std::function<bool(Draft&)> take;
  bool may_round;  ///< the last bits of the outputs may change
};

/// When the outputs are compared.
enum class Checks {
  kAtEnd,    ///< by is_sound(), in a few runs of the network
  kEachStep  ///< after every step: one that changes them is taken back and named
};

class Trail {
 public:
  /// The draft and the witness must outlive it.
  Trail(Draft& draft, const Witness& witness, Checks checks);

  /// Takes the step, or none of it: one that fails is named. Returns whether the draft changed.
  bool take(const Step& step);

  /// Whether every step kept the outputs: bit for bit, unless it may round.
  bool is_sound();

 private:
  /// The draft after a step.
  struct Milestone {
    std::shared_ptr<torch::jit::Graph> graph;
    bool may_round;
    std::optional<Answers> answers;
  };
  const Answers& answers_at(std::size_t milestone);
  /// Of the steps after `first` up to `last`. Between two milestones that answer alike nothing is
  /// run.
  bool is_sound(std::size_t first, std::size_t last);

  Draft& draft_;
  const Witness& witness_;
  Checks checks_;
  std::vector<Milestone> milestones_;  ///< the first answers as the network that was loaded
};

}  // namespace edgecompress::canonical
