// Gradients of every kind of adapter against finite differences, and what training them leaves
// alone.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "train/adapter_networks.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

using testing::AdapterCase;

/// In double precision, so that differences have digits.
Model double_network(const AdapterCase& adapter_case) {
  Model model = testing::network_of(adapter_case);
  for (const auto& [name, parameter] : model.named_parameters()) {
    model.set_tensor(name, parameter.detach().to(at::kDouble));
  }
  for (const auto& buffer : model.module().named_buffers()) {
    if (buffer.value.is_floating_point()) {
      model.set_tensor(buffer.name, buffer.value.to(at::kDouble));
    }
  }
  return model;
}

std::vector<at::Tensor> double_inputs(const Model& model) {
  std::vector<at::Tensor> inputs = model.example_inputs(2, 3);
  for (at::Tensor& input : inputs) {
    if (input.is_floating_point()) input = input.to(at::kDouble);
  }
  return inputs;
}

class AdapterGradients : public ::testing::TestWithParam<AdapterCase> {};

TEST_P(AdapterGradients, AreFiniteDifferences) {
  AdapterCase adapter_case = GetParam();
  adapter_case.settings.dropout = 0;  // the differences would be of other samples
  Model model = double_network(adapter_case);
  const auto inputs = double_inputs(model);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, adapter_case);
  testing::train_a_little(model, adapters);
  at::Tensor weights;
  const auto loss_of = [&] {
    const at::Tensor output = model.forward(inputs).at(0);
    if (!weights.defined()) weights = at::cos(at::arange(output.numel(), output.options()));
    return (output.flatten() * weights).sum();
  };
  for (const std::string& name : adapters.parameters()) {
    model.tensor(name).set_requires_grad(true);
    model.tensor(name).mutable_grad().reset();
  }
  loss_of().backward();

  const double step = 1e-6;
  for (const std::string& name : adapters.parameters()) {
    // |V| of DoRA is a constant in the backward pass by design: see the test below.
    const bool is_direction = name.find("magnitude") == std::string::npos;
    if (adapter_case.settings.dora && is_direction) continue;
    at::Tensor flat = model.tensor(name).detach().view({-1});
    const at::Tensor gradient = model.tensor(name).grad().flatten();
    const at::NoGradGuard no_grad;
    for (const std::int64_t i : {std::int64_t{0}, flat.numel() / 2, flat.numel() - 1}) {
      const double at = flat[i].item<double>();
      flat[i] = at + step;
      const double above = loss_of().item<double>();
      flat[i] = at - step;
      const double below = loss_of().item<double>();
      flat[i] = at;
      const double difference = (above - below) / (2 * step);
      EXPECT_NEAR(gradient[i].item<double>(), difference,
                  1e-5 * std::max(1.0, std::abs(difference)))
          << name << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AdapterGradients, ::testing::ValuesIn(testing::adapter_cases()),
                         [](const auto& test) { return test.param.name(); });

/// Of these DoRA alone is in the weights, and nothing is drawn.
std::vector<AdapterCase> dora_cases() {
  std::vector<AdapterCase> cases;
  for (const AdapterCase& adapter_case : testing::adapter_cases()) {
    const AdapterSettings& settings = adapter_case.settings;
    if (settings.dora && settings.dropout == 0 && !adapter_case.is_pissa) {
      cases.push_back(adapter_case);
    }
  }
  return cases;
}

/// With the norms held at what they are, DoRA is W' = g (W + scale B A), which is differentiable as
/// it is written: stock PyTorch's autograd of that is the oracle.
class DoraGradients : public ::testing::TestWithParam<AdapterCase> {};

TEST_P(DoraGradients, HoldTheNorms) {
  const AdapterCase& adapter_case = GetParam();
  Model model = double_network(adapter_case);
  const Model base = double_network(adapter_case);
  const auto inputs = double_inputs(model);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, adapter_case);
  testing::train_a_little(model, adapters);
  const std::vector<Adapter> all = adapters.current();
  for (const std::string& name : adapters.parameters()) {
    model.tensor(name).set_requires_grad(true);
    model.tensor(name).mutable_grad().reset();
  }
  model.forward(inputs).at(0).square().sum().backward();

  // The same network with weights that are computed outside of it.
  Model plain = double_network(adapter_case);
  const auto targets = find_adapter_targets(plain, LayerFilter({}, {}), true).targets;
  ASSERT_EQ(targets.size(), all.size());
  std::vector<at::Tensor> leaves;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const at::Tensor weight = base.tensor(targets[i].weight).detach();
    const at::Tensor a = all[i].a.clone().set_requires_grad(true);
    const at::Tensor b = all[i].b.clone().set_requires_grad(true);
    leaves.insert(leaves.end(), {a, b});
    const bool flips = all[i].has_inputs_first();
    const at::Tensor outputs_first = flips ? weight.transpose(0, 1) : weight;
    const at::Tensor v =
        outputs_first.flatten(1) + all[i].settings.scale() * at::matmul(b.flatten(1), a.flatten(1));
    const at::Tensor norm = v.detach().square().sum(1, true).sqrt();
    const at::Tensor whole =
        (v * (all[i].magnitude.view({-1, 1}) / norm)).view(outputs_first.sizes());
    // A tensor with a history can't be set by set_tensor(), which detaches.
    auto owner = plain.module();
    std::string name = targets[i].weight;
    for (auto dot = name.find('.'); dot != std::string::npos; dot = name.find('.')) {
      owner = owner.attr(name.substr(0, dot)).toModule();
      name = name.substr(dot + 1);
    }
    owner._ivalue()->setAttr(name, flips ? whole.transpose(0, 1) : whole);
  }
  plain.forward(inputs).at(0).square().sum().backward();
  std::size_t leaf = 0;
  for (const std::string& name : adapters.parameters()) {
    if (name.find("magnitude") != std::string::npos) continue;
    const at::Tensor expected = leaves.at(leaf++).grad();
    EXPECT_LT((model.tensor(name).grad() - expected).abs().max().item<double>(),
              1e-9 * std::max(1.0, expected.abs().max().item<double>()))
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, DoraGradients, ::testing::ValuesIn(dora_cases()),
                         [](const auto& test) { return test.param.name(); });

TEST(TrainedAdapters, AloneHoldGradients) {
  for (const char* network : {"mlp", "cnn", "transformer"}) {
    Model model = testing::tiny(network);
    Adapters adapters(model, true);
    testing::add_adapters(adapters, model, {network, {2, 8, false, true}});
    TrainTask task;
    task.name = "test";
    task.parameters = {{adapters.parameters()}};
    task.options.optimizer.name = "adamw";
    task.loss = target_loss({});
    task.data = testing::make_tiny_data(testing::make_tiny_model(network), 64, 1);
    task.batch_size = 32;
    const auto names = adapters.parameters();
    const std::set<std::string> trained(names.begin(), names.end());
    std::int64_t steps = 0;
    task.regularize = [&](std::int64_t, std::int64_t) {
      for (const auto& [name, parameter] : model.named_parameters()) {
        EXPECT_EQ(parameter.grad().defined(), trained.count(name) == 1) << name;
      }
      ++steps;
    };
    Progress progress;
    const TrainResult result = train(model, task, progress);
    EXPECT_EQ(steps, 2);
    std::int64_t numbers = 0;
    for (const std::string& name : names) numbers += model.tensor(name).numel();
    EXPECT_EQ(result.parameters, numbers);
  }
}

}  // namespace
}  // namespace edgecompress
