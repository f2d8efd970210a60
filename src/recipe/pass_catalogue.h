// What can be known of the passes without their code: enough to check a recipe, print help and
// write the schema without loading LibTorch.
#pragma once

#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

/// What a pass asks of the run, and what it leaves behind; checked before the model is loaded.
struct PassNeeds {
  bool calibration = false;  ///< a few samples, no labels
  bool training = false;     ///< a training set (and gradients)
  bool labels = false;       ///< the training set must have a target
  bool float_model = false;  ///< can't run after a pass that makes the model INT8
  bool makes_int8 = false;
  /// Leaves a network whose outputs are other ones than the original's: made for the labels of the
  /// data, for which the original was not.
  bool new_outputs = false;
  bool float_activations = false;  ///< can't run after a pass that makes activations INT8
  bool int8_activations = false;   ///< makes them so: no gradient passes them any more
};

struct PassDescription {
  std::string name;
  std::string summary;
  OptionTable options;
  /// Needs that hold whatever the options are.
  PassNeeds needs;
  /// Options that change the needs: where option `option` ("training", or "training/alpha" for one
  /// inside its object) has the value `value` (null: any value but null), `needs` apply instead;
  /// where several do, all that they ask for, but one inside an object counts instead of its
  /// object's own.
  struct When {
    std::string option;
    Json value;
    PassNeeds needs;
  };
  std::vector<When> when;

  /// The needs under these resolved options.
  PassNeeds needs_with(const Json& resolved_options) const;
};

/// One pass with all its options.
std::string to_markdown(const PassDescription& pass);
std::string to_console(const PassDescription& pass);

class PassCatalogue {
 public:
  explicit PassCatalogue(std::vector<PassDescription> passes) : passes_(std::move(passes)) {}
  const std::vector<PassDescription>& passes() const { return passes_; }
  /// Throws Error(kRecipe) at `pointer`, naming the nearest pass, if there is none of that name.
  const PassDescription& at(const std::string& name, const std::string& pointer) const;

  Json to_json() const;
  static PassCatalogue from_json(const Json& json);
  /// What each pass does and needs: the README's table of passes, and what `edgecompress passes`
  /// prints.
  std::string markdown() const;
  std::string console() const;

 private:
  std::vector<PassDescription> passes_;
};

}  // namespace edgecompress
