#include "canonical/canonical_trail.h"

#include <exception>
#include <string>
#include <utility>

namespace edgecompress::canonical {

Trail::Trail(Draft& draft, const Witness& witness, Checks checks)
    : draft_(draft), witness_(witness), checks_(checks) {
  milestones_.push_back({draft.graph->copy(), false, witness.original()});
}

bool Trail::take(const Step& step) {
  const std::size_t next = milestones_.size();
  const auto findings = draft_.findings;
  std::string complaint;
  try {
    if (!step.take(draft_)) return false;
    milestones_.push_back({draft_.graph->copy(), step.may_round, std::nullopt});
    if (checks_ == Checks::kAtEnd || is_sound(next - 1, next)) return true;
    complaint = "the outputs would change";
  } catch (const std::exception& error) {
    complaint = error.what();
    complaint = complaint.substr(0, complaint.find('\n'));
  }
  milestones_.resize(next);
  draft_.graph = milestones_.back().graph->copy();
  draft_.findings = findings;
  draft_.not_canonical("forward", std::string("could not ") + step.name + ": " + complaint);
  return false;
}

bool Trail::is_sound() {
  try {
    return is_sound(0, milestones_.size() - 1);
  } catch (const std::exception&) {  // a draft that does not run
    return false;
  }
}

bool Trail::is_sound(std::size_t first, std::size_t last) {
  const Agreement agreement = witness_.compare(answers_at(first), answers_at(last));
  if (agreement == Agreement::kSame) return true;
  if (last - first == 1) return agreement == Agreement::kRounded && milestones_[last].may_round;
  const std::size_t middle = first + (last - first) / 2;
  return is_sound(first, middle) && is_sound(middle, last);
}

const Answers& Trail::answers_at(std::size_t milestone) {
  Milestone& at = milestones_[milestone];
  if (!at.answers) at.answers = witness_.ask(draft_.module, *at.graph);
  return *at.answers;
}

}  // namespace edgecompress::canonical
