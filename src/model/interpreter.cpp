#include "model/interpreter.h"

#include <ATen/core/class_type.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "model/model.h"

namespace edgecompress {

using c10::IValue;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Stack;
using torch::jit::Value;
namespace prim = c10::prim;

namespace interpreter {

enum class StepKind {
  kOperator,
  kGetAttribute,
  kSetAttribute,
  kIf,
  kLoop,
  kList,
  kTuple,
  kTorch  // anything else without blocks: LibTorch's own interpreter runs the one node
};

struct BlockPlan;

// One node, with its values as slots of the frame.
struct Step {
  const Node* node = nullptr;
  StepKind kind = StepKind::kOperator;
  std::vector<std::size_t> inputs, outputs;
  std::vector<std::size_t> released;  // slots that nothing reads after this step
  mutable std::optional<torch::jit::Operation> operation;  // its call operator is not const
  bool takes_count = false;  // a vararg operator finds the number of its inputs on the stack
  std::size_t attribute = 0;
  std::shared_ptr<torch::jit::Code> code;
  std::vector<BlockPlan> blocks;
};

struct BlockPlan {
  std::vector<std::size_t> inputs, outputs;
  std::vector<std::size_t> own_outputs;  // made here: nothing reads them once they are handed out
  std::vector<Step> steps;
};

// A one-node graph for the constructs that are no operators (dict construction, isinstance, calls).
std::shared_ptr<torch::jit::Code> compile_alone(const Node* node) {
  auto graph = std::make_shared<Graph>();
  for (const auto* input : node->inputs()) graph->addInput()->setType(input->type());
  std::size_t next = 0;
  auto* copy =
      graph->createClone(const_cast<Node*>(node), [&](Value*) { return graph->inputs()[next++]; });
  graph->appendNode(copy);
  for (auto* output : copy->outputs()) graph->registerOutput(output);
  return std::make_shared<torch::jit::Code>(graph, "");
}

class Planner {
 public:
  BlockPlan plan_block(const Block* block) {
    BlockPlan plan;
    for (const auto* input : block->inputs()) plan.inputs.push_back(slot(input));
    for (const auto* node : block->nodes()) {
      if (node->kind() == prim::Constant) {
        constants_.emplace_back(slot(node->output()), *torch::jit::toIValue(node->output()));
      } else {
        plan.steps.push_back(plan_step(node));
      }
    }
    for (const auto* output : block->outputs()) {
      plan.outputs.push_back(slot(output));
      if (output->node()->owningBlock() == block && output->node()->kind() != prim::Constant) {
        plan.own_outputs.push_back(slot(output));
      }
    }
    plan_releases(block, plan);
    return plan;
  }

  std::size_t slot(const Value* value) {
    return slots_.try_emplace(value, slots_.size()).first->second;
  }
  std::size_t slot_count() const { return slots_.size(); }
  std::vector<std::pair<std::size_t, IValue>> take_constants() { return std::move(constants_); }

 private:
  Step plan_step(const Node* node) {
    Step step;
    step.node = node;
    for (const auto* input : node->inputs()) step.inputs.push_back(slot(input));
    for (const auto* output : node->outputs()) step.outputs.push_back(slot(output));
    const auto kind = node->kind();
    if (kind == prim::If || kind == prim::Loop) {
      step.kind = kind == prim::If ? StepKind::kIf : StepKind::kLoop;
      for (const auto* block : node->blocks()) step.blocks.push_back(plan_block(block));
    } else if ((kind == prim::GetAttr || kind == prim::SetAttr) &&
               node->input(0)->type()->cast<c10::ClassType>()) {
      step.kind = kind == prim::GetAttr ? StepKind::kGetAttribute : StepKind::kSetAttribute;
      step.attribute = node->input(0)->type()->expectRef<c10::ClassType>().getAttributeSlot(
          node->s(c10::attr::name));
    } else if (kind == prim::ListConstruct) {
      step.kind = StepKind::kList;
    } else if (kind == prim::TupleConstruct &&
               !node->output()->type()->expectRef<c10::TupleType>().schema()) {
      step.kind = StepKind::kTuple;
    } else if (const auto* op = node->maybeOperator()) {
      step.operation = op->getOperation(node);
      step.takes_count = op->hasOperation() && op->schema().is_vararg();
    } else {
      step.kind = StepKind::kTorch;
      step.code = compile_alone(node);
    }
    return step;
  }

  // A value lives until the last step of its own block that reads it, itself or in a nested block.
  void plan_releases(const Block* block, BlockPlan& plan) {
    std::unordered_map<const Node*, std::size_t> position;
    for (std::size_t i = 0; i < plan.steps.size(); ++i) position[plan.steps[i].node] = i;
    const auto release = [&](const Value* value, std::size_t defined_at) {
      std::size_t last = defined_at;
      for (const auto& use : value->uses()) {
        const Node* user = use.user;
        while (user->owningBlock() != block) user = user->owningBlock()->owningNode();
        const auto found = position.find(user);
        if (found == position.end()) return;  // the block returns it
        last = std::max(last, found->second);
      }
      if (last < plan.steps.size()) plan.steps[last].released.push_back(slot(value));
    };
    for (const auto* input : block->inputs()) release(input, 0);
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      for (const auto* output : plan.steps[i].node->outputs()) release(output, i);
    }
  }

  std::unordered_map<const Value*, std::size_t> slots_;
  std::vector<std::pair<std::size_t, IValue>> constants_;
};

// The values of one run.
class Frame {
 public:
  Frame(std::size_t slot_count, const std::vector<std::pair<std::size_t, IValue>>& constants,
        const NodeObserver& observer, const NodeStandIn& stand_in)
      : values_(slot_count), observer_(observer), stand_in_(stand_in) {
    for (const auto& [slot, value] : constants) values_[slot] = value;
  }

  void set(std::size_t slot, IValue value) { values_[slot] = std::move(value); }
  const IValue& get(std::size_t slot) const { return values_[slot]; }

  void run_block(const BlockPlan& block) {
    for (const auto& step : block.steps) {
      if (observer_ || stand_in_) {
        run_observed(step);
      } else {
        run_step(step);
      }
      release(step);
    }
  }

  void run_step(const Step& step) {
    switch (step.kind) {
      case StepKind::kOperator:
        push(step.inputs);
        if (step.takes_count) stack_.emplace_back(static_cast<std::int64_t>(step.inputs.size()));
        (*step.operation)(stack_);
        return pop(step.outputs);
      case StepKind::kGetAttribute:
        return set(step.outputs[0], get(step.inputs[0]).toObjectRef().getSlot(step.attribute));
      case StepKind::kSetAttribute:
        return get(step.inputs[0]).toObject()->setSlot(step.attribute, get(step.inputs[1]));
      case StepKind::kIf:
        return run_if(step);
      case StepKind::kLoop:
        return run_loop(step);
      case StepKind::kList: {
        c10::impl::GenericList list(
            step.node->output()->type()->expectRef<c10::ListType>().getElementType());
        list.reserve(step.inputs.size());
        for (const auto slot : step.inputs) list.push_back(get(slot));
        return set(step.outputs[0], std::move(list));
      }
      case StepKind::kTuple:
        return set(step.outputs[0], c10::ivalue::Tuple::create(gather(step.inputs)));
      case StepKind::kTorch:
        push(step.inputs);
        torch::jit::InterpreterState(*step.code).run(stack_);
        return pop(step.outputs);
    }
  }
  void release(const Step& step) {
    for (const auto slot : step.released) values_[slot] = IValue();
  }

  std::vector<IValue> gather(const std::vector<std::size_t>& slots) const {
    std::vector<IValue> values;
    values.reserve(slots.size());
    for (const auto slot : slots) values.push_back(values_[slot]);
    return values;
  }

 private:
  void run_observed(const Step& step) {
    // Kept here as the step may be the last that reads them.
    const std::vector<IValue> inputs = gather(step.inputs);
    std::optional<IValue> output;
    if (stand_in_) output = stand_in_(*step.node, inputs);
    if (output) {
      set(step.outputs.at(0), *std::move(output));
    } else {
      run_step(step);
    }
    if (observer_) observer_(*step.node, inputs, gather(step.outputs));
  }

  void run_if(const Step& step) {
    const auto& block = step.blocks[get(step.inputs[0]).toBool() ? 0 : 1];
    run_block(block);
    set_all(step.outputs, take_outputs(block));
  }

  // Inputs: trip count, condition, carried values. Body: iteration, carried -> condition, carried.
  void run_loop(const Step& step) {
    const auto& body = step.blocks[0];
    const std::int64_t trips = get(step.inputs[0]).toInt();
    bool is_going_on = get(step.inputs[1]).toBool();
    std::vector<IValue> carried = gather(step.inputs);
    carried.erase(carried.begin(), carried.begin() + 2);
    for (std::int64_t trip = 0; trip < trips && is_going_on; ++trip) {
      set(body.inputs[0], trip);
      for (std::size_t i = 0; i < carried.size(); ++i) {
        set(body.inputs[i + 1], std::move(carried[i]));
      }
      run_block(body);
      carried = take_outputs(body);
      is_going_on = carried.front().toBool();
      carried.erase(carried.begin());
    }
    set_all(step.outputs, std::move(carried));
  }

  std::vector<IValue> take_outputs(const BlockPlan& block) {
    std::vector<IValue> outputs = gather(block.outputs);
    for (const auto slot : block.own_outputs) values_[slot] = IValue();
    return outputs;
  }

  void set_all(const std::vector<std::size_t>& slots, std::vector<IValue> values) {
    for (std::size_t i = 0; i < slots.size(); ++i) set(slots[i], std::move(values[i]));
  }

  void push(const std::vector<std::size_t>& slots) {
    for (const auto slot : slots) stack_.push_back(values_[slot]);
  }

  void pop(const std::vector<std::size_t>& slots) {
    for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
      values_[*slot] = std::move(stack_.back());
      stack_.pop_back();
    }
  }

  std::vector<IValue> values_;
  Stack stack_;
  const NodeObserver& observer_;
  const NodeStandIn& stand_in_;
};

}  // namespace interpreter

struct Interpreter::Plan {
  IValue self;
  interpreter::BlockPlan block;
  std::vector<std::pair<std::size_t, IValue>> constants;
  std::size_t slot_count = 0;

  void set_inputs(interpreter::Frame& frame, const std::vector<IValue>& inputs) const {
    TORCH_CHECK(inputs.size() + 1 == block.inputs.size(), "the model takes ",
                block.inputs.size() - 1, " inputs, not ", inputs.size());
    frame.set(block.inputs[0], self);
    for (std::size_t i = 0; i < inputs.size(); ++i) frame.set(block.inputs[i + 1], inputs[i]);
  }
};

Interpreter::Interpreter(const Model& model)
    : Interpreter(model.graph(), model.module()._ivalue()) {}

Interpreter::Interpreter(const Graph& graph, IValue self) : plan_(std::make_unique<Plan>()) {
  interpreter::Planner planner;
  plan_->self = std::move(self);
  plan_->block = planner.plan_block(graph.block());
  plan_->constants = planner.take_constants();
  plan_->slot_count = planner.slot_count();
}

Interpreter::~Interpreter() = default;

std::vector<IValue> Interpreter::run(const std::vector<IValue>& inputs,
                                     const NodeObserver& observer,
                                     const NodeStandIn& stand_in) const {
  interpreter::Frame frame(plan_->slot_count, plan_->constants, observer, stand_in);
  plan_->set_inputs(frame, inputs);
  frame.run_block(plan_->block);
  std::vector<IValue> outputs;
  for (const auto slot : plan_->block.outputs) outputs.push_back(frame.get(slot));
  return outputs;
}

struct PausedRun::State {
  const Interpreter::Plan& plan;
  interpreter::Frame frame;
  std::size_t next = 0;

  const interpreter::Step& next_step() const { return plan.block.steps.at(next); }
};

PausedRun::PausedRun(const Interpreter& interpreter, const std::vector<IValue>& inputs) {
  static const NodeObserver kNobody;
  static const NodeStandIn kNothing;
  const Interpreter::Plan& plan = *interpreter.plan_;
  state_ = std::make_unique<State>(
      State{plan, interpreter::Frame(plan.slot_count, plan.constants, kNobody, kNothing)});
  plan.set_inputs(state_->frame, inputs);
}

PausedRun::PausedRun(PausedRun&&) noexcept = default;
PausedRun& PausedRun::operator=(PausedRun&&) noexcept = default;
PausedRun::~PausedRun() = default;

bool PausedRun::advance_to(const Node* node) {
  while (state_->next < state_->plan.block.steps.size()) {
    if (state_->next_step().node == node) return true;
    step();
  }
  return false;
}

std::vector<IValue> PausedRun::inputs() const {
  return state_->frame.gather(state_->next_step().inputs);
}

std::vector<IValue> PausedRun::step() {
  const interpreter::Step& step = state_->next_step();
  state_->frame.run_step(step);
  std::vector<IValue> outputs = state_->frame.gather(step.outputs);
  state_->frame.release(step);
  ++state_->next;
  return outputs;
}

std::int64_t PausedRun::live_bytes() const {
  std::int64_t bytes = 0;
  const auto count = [&](std::size_t slot) {
    const IValue& value = state_->frame.get(slot);
    if (value.isTensor() && value.toTensor().defined())
      bytes += static_cast<std::int64_t>(value.toTensor().nbytes());
  };
  const interpreter::BlockPlan& block = state_->plan.block;
  std::for_each(block.inputs.begin() + 1, block.inputs.end(), count);
  for (std::size_t i = 0; i < state_->next; ++i) {
    if (block.steps[i].kind == interpreter::StepKind::kGetAttribute) continue;
    std::for_each(block.steps[i].outputs.begin(), block.steps[i].outputs.end(), count);
  }
  return bytes;
}

namespace {

template <typename Visit>
void for_each_constant(const Block* block, const Visit& visit) {
  for (const auto* node : block->nodes()) {
    if (node->kind() == prim::Constant)
      visit(node->output(), *torch::jit::toIValue(node->output()));
    for (const auto* nested : node->blocks()) for_each_constant(nested, visit);
  }
}

}  // namespace

ShapeMap record_shapes(const Model& model, const std::vector<at::Tensor>& inputs) {
  ShapeMap shapes;
  const auto record = [&](const Value* value, const IValue& content) {
    if (!content.isTensor() || !content.toTensor().defined()) return;
    const auto& tensor = content.toTensor();
    shapes[value] = {tensor.sizes().vec(), tensor.scalar_type()};
  };
  at::NoGradGuard no_grad;
  const auto& graph = model.graph();
  for (std::size_t i = 0; i < inputs.size() && i + 1 < graph.inputs().size(); ++i) {
    record(graph.inputs()[i + 1], inputs[i]);
  }
  for_each_constant(graph.block(), record);
  const std::vector<IValue> values(inputs.begin(), inputs.end());
  Interpreter(model).run(
      values, [&](const Node& node, c10::ArrayRef<IValue>, c10::ArrayRef<IValue> outputs) {
        for (std::size_t i = 0; i < outputs.size(); ++i) record(node.outputs()[i], outputs[i]);
      });
  return shapes;
}

}  // namespace edgecompress
