// `demo`: a small trained network to try things on, made on the spot.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "model/model.h"
#include "pipeline/commands.h"
#include "pipeline/demo_network.h"
#include "pipeline/preparation.h"
#include "recipe/recipe.h"
#include "train/trainer.h"
#include "util/file.h"
#include "util/log.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kBatchSize = 64;
constexpr std::int64_t kTrainSamples = 4000;
/// Numbers of the test images: far behind those of training, whatever a recipe takes for that.
constexpr std::int64_t kTestOffset = 1000000;
constexpr std::int64_t kTestSamples = 1000;

/// As configs/quickstart.json reads them.
constexpr const char* kShapes = R"({
  "source": "synthetic",
  "options": {"task": "shapes", "noise": 0.3},
  "transforms": [{"scale": {"divisor": 255}}, {"layout": {"to": "NCHW"}},
                 {"normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}]
})";

std::shared_ptr<const Dataset> shapes(std::int64_t samples, std::int64_t offset, bool is_training) {
  Json spec = Json::parse(kShapes);
  spec["options"]["samples"] = samples;
  spec["options"]["offset"] = offset;
  return open_dataset(parse_dataset(spec, ""), ".", /*seed=*/0, is_training);
}

TrainTask training(const DemoRequest& request) {
  TrainTask task;
  task.name = "train the demo network";
  task.options.epochs = request.epochs;
  task.options.optimizer.name = "adamw";
  task.options.optimizer.lr = 4e-3;
  task.options.schedule.warm_up = 0.1;
  task.loss = target_loss({});
  task.data = shapes(kTrainSamples, /*offset=*/0, /*is_training=*/true);
  task.batch_size = kBatchSize;
  task.seed = derive_seed(request.seed, "demo training");
  return task;
}

Score score_of(const Model& model, Progress& progress) {
  const auto forward = [&](const std::vector<at::Tensor>& inputs) { return model.forward(inputs); };
  return evaluate_score(forward, *shapes(kTestSamples, kTestOffset, /*is_training=*/false),
                        kBatchSize, "top1", "test", progress);
}

}  // namespace

Outcome demo_command(const DemoRequest& request, Progress& progress) {
  StagedDirectory output(request.output, request.overwrite);
  prepare_process(request.threads.value_or(0), {});
  const auto start = std::chrono::steady_clock::now();
  TrainTask task = training(request);
  const auto classes = static_cast<std::int64_t>(task.data->class_names().size());
  Model model = Model::from_module(demo_network(classes, derive_seed(request.seed, "demo network")),
                                   {{{1, 3, 32, 32}}});
  std::int64_t parameters = 0;
  task.parameters = floating_parameters(model);
  for (const auto& [name, tensor] : model.named_parameters()) parameters += tensor.numel();
  log().info("training on {} images", task.data->size());
  train(model, task, progress);
  const Score score = score_of(model, progress);
  model.save(output.path() / "model.pt");
  output.commit();

  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string file = (output.final_path() / "model.pt").string();
  const Json json = {
      {"model", file}, {"parameters", parameters}, {"top1", score.value}, {"seconds", seconds}};
  return {ExitCode::kDone,
          fmt::format("{}: a residual CNN of {} parameters, trained in {} to {:.1f} % on unseen "
                      "images of {} shapes\n",
                      file, human_count(parameters), human_duration(seconds), 100 * score.value,
                      classes),
          json.dump(2)};
}

}  // namespace edgecompress
