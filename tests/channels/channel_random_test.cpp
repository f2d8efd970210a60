// Channel removal on random networks: what is left must give the outputs of the network that only
// ignores what was removed.
#include <gtest/gtest.h>

#include <cstdlib>

#include "support/channel_checks.h"
#include "support/random_network.h"

namespace edgecompress {
namespace {

/// EDGECOMPRESS_RANDOM_NETWORKS=1000 tries so many, EDGECOMPRESS_RANDOM_SEED=7 begins with that
/// one.
std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(ChannelRandomTest, PrunedEqualsMasked) {
  const std::uint64_t first = number_from("EDGECOMPRESS_RANDOM_SEED", 0);
  const std::uint64_t count = number_from("EDGECOMPRESS_RANDOM_NETWORKS", 150);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const auto network = testing::make_random_network(seed, 2 + static_cast<int>(seed % 10));
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + testing::to_text(network));
    std::string difference;
    try {
      const Model model = testing::make_text_network(network, seed);
      difference = testing::difference_for_any_choice(model, seed, 1);
    } catch (const std::exception& error) {
      difference = error.what();
    }
    EXPECT_EQ(difference, "");
  }
}

}  // namespace
}  // namespace edgecompress
