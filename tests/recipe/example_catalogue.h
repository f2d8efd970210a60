// Three made-up passes, one of each kind of need, for the tests of recipes.
#pragma once

#include "recipe/pass_catalogue.h"

namespace edgecompress::testing {

struct SharpenOptions {
  double ratio = 0.5;
  std::string scope = "layer";
  std::optional<double> threshold;
  std::vector<std::string> include;
};

struct OptimizerOptions {
  std::string name = "sgd";
  double lr = 0.01;
};
struct TeachOptions {
  std::int64_t epochs = 1;
  std::string teacher;
  OptimizerOptions optimizer;
  std::optional<std::int64_t> classes;
};

struct ShrinkOptions {
  std::string mode = "static";
};

inline PassCatalogue example_catalogue() {
  Options<SharpenOptions> sharpen;
  sharpen.add("ratio", &SharpenOptions::ratio, "share of the weights").at_least(0).below(1);
  sharpen.add("scope", &SharpenOptions::scope, "rank where").one_of({"layer", "global"});
  sharpen.add("threshold", &SharpenOptions::threshold, "instead of ratio").above(0);
  sharpen.add("include", &SharpenOptions::include, "only these");

  Options<OptimizerOptions> optimizer;
  optimizer.add("name", &OptimizerOptions::name, "which").one_of({"sgd", "adamw"});
  optimizer.add("lr", &OptimizerOptions::lr, "learning rate").above(0);
  Options<TeachOptions> teach;
  teach.add("epochs", &TeachOptions::epochs, "rounds").at_least(1);
  teach.add("teacher", &TeachOptions::teacher, "whom to follow").required();
  teach.add("optimizer", &TeachOptions::optimizer, optimizer, "how it learns");
  teach.add("classes", &TeachOptions::classes, "new ones").at_least(2);

  Options<ShrinkOptions> shrink;
  shrink.add("mode", &ShrinkOptions::mode, "how").one_of({"static", "dynamic"});

  PassNeeds training, static_int8, dynamic_int8;
  training.training = training.labels = training.float_model = true;
  PassNeeds new_classes = training;
  new_classes.new_outputs = true;
  dynamic_int8.float_model = dynamic_int8.makes_int8 = true;
  static_int8 = dynamic_int8;
  static_int8.calibration = true;
  return PassCatalogue(
      {{"sharpen", "Sets weights to zero", sharpen.table(), {}, {}},
       {"teach", "Trains on labels", teach.table(), training, {{"classes", nullptr, new_classes}}},
       {"shrink",
        "Makes the model INT8",
        shrink.table(),
        static_int8,
        {{"mode", "dynamic", dynamic_int8}}}});
}

}  // namespace edgecompress::testing
