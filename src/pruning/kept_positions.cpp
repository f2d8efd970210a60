#include "pruning/kept_positions.h"

#include <ATen/ATen.h>

#include <vector>

namespace edgecompress {
namespace {

/// Where a position stood before those of `gone` were taken out.
std::int64_t position_before(std::int64_t position, const std::set<std::int64_t>& gone) {
  for (const std::int64_t other : gone) {
    if (other > position) break;
    ++position;
  }
  return position;
}

}  // namespace

void KeptPositions::remove(const ChannelGroups& groups, const UnitChoice& removed) {
  const auto before = gone_;
  for (std::size_t i = 0; i < groups.groups.size(); ++i) {
    if (removed[i].empty()) continue;
    for (const ChannelMember& member : groups.groups[i].members) {
      if (member.role == ChannelAxis::Role::kConsumes) consumers_.insert(member.tensor);
      const std::pair<std::string, std::int64_t> line(member.tensor, member.dim);
      const auto gone_before = before.find(line);
      auto& gone = gone_[line];
      for (const std::int64_t unit : removed[i]) {
        for (const std::int64_t position : member.positions[static_cast<std::size_t>(unit)]) {
          gone.insert(gone_before == before.end() ? position
                                                  : position_before(position, gone_before->second));
        }
      }
    }
  }
}

at::Tensor KeptPositions::of(const std::string& tensor, std::int64_t dim, std::int64_t size) const {
  const auto gone = gone_.find({tensor, dim});
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < size; ++i) {
    if (gone == gone_.end() || gone->second.count(i) == 0) kept.push_back(i);
  }
  return at::tensor(kept, at::kLong);
}

}  // namespace edgecompress
