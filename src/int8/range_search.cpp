#include "int8/range_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace edgecompress {
namespace {

constexpr std::size_t kCandidates = 128;  // for each end of the range
constexpr int kSweeps = 4;                // over both ends; most searches settle in two

/// The bins between the outermost ones that hold values, and zero.
class Bins {
 public:
  explicit Bins(const Histogram& histogram)
      : histogram_(histogram), zero_(static_cast<std::size_t>(-histogram.first_bin())) {
    const auto& counts = histogram.counts();
    const auto is_used = [](std::int64_t count) { return count > 0; };
    const auto first = std::find_if(counts.begin(), counts.end(), is_used) - counts.begin();
    const auto past = counts.rend() - std::find_if(counts.rbegin(), counts.rend(), is_used);
    first_ = std::min(zero_, static_cast<std::size_t>(first));
    past_ = std::max(zero_, static_cast<std::size_t>(past));
  }

  /// The lower edge of a bin, or the upper of the one before.
  double edge(std::size_t bin) const {
    return (static_cast<double>(bin) - static_cast<double>(zero_)) * histogram_.width();
  }
  double middle(std::size_t bin) const { return edge(bin) + histogram_.width() / 2; }
  double count(std::size_t bin) const { return static_cast<double>(histogram_.counts()[bin]); }
  std::size_t size() const { return histogram_.counts().size(); }
  std::size_t zero() const { return zero_; }
  std::size_t first() const { return first_; }
  std::size_t past() const { return past_; }

  /// Bins at which a range may begin (the first one inside), from the widest range on.
  std::vector<std::size_t> beginnings() const {
    std::vector<std::size_t> bins;
    for (std::size_t i = kCandidates; i > 0; --i)
      bins.push_back(zero_ - ((zero_ - first_) * i + kCandidates - 1) / kCandidates);
    bins.erase(std::unique(bins.begin(), bins.end()), bins.end());
    return bins;
  }
  /// Bins at which a range may end (the first one outside), from the widest range on.
  std::vector<std::size_t> ends() const {
    std::vector<std::size_t> bins;
    for (std::size_t i = kCandidates; i > 0; --i)
      bins.push_back(zero_ + ((past_ - zero_) * i + kCandidates - 1) / kCandidates);
    bins.erase(std::unique(bins.begin(), bins.end()), bins.end());
    return bins;
  }

 private:
  const Histogram& histogram_;
  std::size_t zero_, first_ = 0, past_ = 0;
};

/// Sums over all values below a bin's lower edge; values count as the middle of their bin.
struct Moments {
  double count = 0, sum = 0, squares = 0;

  /// Sum of (x - edge)^2 over the values counted here.
  double distance(double edge) const { return squares - 2 * edge * sum + edge * edge * count; }
};

std::vector<Moments> moments_below(const Bins& bins) {
  std::vector<Moments> below(bins.size() + 1);
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const double middle = bins.middle(i), count = bins.count(i);
    below[i + 1] = {below[i].count + count, below[i].sum + count * middle,
                    below[i].squares + count * middle * middle};
  }
  return below;
}

double x_log_x(double x) { return x > 0 ? x * std::log(x) : 0; }

/// The divergence of any range, in as many steps as it has levels, from sums over all bins.
class Divergence {
 public:
  Divergence(const Bins& bins, std::int64_t steps)
      : bins_(bins), steps_(steps), below_(bins.size() + 1), last_used_(bins.size() + 1) {
    for (std::size_t i = 0; i < bins.size(); ++i) {
      const double count = bins.count(i);
      below_[i + 1] = {below_[i].count + count, below_[i].used + (count > 0 ? 1 : 0),
                       below_[i].entropy + x_log_x(count)};
      last_used_[i + 1] = count > 0 ? i : last_used_[i];
    }
    next_used_.assign(bins.size() + 1, bins.size());
    for (std::size_t i = bins.size(); i-- > 0;)
      next_used_[i] = bins.count(i) > 0 ? i : next_used_[i + 1];
  }

  /// Of the bins from `begin` to before `end`.
  double operator()(std::size_t begin, std::size_t end) const {
    const double all = below_.back().count;
    const double inside = below_[end].count - below_[begin].count;
    if (inside == 0) return std::numeric_limits<double>::infinity();
    const double outside_low = below_[begin].count, outside_high = all - below_[end].count;
    double p_log_p = below_[end].entropy - below_[begin].entropy - x_log_x(all);
    const std::size_t lowest = next_used_[begin], highest = last_used_[end];
    p_log_p += lowest == highest ? gain(lowest, outside_low + outside_high)
                                 : gain(lowest, outside_low) + gain(highest, outside_high);
    return (p_log_p - p_log_q(begin, end, outside_low, outside_high) + all * std::log(inside)) /
           all;
  }

 private:
  struct Sums {
    double count = 0, used = 0, entropy = 0;  // of used bins; of count log count
  };

  /// What a bin's count log count gains from values of outside.
  double gain(std::size_t bin, double outside) const {
    return x_log_x(bins_.count(bin) + outside) - x_log_x(bins_.count(bin));
  }

  /// The sum of p log q, both not yet divided by their sums.
  double p_log_q(std::size_t begin, std::size_t end, double outside_low,
                 double outside_high) const {
    // Levels are centred on multiples of a step, so the outer two are half as wide.
    const double step = static_cast<double>(end - begin) / static_cast<double>(steps_);
    double sum = 0, last_log = 0;
    bool is_first = true;
    std::size_t level_begin = begin;
    for (std::int64_t level = 0; level <= steps_; ++level) {
      const auto level_end = std::min(
          end, begin + static_cast<std::size_t>((static_cast<double>(level) + 0.5) * step + 0.5));
      const double count = below_[level_end].count - below_[level_begin].count;
      if (count > 0) {
        last_log = std::log(count / (below_[level_end].used - below_[level_begin].used));
        sum += count * last_log;
        if (is_first) sum += outside_low * last_log;
        is_first = false;
      }
      level_begin = level_end;
    }
    return sum + outside_high * last_log;
  }

  const Bins& bins_;
  std::int64_t steps_;
  std::vector<Sums> below_;                         // a bin
  std::vector<std::size_t> last_used_, next_used_;  // before a bin; from it on
};

}  // namespace

ValueRange percentile_range(const Histogram& histogram, double percentile) {
  if (histogram.counts().empty()) return {};
  const Bins bins(histogram);
  const bool has_two_ends = bins.first() < bins.zero() && bins.past() > bins.zero();
  const double cut =
      (100 - percentile) / 100 * static_cast<double>(histogram.total()) / (has_two_ends ? 2 : 1);
  ValueRange range;
  double left = cut;
  for (std::size_t bin = bins.first(); bin < bins.zero(); left -= bins.count(bin), ++bin) {
    if (bins.count(bin) <= left) continue;
    range.low = bins.edge(bin) + left / bins.count(bin) * histogram.width();
    break;
  }
  left = cut;
  for (std::size_t bin = bins.past(); bin > bins.zero(); left -= bins.count(bin - 1), --bin) {
    if (bins.count(bin - 1) <= left) continue;
    range.high = bins.edge(bin) - left / bins.count(bin - 1) * histogram.width();
    break;
  }
  return range;
}

ValueRange least_squared_error(const Histogram& histogram, std::int64_t steps) {
  if (histogram.counts().empty()) return {};
  const Bins bins(histogram);
  const std::vector<Moments> below = moments_below(bins);
  const Moments& all = below.back();
  const auto ends = bins.ends();
  ValueRange best;
  double least = std::numeric_limits<double>::infinity();
  for (const std::size_t begin : bins.beginnings()) {
    const double low = bins.edge(begin);
    const double clipped_low = below[begin].distance(low);
    for (const std::size_t end : ends) {
      const double high = bins.edge(end);
      const Moments above = {all.count - below[end].count, all.sum - below[end].sum,
                             all.squares - below[end].squares};
      const double inside = below[end].count - below[begin].count;
      const double step = (high - low) / static_cast<double>(steps);
      const double error = inside * step * step / 12 + clipped_low + above.distance(high);
      if (error < least) {
        least = error;
        best = {low, high};
      }
    }
  }
  return best;
}

ValueRange least_divergence(const Histogram& histogram, std::int64_t steps) {
  if (histogram.counts().empty()) return {};
  const Bins bins(histogram);
  const Divergence divergence(bins, steps);
  const auto beginnings = bins.beginnings(), ends = bins.ends();
  std::size_t begin = beginnings[0], end = ends[0];
  double least = divergence(begin, end);
  const bool has_two_ends = beginnings.size() > 1 && ends.size() > 1;
  bool has_moved = true;
  for (int sweep = 0; has_moved && sweep < (has_two_ends ? kSweeps : 1); ++sweep) {
    has_moved = false;
    const auto consider = [&](std::size_t new_begin, std::size_t new_end) {
      const double found = divergence(new_begin, new_end);
      if (!(found < least)) return;
      least = found;
      begin = new_begin;
      end = new_end;
      has_moved = true;
    };
    for (const std::size_t candidate : ends) consider(begin, candidate);
    for (const std::size_t candidate : beginnings) consider(candidate, end);
  }
  return {bins.edge(begin), bins.edge(end)};
}

}  // namespace edgecompress
