// What a report says of pruned channels and blocks, and of their repair.
#pragma once

#include <map>
#include <string>

#include "pruning/block_removal.h"
#include "pruning/channel_pruning.h"
#include "pruning/channel_repair.h"
#include "pruning/sparsity_training.h"
#include "recipe/options.h"

namespace edgecompress {

/// Sums up in the order in which things happen; a later removal adds to the ones before it.
class ChannelReport {
 public:
  /// `before`: what the network cost with the blocks.
  void add(const BlockRemoval& removal, const ChannelCost& before);
  void add(const SparsityTraining& sparsity);
  void add(const ChannelRemoval& removal);
  void add(const ChannelRepair& repair);
  /// Training between removals.
  void add(const TrainResult& training);

  bool has_changed() const { return has_changed_; }
  const std::map<std::string, double>& counts() const { return counts_; }
  const Json& details() const { return details_; }
  /// One sentence of how it stands.
  std::string note() const;

 private:
  std::string blocks_note() const;
  std::string channels_note() const;
  std::string why_unchanged() const;
  void count_channels(const ChannelRemoval& removal);

  bool has_changed_ = false;
  std::map<std::string, double> counts_;
  Json details_ = {{"layers", Json::array()}, {"left_alone", Json::array()}};
  std::string target_note_, repair_note_;
};

}  // namespace edgecompress
