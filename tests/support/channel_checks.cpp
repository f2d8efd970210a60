#include "support/channel_checks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "support/temporary_folder.h"

namespace edgecompress::testing {
namespace {

std::string compare(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& expected) {
  std::ostringstream text;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (found[i].sizes() != expected[i].sizes()) {
      text << "output " << i << " has sizes " << found[i].sizes() << ", not "
           << expected[i].sizes();
      return text.str();
    }
    const double size = expected[i].abs().max().item<double>();
    const double difference = (found[i] - expected[i]).abs().max().item<double>();
    // Written so that NaN differs too.
    if (!(difference <= 1e-7 * (1 + size))) {
      text << "output " << i << " differs by " << difference << ", of " << size;
      return text.str();
    }
  }
  return "";
}

bool accepts(const Model& model, const std::vector<at::Tensor>& inputs) {
  try {
    model.forward(inputs);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

UnitChoice random_choice(const ChannelGroups& groups, std::mt19937_64& random) {
  UnitChoice choice;
  for (const ChannelGroup& group : groups.groups) {
    const auto units = static_cast<std::int64_t>(group.units.size());
    std::vector<std::int64_t> order(static_cast<std::size_t>(units));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    const std::uint64_t kind = random() % 8;
    const std::int64_t some = units < 2 ? 0 : 1 + static_cast<std::int64_t>(random() % (units - 1));
    const std::int64_t count = kind == 0 ? 0 : kind == 1 ? units - 1 : some;
    order.resize(static_cast<std::size_t>(count));
    std::sort(order.begin(), order.end());
    choice.push_back(std::move(order));
  }
  return choice;
}

std::string difference_of_pruned_and_masked(const Model& model, AttentionUnit unit,
                                            const UnitChoice& removed) {
  const at::NoGradGuard no_grad;
  Model masked = model.clone(), pruned = model.clone();
  const ChannelGroups groups = find_channel_groups(pruned, unit);
  mask_channels(masked, groups, removed);
  remove_channels(pruned, groups, removed);
  const TemporaryFolder folder;
  pruned.save(folder.path() / "pruned.pt");
  const std::int64_t batch = model.inputs()[0].shape[0];
  for (const std::int64_t size : {batch, batch + 2}) {
    const auto inputs = model.example_inputs(size, 7);
    if (size != batch && !accepts(model, inputs)) continue;
    const std::string at = " at batch size " + std::to_string(size);
    try {
      const auto expected = masked.forward(inputs);
      const auto difference = compare(pruned.forward(inputs), expected);
      if (!difference.empty()) return difference + at;
      const auto loaded = Model::load(folder.path() / "pruned.pt", model.inputs());
      const auto saved_difference = compare(loaded.forward(inputs), expected);
      if (!saved_difference.empty()) return saved_difference + at + ", saved and loaded";
    } catch (const std::exception& error) {
      return error.what() + at;
    }
  }
  return "";
}

std::string difference_for_any_choice(const Model& model, std::uint64_t seed, int choices) {
  std::mt19937_64 random(seed);
  for (const AttentionUnit unit : {AttentionUnit::kHeads, AttentionUnit::kWidth}) {
    const auto groups = find_channel_groups(model, unit);
    for (int i = 0; i < choices; ++i) {
      const auto choice = random_choice(groups, random);
      std::string difference;
      try {
        difference = difference_of_pruned_and_masked(model, unit, choice);
      } catch (const std::exception& error) {
        difference = error.what();
      }
      if (difference.empty()) continue;
      std::ostringstream text;
      text << difference << "\nremoved, with "
           << (unit == AttentionUnit::kHeads ? "heads" : "their width") << " as units:";
      const auto lines = lines_of_groups(groups);
      for (std::size_t group = 0; group < lines.size(); ++group) {
        text << "\n  [" << at::IntArrayRef(choice[group]) << "] of " << lines[group];
      }
      return text.str();
    }
  }
  return "";
}

std::vector<std::string> lines_of_groups(const ChannelGroups& groups) {
  std::vector<std::string> lines;
  for (const ChannelGroup& group : groups.groups) {
    std::ostringstream line;
    line << group.name << " x" << group.units.size() << ":";
    for (const ChannelMember& member : group.members) {
      line << " " << member.tensor << "[" << member.dim << "]";
      if (member.positions[0].size() > 1) line << "/" << member.positions[0].size();
    }
    lines.push_back(line.str());
  }
  return lines;
}

std::vector<std::string> lines_of_fixed(const ChannelGroups& groups) {
  std::vector<std::string> lines;
  for (const FixedLayer& fixed : groups.fixed) lines.push_back(fixed.layer + ": " + fixed.reason);
  return lines;
}

}  // namespace edgecompress::testing
