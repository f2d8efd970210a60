#include "eval/forms.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <spdlog/logger.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "eval/latency.h"
#include "model/model.h"
#include "model/torch_error.h"
#include "util/log.h"

namespace edgecompress {
namespace {

constexpr double kTolerance = 1e-3;
constexpr int kWarmUp = 3;  // the first two runs profile and specialise the graph
// Enough repeats that a quiet moment is among them, few enough for long runs.
constexpr double kChoiceMs = 200.0;
constexpr int kMinChoiceRepeats = 5;
constexpr int kMaxChoiceRepeats = 200;
// Forms that are as good as equal must not change places from one measurement to the next.
constexpr double kNoticeable = 0.98;

void for_each_node(torch::jit::Block& block, const std::function<void(torch::jit::Node&)>& visit) {
  for (torch::jit::Node* node : block.nodes()) {
    visit(*node);
    for (torch::jit::Block* inner : node->blocks()) for_each_node(*inner, visit);
  }
}

bool is_statically_quantized(const torch::jit::Module& frozen) {
  bool found = false;
  for_each_node(*frozen.get_method("forward").graph()->block(), [&](torch::jit::Node& node) {
    found = found || node.kind() == c10::Symbol::fromQualString("aten::quantize_per_tensor");
  });
  return found;
}

at::Tensor in_channels_last(const at::Tensor& tensor) {
  return tensor.dim() == 4 ? tensor.contiguous(at::MemoryFormat::ChannelsLast) : tensor;
}

void store_weights_channels_last(const torch::jit::Module& frozen) {
  const auto value = c10::Symbol::attr("value");
  for_each_node(*frozen.get_method("forward").graph()->block(), [&](torch::jit::Node& node) {
    const bool is_tensor_constant = node.kind() == c10::prim::Constant &&
                                    node.hasAttribute(value) &&
                                    node.kindOf(value) == torch::jit::AttributeKind::t;
    if (is_tensor_constant) node.t_(value, in_channels_last(node.t(value)));
  });
}

using Maker = std::function<std::optional<RunnableForm>(const torch::jit::Module& frozen)>;

/// What comes after the stored form; each starts from a frozen copy of its own. A maker returns
/// nothing where its form is pointless.
std::vector<std::pair<std::string, Maker>> form_makers(const std::vector<at::Tensor>& inputs) {
  return {
      {"frozen",
       [&inputs](const torch::jit::Module& frozen) {
         return std::optional<RunnableForm>(RunnableForm("frozen", frozen, inputs));
       }},
      {"channels_last",
       [&inputs](const torch::jit::Module& frozen) -> std::optional<RunnableForm> {
         const auto is_image = [](const at::Tensor& tensor) { return tensor.dim() == 4; };
         if (std::none_of(inputs.begin(), inputs.end(), is_image)) return std::nullopt;
         store_weights_channels_last(frozen);
         std::vector<at::Tensor> converted;
         for (const at::Tensor& input : inputs) converted.push_back(in_channels_last(input));
         return RunnableForm("channels_last", frozen, converted);
       }},
      {"optimize_for_inference",
       [&inputs](torch::jit::Module frozen) -> std::optional<RunnableForm> {
         if (is_statically_quantized(frozen)) return std::nullopt;
         return RunnableForm("optimize_for_inference", torch::jit::optimize_for_inference(frozen),
                             inputs);
       }},
  };
}

bool outputs_agree(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& stored) {
  return std::equal(outputs.begin(), outputs.end(), stored.begin(), stored.end(),
                    [](const at::Tensor& a, const at::Tensor& b) {
                      if (a.sizes() != b.sizes()) return false;
                      if (a.numel() == 0) return true;
                      const at::Tensor wanted = b.to(at::kDouble);
                      const double error = (a.to(at::kDouble) - wanted).abs().max().item<double>();
                      return error <= kTolerance * wanted.abs().max().item<double>();
                    });
}

void warm_up(RunnableForm& form) {
  for (int run = 0; run < kWarmUp; ++run) form.time_ms();
}

/// Compares the shortest runs: what else the machine does only ever makes a run longer, and a burst
/// of it can last longer than half of the repeats.
bool is_faster(RunnableForm& challenger, RunnableForm& champion) {
  double challenger_ms = challenger.time_ms(), champion_ms = champion.time_ms();
  double total_ms = challenger_ms + champion_ms;
  for (int repeat = 1; repeat < kMaxChoiceRepeats; ++repeat) {
    if (repeat >= kMinChoiceRepeats && total_ms >= kChoiceMs) break;
    const bool is_champion_first = repeat % 2 == 0;
    for (const bool is_champion : {is_champion_first, !is_champion_first}) {
      const double time_ms = (is_champion ? champion : challenger).time_ms();
      double& shortest_ms = is_champion ? champion_ms : challenger_ms;
      shortest_ms = std::min(shortest_ms, time_ms);
      total_ms += time_ms;
    }
  }
  return challenger_ms < kNoticeable * champion_ms;
}

}  // namespace

RunnableForm::RunnableForm(std::string name, torch::jit::Module module,
                           const std::vector<at::Tensor>& inputs)
    : name_(std::move(name)), module_(std::move(module)), inputs_(inputs.begin(), inputs.end()) {}

std::vector<at::Tensor> RunnableForm::outputs() {
  const c10::InferenceMode inference;
  return flatten_outputs(module_.forward(inputs_));
}

double RunnableForm::time_ms() {
  const c10::InferenceMode inference;
  const auto start = std::chrono::steady_clock::now();
  const c10::IValue output = module_.forward(inputs_);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  return elapsed.count();
}

RunnableForm fastest_form(const torch::jit::Module& stored, const std::vector<at::Tensor>& inputs) {
  RunnableForm champion("as saved", stored, inputs);
  const std::vector<at::Tensor> expected = champion.outputs();
  warm_up(champion);
  for (const auto& [name, make] : form_makers(inputs)) {
    try {
      auto challenger = make(torch::jit::freeze(stored));
      if (!challenger) continue;
      // Compared after the warm-up: it is the specialised graph that is timed.
      warm_up(*challenger);
      if (!outputs_agree(challenger->outputs(), expected)) {
        log().debug("form {} left out: its outputs are not the stored ones", name);
      } else if (is_faster(*challenger, champion)) {
        champion = std::move(*challenger);
      }
    } catch (const std::exception& error) {
      log().debug("form {} left out: {}", name, torch_message(error));
    }
  }
  return champion;
}

RunnableForm form_named(const std::string& name, const torch::jit::Module& stored,
                        const std::vector<at::Tensor>& inputs) {
  for (const auto& [other, make] : form_makers(inputs)) {
    if (other != name) continue;
    if (auto form = make(torch::jit::freeze(stored))) {
      warm_up(*form);
      return std::move(*form);
    }
  }
  RunnableForm form("as saved", stored, inputs);
  warm_up(form);
  return form;
}

}  // namespace edgecompress
