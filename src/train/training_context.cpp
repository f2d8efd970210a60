#include "train/training_context.h"

#include "util/random.h"

namespace edgecompress {

TrainingContext TrainingContext::with_seed_for(const std::string& purpose) const {
  TrainingContext context = *this;
  context.seed = derive_seed(seed, purpose);
  return context;
}

}  // namespace edgecompress
