// The loop: each step on a clone, measured as a saved file, kept or rolled back.
#pragma once

#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "passes/pass.h"
#include "pipeline/journal.h"
#include "pipeline/measure.h"
#include "pipeline/preparation.h"
#include "pipeline/step_cache.h"
#include "recipe/recipe.h"
#include "report/report.h"
#include "util/progress.h"

namespace edgecompress {

class Runner {
 public:
  /// Step files are written into `folder`; finetune trains on `device`. All arguments must outlive
  /// the runner.
  Runner(const Recipe& recipe, const Preparation& preparation, std::filesystem::path folder,
         const Journal& journal, const StepCache& cache, at::Device device, MeasureScope scope,
         Progress& progress);

  /// Measures the original, runs the steps, and leaves out the last ones if with them the run's
  /// gates are missed on the validation set and without them met; then checks the gates. A step
  /// that fails or is interrupted ends the loop and is told by failure(); what cannot be written
  /// throws Error(kOutput) at once, and so does all that goes wrong before the first step.
  void run();

  Report& report() { return report_; }
  /// The file that the best model was saved to: the last kept step's, or the original.
  const std::filesystem::path& best_file() const;
  /// The file that the model was in after step `index`, as long as the folder is there.
  const std::filesystem::path& file_after(std::size_t index) const;
  /// What the kept passes give besides the model, by name relative to the output folder.
  std::map<std::string, std::string> pass_files() const;
  /// What ended the loop early, or null.
  std::exception_ptr failure() const { return failure_; }
  bool is_interrupted() const;
  /// False if the run missed a gate, or a step did whose recipe says "continue" or "stop": what was
  /// rolled back is mended.
  bool are_gates_met() const;
  /// True once any step came to its end.
  bool has_finished_step() const;

 private:
  /// A step that counts.
  struct Kept {
    std::size_t index = 0;
    std::filesystem::path file;
    std::map<std::string, std::string> pass_files;
  };

  /// False: the loop ends here.
  bool run_step(std::size_t index);
  /// From the cache, or done now; a changed model is saved to `file`.
  StepWork work_of(std::size_t index, Comparable outputs, const std::filesystem::path& file);
  PassContext context_for(std::size_t index, Comparable outputs);
  void judge(const StepSpec& step, StepRecord& record);
  void leave_out_what_misses_gates();
  void tell_thread_dependence();
  void fail(StepRecord& record, std::size_t index);

  const Recipe& recipe_;
  const Preparation& preparation_;
  std::filesystem::path folder_;
  const Journal& journal_;
  const StepCache& cache_;
  at::Device device_;
  Progress& progress_;
  Measurer measurer_;

  Model current_;
  Comparable current_outputs_;
  Evaluation current_evaluation_;
  std::vector<Kept> kept_;  ///< in order
  Report report_;
  bool is_step_gate_missed_ = false;
  std::exception_ptr failure_;
};

}  // namespace edgecompress
