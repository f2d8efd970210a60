#include "eval/node_latency.h"

#include <gtest/gtest.h>

#include "model/layers.h"
#include "model/runtime.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

TEST(NodeLatency, TimesEveryNodeOfEveryNetwork) {
  initialise_runtime();
  const auto tiny = testing::make_tiny_model("cnn");
  Model a = Model::from_module(tiny.module, tiny.inputs);
  Model b = a.clone();
  LatencySpec spec;
  spec.warm_up = 1;
  spec.repeats = 3;
  const auto latency = measure_node_latency({&a, &b}, spec);
  ASSERT_EQ(latency.size(), 2U);
  std::size_t next = 0;
  for (const Model* model : {&a, &b}) {
    for (const Layer& layer : find_layers(*model))
      EXPECT_GT(latency[next].at(layer.node), 0) << layer.name;
    ++next;
  }
}

}  // namespace
}  // namespace edgecompress
