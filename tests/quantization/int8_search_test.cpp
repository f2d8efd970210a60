#include "quantization/int8_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

namespace edgecompress {
namespace {

/// A network of layers that each lose some accuracy and save some of 10 ms in INT8.
struct Network {
  std::vector<Int8LayerCost> layers;
  std::map<std::string, double> losses;
  std::size_t tried = 0;

  void add(const std::string& name, double loss, double gain_ms) {
    layers.push_back({name, -10 * std::log10(loss), gain_ms});
    losses[name] = loss;
  }
  Int8Worth operator()(const Int8Candidate& candidate) {
    ++tried;
    if (candidate.is_dynamic) return {0, 0.9, 0.5};
    Int8Worth worth{0, 1, 1};
    for (const Int8LayerCost& layer : layers) {
      if (candidate.floats.count(layer.name)) continue;
      worth.loss += losses.at(layer.name);
      *worth.latency_share -= *layer.gain_ms / 10;
      worth.size_share -= 0.75 / static_cast<double>(layers.size());
    }
    return worth;
  }
  Int8Choice search(const Int8Bounds& bounds, bool has_dynamic = false) {
    return search_int8(layers, bounds, has_dynamic, std::ref(*this));
  }
};

const Int8Trial& best_of(const Int8Choice& choice) { return choice.trials.at(choice.best.value()); }

TEST(Int8Search, TakesAllLayersAtOnceWhereNoneLoses) {
  Network network;
  for (int i = 0; i < 8; ++i) network.add("layer" + std::to_string(i), 1e-4, 1);
  const Int8Choice choice = network.search({0.01, {}, {}});
  EXPECT_EQ(network.tried, 1U);
  EXPECT_TRUE(best_of(choice).candidate.floats.empty());
  EXPECT_TRUE(best_of(choice).meets_bounds);
}

TEST(Int8Search, LeavesSlowerLayersFloat) {
  Network network;
  network.add("slow", 1e-4, -0.5);
  network.add("fast", 1e-4, 5);
  const Int8Choice choice = network.search({});
  EXPECT_EQ(best_of(choice).candidate.floats, std::set<std::string>{"slow"});
}

TEST(Int8Search, LeavesFewestAndDearestLayersFloatForTheBound) {
  Network network;
  for (int i = 0; i < 30; ++i) network.add("good" + std::to_string(i), 1e-5, 0.2);
  network.add("bad1", 0.02, 0.3);
  network.add("bad2", 0.03, 0.3);
  network.add("dear but worth it", 0.005, 3);
  const Int8Choice choice = network.search({0.01, {}, {}});
  EXPECT_EQ(best_of(choice).candidate.floats, (std::set<std::string>{"bad1", "bad2"}));
  EXPECT_LE(network.tried, 8U);  // 1 + log2 of 33 layers, rounded up
}

TEST(Int8Search, EndsWithFloatWhereNothingIsFaster) {
  Network network;
  network.add("a", 1e-5, -1);
  network.add("b", 1e-5, -2);
  EXPECT_FALSE(network.search({}).best);
  Int8Bounds small;
  small.max_size_ratio = 0.5;  // then it is the size that is asked for
  EXPECT_TRUE(network.search(small).best);
}

TEST(Int8Search, EndsWithFloatWhereAllLayersLoseTooMuch) {
  Network network;
  network.add("a", 0.5, 1);
  network.add("b", 0.6, 1);
  EXPECT_FALSE(network.search({0.01, {}, {}}).best);
}

TEST(Int8Search, LeavesTheBestSeenWhereABoundIsMissed) {
  Network network;
  network.add("a", 1e-4, 1);
  network.add("b", 0.2, 2);
  const Int8Choice choice = network.search({0.01, 3.0, {}});
  EXPECT_EQ(best_of(choice).candidate.floats, std::set<std::string>{"b"});
  EXPECT_FALSE(best_of(choice).meets_bounds);
}

TEST(Int8Search, TriesTheDynamicNetworkToo) {
  Network network;
  network.add("a", 0.5, 1);
  const Int8Choice choice = network.search({0.01, {}, {}}, true);
  EXPECT_TRUE(best_of(choice).candidate.is_dynamic);
}

TEST(Int8Search, GoesByAccuracyAndSizeWhereLatencyIsUnknown) {
  const std::vector<Int8LayerCost> layers = {{"a", 50, {}}, {"b", 10, {}}};
  const Int8Choice choice =
      search_int8(layers, {0.01, {}, {}}, false, [](const Int8Candidate& candidate) {
        const double floats = static_cast<double>(candidate.floats.size());
        return Int8Worth{candidate.floats.count("b") ? 0.0 : 0.1, {}, 0.25 + floats / 4, true};
      });
  EXPECT_EQ(best_of(choice).candidate.floats, std::set<std::string>{"b"});
}

}  // namespace
}  // namespace edgecompress
