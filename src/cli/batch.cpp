#include "batch/batch.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "batch/slurm.h"
#include "cli/batch_view.h"
#include "cli/cache_options.h"
#include "cli/catalogue.h"
#include "cli/command.h"
#include "cli/engine.h"
#include "cli/signals.h"
#include "util/file.h"
#include "util/log.h"
#include "util/progress.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

struct BatchOptions {
  BatchRequest batch;
  std::string shard, junit;
  double cpu_limit_seconds = 0;
  bool keeps_going = false, is_dry_run = false, is_gathering = false;
  bool is_on_slurm = false;
  SlurmOptions slurm;
};

const std::map<std::string, double> kTimeUnits = {
    {"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};

CLI::Option* add_time(CLI::App& command, const std::string& name, double& seconds,
                      const std::string& help) {
  return command.add_option(name, seconds, help)
      ->transform(CLI::AsNumberWithUnit(kTimeUnits, CLI::AsNumberWithUnit::CASE_SENSITIVE, "TIME"))
      ->check(CLI::NonNegativeNumber);
}

void add_limits(CLI::App& command, BatchOptions& options) {
  command
      .add_option("--memory", options.batch.memory_bytes,
                  "Most memory a model's process may take (2GiB); 0: no limit; default: its share "
                  "of the machine's")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  add_time(command, "--time-limit", options.batch.limits.seconds,
           "Longest a model may take (90s, 20min); 0: no limit; default: 4 h");
  add_time(command, "--cpu-limit", options.cpu_limit_seconds,
           "Most CPU time it may take, of all its threads; default: no limit");
  add_time(command, "--grace", options.batch.limits.grace_seconds,
           "From being told to stop to being killed; default: 10 s");
}

void add_recipe_options(CLI::App& command, BatchRequest& batch) {
  command.add_option("-r,--recipe", batch.recipe, "Recipe of every model")
      ->required()
      ->type_name("RECIPE");
  command
      .add_option("-o,--output", batch.output,
                  "Write into this folder: a folder a model, zoo.json, zoo.csv, zoo.md")
      ->required()
      ->type_name("DIR");
  command.add_option("--set", batch.set, "Change one value of the recipe; may be repeated")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  command.add_option("--seed", batch.seed, "Seed of everything that is random");
  command.add_flag("--deterministic", batch.deterministic,
                   "Give the same bytes at any number of threads: compute with one");
  add_device_option(command, batch.device, "finetune trains");
  add_op_library_option(command, batch.op_libraries);
}

void add_scheduling(CLI::App& command, BatchOptions& options) {
  BatchRequest& batch = options.batch;
  command.add_option("-j,--jobs", batch.jobs, "Models at once; 0: one a core; default: 1")
      ->check(CLI::Range(0, 4096));
  command
      .add_option("--threads", batch.threads,
                  "Threads of all of them together; 0: every core this process may use")
      ->check(CLI::Range(0, 4096));
  auto* fail_fast = command.add_flag("--fail-fast", batch.fails_fast,
                                     "Start no more models once one has no result");
  command.add_flag("--keep-going", options.keeps_going, "Go on with the others (the default)")
      ->excludes(fail_fast);
  auto* resume =
      command.add_flag("--resume", batch.is_resumed,
                       "Leave out what is done already; go on with runs that were cut short");
  command.add_flag("--overwrite", batch.is_overwriting, "Replace the results of an earlier batch")
      ->excludes(resume);
  command.add_flag("--dry-run", options.is_dry_run, "List the models and what would be run");
  command.add_option("--junit", options.junit, "Write the states as JUnit XML too")
      ->type_name("FILE");
}

void add_distribution(CLI::App& command, BatchOptions& options) {
  SlurmOptions& slurm = options.slurm;
  auto* shard =
      command
          .add_option("--shard", options.shard, "Only every N-th model by name, from the I-th on")
          ->type_name("I/N");
  auto* gather =
      command
          .add_flag("--gather", options.is_gathering,
                    "Run nothing: one report of what shards and earlier batches have left")
          ->excludes(shard);
  auto* on_slurm = command
                       .add_flag("--slurm", options.is_on_slurm,
                                 "Run the shards as an array of Slurm jobs, wait, and gather")
                       ->excludes(shard)
                       ->excludes(gather);
  command
      .add_option("--slurm-shards", slurm.shards,
                  "Jobs of the array; default: one a model, at most 1000")
      ->check(CLI::Range(1, 1000000))
      ->needs(on_slurm);
  command
      .add_option("--slurm-option", slurm.options,
                  "Option for sbatch (--slurm-option=--partition=edge); may be repeated")
      ->type_name("OPTION")
      ->allow_extra_args(false)
      ->needs(on_slurm);
  command.add_flag("--detach", slurm.is_detached, "Do not wait for the Slurm jobs; --gather later")
      ->needs(on_slurm);
}

ZooFolder::Earlier earlier_of(const BatchRequest& batch) {
  if (batch.is_overwriting) return ZooFolder::Earlier::kReplaced;
  return batch.is_resumed ? ZooFolder::Earlier::kResumed : ZooFolder::Earlier::kRefused;
}

std::string describe_batch_plan(const BatchRequest& batch, const BatchPlan& plan) {
  Table table({"model", "file", "changes to the recipe"});
  for (const PlannedModel& model : plan.models) {
    table.add_row({model.name, model.path.string(), join(model.set, " ")});
  }
  std::string text =
      table.console() + fmt::format("\n{} models, {} at once, threads of each: {}\n",
                                    plan.models.size(), plan.jobs, plan.threads_each);
  if (!plan.models.empty()) {
    const PlannedModel& first = plan.models.front();
    const auto command = command_of(batch, plan, first, fs::absolute(batch.output) / first.name);
    text += "The first: " + join(command, " ") + "\n";
  }
  return text;
}

Zoo run_batch(const BatchRequest& batch, const BatchPlan& plan, const CommandContext& context) {
  const ZooFolder folder(batch.output, batch.shard, earlier_of(batch));
  std::map<std::string, ZooRow> earlier;
  if (batch.is_resumed) earlier = ZooFolder::earlier_rows(batch.output);
  Zoo zoo = zoo_before(plan, earlier, folder);
  BatchView view(context);
  run_pending(batch, plan, folder, zoo, view);
  return zoo;
}

Zoo gather_batch(const BatchRequest& batch, const BatchPlan& plan) {
  const Zoo zoo = gathered(plan, ZooFolder::earlier_rows(batch.output));
  ZooFolder(batch.output, std::nullopt, ZooFolder::Earlier::kResumed).write(zoo);
  return zoo;
}

/// The report of all, or nothing if the jobs were only sent off.
std::optional<Zoo> run_batch_on_slurm(const BatchOptions& options, const BatchPlan& plan,
                                      CommandContext& context) {
  const BatchRequest& batch = options.batch;
  // Taken and left: an earlier batch is dealt with here, the shards take locks of their own.
  ZooFolder(batch.output, std::nullopt, earlier_of(batch));
  std::string job;
  {
    BatchView view(context);
    job = run_on_slurm(batch, plan, options.slurm, view);
  }
  if (!options.slurm.is_detached) return gather_batch(batch, plan);
  context.result = fmt::format(
      "Slurm job {}. Once it is over:\n  edgecompress batch {} --recipe {} --output {} --gather\n",
      job, (fs::absolute(batch.output).lexically_normal() / "shards" / "models.json").string(),
      batch.recipe, batch.output);
  return std::nullopt;
}

std::optional<Zoo> carry_out(const BatchOptions& options, const BatchPlan& plan,
                             CommandContext& context) {
  if (options.is_gathering) return gather_batch(options.batch, plan);
  if (options.is_on_slurm) return run_batch_on_slurm(options, plan, context);
  return run_batch(options.batch, plan, context);
}

void run_batch_command(BatchOptions options, CommandContext& context) {
  BatchRequest& batch = options.batch;
  batch.program = fs::read_symlink("/proc/self/exe").string();
  batch.limits.cpu_seconds = static_cast<std::int64_t>(std::ceil(options.cpu_limit_seconds));
  if (!options.shard.empty()) batch.shard = parse_shard(options.shard);
  const BatchPlan plan = plan_batch(batch, known_passes());
  if (options.is_dry_run) {
    context.result = describe_batch_plan(batch, plan);
    return;
  }
  log_to_stderr(log_options(context));
  const WorkSignals signals;
  const std::optional<Zoo> zoo = carry_out(options, plan, context);
  if (!zoo) return;
  if (!options.junit.empty()) write_file_atomic(options.junit, to_junit(*zoo));
  context.result = context.is_json
                       ? to_json(*zoo).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
                       : to_console(*zoo);
  context.code = interrupt_requested() ? ExitCode::kInterrupted : zoo->exit_code();
}

}  // namespace

void add_batch(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<BatchOptions>();
  options->batch.limits.seconds = 4 * 3600;
  CLI::App* command = add_command(
      app, "batch", "Compress many models by one recipe, each in a process of its own",
      "  edgecompress batch zoo/ --recipe recipe.json --output small --jobs 2\n"
      "  edgecompress batch zoo.json --recipe recipe.json --output small --memory 4GB --time-limit "
      "20min\n"
      "  edgecompress batch zoo/ --recipe recipe.json --output small --resume\n"
      "  edgecompress batch zoo/ --recipe recipe.json --output small --shard 1/4     on each of "
      "four machines, then\n"
      "  edgecompress batch zoo/ --recipe recipe.json --output small --gather\n"
      "  edgecompress batch zoo/ --recipe recipe.json --output small --slurm "
      "--slurm-option=--mem=4G\n\n"
      "A manifest is a .json file: {\"models\": [{\"model\": \"a.pt\", \"name\": \"a-30\",\n"
      "\"set\": [\"passes/0/ratio=0.3\"], \"inputs\": [...], \"data\": {...}}]}; only \"model\" is "
      "needed.\n\n"
      "Exit codes: 0 every model is done, 2 usage, 3 recipe, 6 a model has no result, 7 every "
      "model\n"
      "has one but a gate was not met, 8 output can't be written, 130 interrupted.");
  command
      ->add_option("models", options->batch.models, "Model files, folders, patterns, or a manifest")
      ->required()
      ->type_name("MODEL|DIR|MANIFEST");
  add_recipe_options(*command, options->batch);
  add_scheduling(*command, *options);
  add_limits(*command, *options);
  add_distribution(*command, *options);
  add_json_flag(*command, context, "Print zoo.json");
  const auto cache = add_cache_options(*command);
  command->callback([&context, options, cache] {
    options->batch.cache = cache->enabled_folder();
    options->batch.cache_mib = cache->most_mib;
    run_batch_command(*options, context);
  });
}

}  // namespace edgecompress
