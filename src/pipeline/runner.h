// The loop: each step on a clone, measured as a saved file, kept or rolled back.
#pragma once

#include <exception>
#include <filesystem>
#include <map>
#include <string>

#include "passes/pass.h"
#include "pipeline/journal.h"
#include "pipeline/measure.h"
#include "pipeline/preparation.h"
#include "recipe/recipe.h"
#include "report/report.h"
#include "util/progress.h"

namespace edgecompress {

class Runner {
 public:
  /// Step files are written into `folder`; finetune trains on `device`. All arguments must outlive
  /// the runner.
  Runner(const Recipe& recipe, const Preparation& preparation, std::filesystem::path folder,
         const Journal& journal, at::Device device, Progress& progress);

  /// Measures the original, runs the steps and checks the run's gates. A step that fails or is
  /// interrupted ends the loop and is told by failure(); what cannot be written throws
  /// Error(kOutput) at once, and so does all that goes wrong before the first step.
  void run();

  Report& report() { return report_; }
  /// The file that the best model was saved to: the last kept step's, or the original.
  const std::filesystem::path& best_file() const { return best_file_; }
  /// What the kept passes give besides the model, by name relative to the output folder.
  const std::map<std::string, std::string>& pass_files() const { return pass_files_; }
  /// What ended the loop early, or null.
  std::exception_ptr failure() const { return failure_; }
  bool is_interrupted() const;
  /// False if the run missed a gate, or a step did whose recipe says "continue" or "stop": what was
  /// rolled back is mended.
  bool are_gates_met() const;
  /// True once any step came to its end.
  bool has_finished_step() const;

 private:
  /// False: the loop ends here.
  bool run_step(std::size_t index);
  PassResult apply(std::size_t index, Model& model, Comparable outputs, StepRecord& record);
  void judge(const StepSpec& step, StepRecord& record);
  void keep(std::size_t index, Model model, Comparable outputs, const PassResult& result,
            const std::filesystem::path& file);
  void fail(StepRecord& record, std::size_t index);

  const Recipe& recipe_;
  const Preparation& preparation_;
  std::filesystem::path folder_;
  const Journal& journal_;
  at::Device device_;
  Progress& progress_;
  Measurer measurer_;

  Model current_;
  Comparable current_outputs_;
  Evaluation current_evaluation_;
  std::filesystem::path best_file_;
  std::map<std::string, std::string> pass_files_;
  Report report_;
  bool is_step_gate_missed_ = false;
  std::exception_ptr failure_;
};

}  // namespace edgecompress
