// A batch for whoever watches: a live table of the models that run on a terminal, a line for each
// that ends anywhere.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "batch/batch.h"
#include "cli/command.h"

namespace edgecompress {

class BatchView : public BatchWatcher {
 public:
  explicit BatchView(const CommandContext& context);
  ~BatchView() override;

  void model_ended(const ZooRow& row, std::size_t ended, std::size_t all) override;
  void models_run(const std::vector<RunningModel>& models, std::size_t ended,
                  std::size_t all) override;

 private:
  using Clock = std::chrono::steady_clock;
  void erase();

  bool is_live_;
  std::size_t lines_drawn_ = 0;
  Clock::time_point drawn_at_;
};

/// The live table: a line that says how far the batch is, then a row a model that runs; each line
/// at most `width` columns.
std::vector<std::string> live_table(const std::vector<RunningModel>& models, std::size_t ended,
                                    std::size_t all, std::size_t width);

}  // namespace edgecompress
