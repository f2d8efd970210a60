#include "recipe/sections.h"

namespace edgecompress {

namespace {

constexpr double kMostThreads = 1024;

Options<InputSpec> input_options() {
  Options<InputSpec> options;
  options
      .add("shape", &InputSpec::shape,
           "sizes, the batch first; the batch size is only an example: [1, 3, 224, 224]")
      .at_least(1)
      .required();
  options.add("dtype", &InputSpec::dtype, "type of the elements")
      .one_of({"float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8",
               "uint8", "bool"});
  options.add("high", &InputSpec::high, "example values of integer inputs are drawn from [0, high)")
      .at_least(1);
  return options;
}

Options<ModelSpec> model_options() {
  Options<ModelSpec> options;
  options.add("path", &ModelSpec::path, "the TorchScript file");
  options.add("inputs", &ModelSpec::inputs, input_options(), "what forward() takes, in order");
  options.add("op_libraries", &ModelSpec::op_libraries,
              "shared objects that register the model's custom operators");
  return options;
}

Options<DataSection> data_options() {
  Options<DataSection> options;
  options.add("train", &DataSection::train, dataset_options(), "what training passes learn from");
  options.add("calibration", &DataSection::calibration, dataset_options(),
              "what static quantization observes; absent: taken from train, else validation");
  options.add("validation", &DataSection::validation, dataset_options(),
              "what choices are made on: step gates, early stopping");
  options.add("test", &DataSection::test, dataset_options(),
              "what is reported, and gated for the whole run");
  return options;
}

Options<LatencySpec> latency_options() {
  Options<LatencySpec> options;
  options.add("batch_size", &LatencySpec::batch_size, "samples in one forward pass").at_least(1);
  options.add("threads", &LatencySpec::threads, "threads of one forward pass")
      .at_least(1)
      .at_most(kMostThreads);
  options.add("warm_up", &LatencySpec::warm_up, "passes before the timed ones").at_least(0);
  options
      .add("repeats", &LatencySpec::repeats,
           "timed passes of each model, interleaved; short models get more, 0.2 s of each")
      .at_least(1);
  return options;
}

Options<EvaluationSpec> evaluation_options() {
  Options<EvaluationSpec> options;
  options
      .add("metric", &EvaluationSpec::metric,
           "of accuracy; auto: top1 for class labels, else mse; fidelity needs no labels")
      .one_of({"auto", "top1", "top5", "f1", "mse", "mae", "fidelity"});
  options.add("latency", &EvaluationSpec::latency, latency_options(), "how latency is measured");
  return options;
}

Options<GateSpec> gate_options() {
  Options<GateSpec> options;
  options.add("max_accuracy_drop", &GateSpec::max_accuracy_drop,
              "most that accuracy may fall, in the metric's own unit (0.01: one point of top1)");
  options.add("max_size_ratio", &GateSpec::max_size_ratio, "most that is left of the size, zipped")
      .above(0);
  options.add("min_speedup", &GateSpec::min_speedup, "least latency before / latency after")
      .above(0);
  return options;
}

Options<OutputSpec> output_options() {
  Options<OutputSpec> options;
  options.add("directory", &OutputSpec::directory, "where results are written");
  options.add("report", &OutputSpec::report, "kinds of report to write")
      .one_of({"json", "markdown"});
  options.add("overwrite", &OutputSpec::overwrite, "replace files of an earlier run");
  return options;
}

Options<RecipeSections> make_recipe_sections() {
  Options<RecipeSections> options;
  options.add("$schema", &RecipeSections::schema, "for editors; not read");
  options.add("name", &RecipeSections::name, "of the run, in its report");
  options.add("seed", &RecipeSections::seed, "of everything random in the run").at_least(0);
  options.add("threads", &RecipeSections::threads, "of the run; 0: all cores it may use")
      .at_least(0)
      .at_most(kMostThreads);
  options.add("deterministic", &RecipeSections::deterministic,
              "give the same bytes whatever threads says: one computes");
  options.add("model", &RecipeSections::model, model_options(), "the network to compress");
  options.add("data", &RecipeSections::data, data_options(), "data sets by what they are for");
  options.add("evaluation", &RecipeSections::evaluation, evaluation_options(),
              "how accuracy and latency are measured");
  options.add("passes", &RecipeSections::passes, "what is done to the model, in this order")
      .required()
      .type = OptionType::kObjects;
  options.add("gates", &RecipeSections::gates, gate_options(),
              "bounds on the whole run: one that is not met makes it end with exit code 7");
  options.add("output", &RecipeSections::output, output_options(), "what is written, and where");
  return options;
}

Options<DatasetSpec> make_dataset_options() {
  Options<DatasetSpec> options;
  options.add("source", &DatasetSpec::source, "what kind of files the set is read from")
      .one_of({"npz", "npy", "torch", "image_folder", "csv", "synthetic"});
  options.add("path", &DatasetSpec::path, "file or folder to read");
  options.add("inputs", &DatasetSpec::inputs,
              "keys (npz, npy, torch) or columns (csv) of the inputs, in order");
  options.add("target", &DatasetSpec::target, "key or column of the target; empty: no labels");
  options
      .add("map_labels", &DatasetSpec::map_labels,
           "the class that each class id becomes, in order: [0, 1, 1] makes classes 1 and 2 one")
      .at_least(0);
  options.add("from", &DatasetSpec::from, "take samples from this other set instead of a source")
      .one_of({"train", "calibration", "validation", "test"});
  options.add("split", &DatasetSpec::split, "share of the other set's samples that is moved here")
      .above(0)
      .below(1);
  options.add("limit", &DatasetSpec::limit, "at most so many samples, chosen by the seed")
      .at_least(1);
  options.add("batch_size", &DatasetSpec::batch_size, "samples in a batch").at_least(1);
  options.add("augment", &DatasetSpec::augment,
              "apply the transforms that are for training only (train sets)");
  options
      .add("transforms", &DatasetSpec::transforms,
           "what happens to a sample on the way to the model: [{\"scale\": {\"divisor\": 255}}]")
      .type = OptionType::kObjects;
  options.add("options", &DatasetSpec::options, "of the source").type = OptionType::kObject;
  return options;
}

Options<GateSpec> make_step_gate_options() {
  Options<GateSpec> options = gate_options();
  options
      .add("on_fail", &GateSpec::on_fail,
           "rollback: go on with the model before the step; stop: end the run there; continue: "
           "keep the step")
      .one_of({"rollback", "stop", "continue"});
  return options;
}

}  // namespace

const Options<RecipeSections>& recipe_sections() {
  static const Options<RecipeSections> sections = make_recipe_sections();
  return sections;
}

const Options<DatasetSpec>& dataset_options() {
  static const Options<DatasetSpec> options = make_dataset_options();
  return options;
}

const Options<GateSpec>& step_gate_options() {
  static const Options<GateSpec> options = make_step_gate_options();
  return options;
}

}  // namespace edgecompress
