#include "support/random_network.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <random>
#include <set>

namespace edgecompress::testing {
namespace {

using Sizes = std::vector<std::int64_t>;

/// [n, channels, pixels...], [n, tokens, channels] or [n, channels].
enum class Layout { kImage, kTokens, kVector };

struct Live {
  std::string name;
  Layout layout;
  Sizes sizes;
  std::int64_t channels() const { return layout == Layout::kTokens ? sizes.back() : sizes[1]; }
  std::size_t rank() const { return sizes.size() - 2; }  ///< of an image's pixels
};

class Maker {
 public:
  explicit Maker(std::uint64_t seed) : random_(seed) {}

  TextNetwork make(int steps) {
    is_baked_ = chance(4);
    begin();
    for (int done = 0, tried = 0; done < steps && tried < 20 * steps; ++tried) done += step();
    end();
    return std::move(network_);
  }

 private:
  using Op = bool (Maker::*)(const Live&);

  void begin() {
    network_.forward = "def forward(self, x):\n  n = x.size(0)\n";
    if (chance(3)) {
      const std::int64_t width = below(6) + 3, tokens = pick({4, 6, 9});
      network_.inputs = {float_input({kBatch, tokens, width})};
      const auto embed = linear(fresh("fc"), pick({8, 12}), width);
      add(call(embed, "x"), Layout::kTokens, {kBatch, tokens, embed.tensors[0].second[0]});
      return;
    }
    const std::size_t rank = pick({1, 2, 2, 2, 3});
    Sizes sizes{kBatch, 3};
    for (std::size_t i = 0; i < rank; ++i) sizes.push_back(rank == 3 ? 2 : 4);
    network_.inputs = {float_input(sizes)};
    sizes[1] = pick({4, 6, 8, 12});
    add(call(conv(fresh("conv"), {sizes[1], 3, 3, 1, 1, rank}), "x"), Layout::kImage, sizes);
  }

  /// What nothing has used yet meets in the output.
  void end() {
    std::string sum;
    for (const Live& value : live_) {
      if (used_.count(value.name) > 0 && &value != &live_.back()) continue;
      std::string vector = value.name;
      std::int64_t width = value.channels();
      if (value.layout != Layout::kVector && chance(3)) {
        vector = fmt::format("torch.flatten({}, 1)", value.name);
        width = std::accumulate(value.sizes.begin() + 1, value.sizes.end(), std::int64_t{1},
                                std::multiplies<>());
      } else if (value.layout == Layout::kTokens) {
        vector = fmt::format("torch.mean({}, [1])", value.name);
      } else if (value.layout == Layout::kImage) {
        Sizes dims(value.rank());
        std::iota(dims.begin(), dims.end(), 2);
        vector = fmt::format("torch.mean({}, [{}])", value.name, fmt::join(dims, ", "));
      }
      sum += (sum.empty() ? "" : " + ") + call(linear(fresh("head"), 3, width), vector);
    }
    network_.forward += "  return " + sum + "\n";
  }

  bool step() {
    static const std::vector<Op> image_ops = {
        &Maker::convolve,        &Maker::convolve,      &Maker::convolve_grouped,
        &Maker::deconvolve,      &Maker::normalise,     &Maker::normalise,
        &Maker::activate,        &Maker::join_residual, &Maker::join_residual,
        &Maker::concatenate,     &Maker::part,          &Maker::part,
        &Maker::shuffle,         &Maker::pad_channels,  &Maker::shuffle_pixels,
        &Maker::excite,          &Maker::gate_halves,   &Maker::pool,
        &Maker::image_to_tokens, &Maker::to_vector,     &Maker::scale,
        &Maker::move_around,     &Maker::repeat,        &Maker::normalise_last,
        &Maker::part_in_groups,  &Maker::stack_pair};
    static const std::vector<Op> token_ops = {
        &Maker::project,     &Maker::project,         &Maker::normalise,     &Maker::activate,
        &Maker::attend,      &Maker::attend,          &Maker::attend,        &Maker::feed_forward,
        &Maker::gate_halves, &Maker::join_residual,   &Maker::concatenate,   &Maker::part,
        &Maker::recur,       &Maker::mix_tokens,      &Maker::prepend_token, &Maker::scale,
        &Maker::move_around, &Maker::tokens_to_image, &Maker::to_vector,     &Maker::part_in_groups,
        &Maker::stack_pair,  &Maker::attend_across};
    static const std::vector<Op> vector_ops = {
        &Maker::project, &Maker::activate,         &Maker::normalise, &Maker::gate_halves,
        &Maker::part,    &Maker::vector_to_tokens, &Maker::scale,     &Maker::concatenate};
    // Mostly what was made last, so that the graph grows deep.
    const std::size_t at = chance(3) ? below(live_.size()) : live_.size() - 1;
    const Live value = live_[at];
    const auto& ops = value.layout == Layout::kImage    ? image_ops
                      : value.layout == Layout::kTokens ? token_ops
                                                        : vector_ops;
    return (this->*ops[below(ops.size())])(value);
  }

  // Layers.
  bool convolve(const Live& x) {
    Sizes sizes = x.sizes;
    sizes[1] = pick({4, 6, 8, 12});
    const ConvShape shape{sizes[1], x.channels(), pick({1, 3}), 1, 1, x.rank()};
    return add(call(conv(fresh("conv"), shape), use(x)), Layout::kImage, sizes);
  }

  bool convolve_grouped(const Live& x) {
    const std::int64_t groups = divisor(x.channels());
    if (groups == 1) return false;
    Sizes sizes = x.sizes;
    sizes[1] = groups * pick({1, 1, 2, 3});
    const ConvShape shape{sizes[1], x.channels(), 3, groups, 1, x.rank()};
    return add(call(conv(fresh("grouped"), shape), use(x)), Layout::kImage, sizes);
  }

  bool deconvolve(const Live& x) {
    if (pixels(x) > 16) return false;
    const std::int64_t groups = chance(2) ? 1 : divisor(x.channels());
    Sizes sizes = x.sizes;
    sizes[1] = groups * pick({2, 3, 4});
    for (std::size_t i = 2; i < sizes.size(); ++i) sizes[i] *= 2;
    const auto layer = conv_transpose(fresh("up"), x.channels(), sizes[1], groups, x.rank());
    return add(call(layer, use(x)), Layout::kImage, sizes);
  }

  bool normalise(const Live& x) {
    const std::int64_t channels = x.channels();
    if (x.layout == Layout::kTokens) {
      return add(call(layer_norm(fresh("norm"), channels), use(x)), x.layout, x.sizes);
    }
    if (x.layout == Layout::kVector || chance(2)) {
      return add(call(batch_norm(fresh("bn"), channels), use(x)), x.layout, x.sizes);
    }
    const auto layer = chance(3) ? instance_norm(fresh("norm"), channels)
                                 : group_norm(fresh("norm"), divisor(channels), channels);
    return add(call(layer, use(x)), x.layout, x.sizes);
  }

  /// A layer norm over the channels of an image.
  bool normalise_last(const Live& x) {
    if (x.rank() != 2) return false;
    const std::string last = fmt::format("{}.permute([0, 2, 3, 1])", use(x));
    const std::string normalised = call(layer_norm(fresh("norm"), x.channels()), last);
    return add(normalised + ".permute([0, 3, 1, 2])", x.layout, x.sizes);
  }

  bool activate(const Live& x) {
    if (x.layout != Layout::kTokens && chance(4)) {
      const auto layer = prelu(fresh("prelu"), chance(2) ? 1 : x.channels());
      return add(call(layer, use(x)), x.layout, x.sizes);
    }
    if (chance(8)) {
      const auto dim = static_cast<std::int64_t>(below(x.sizes.size() - 1)) + 1;
      return add(fmt::format("torch.softmax({}, {})", use(x), dim), x.layout, x.sizes);
    }
    const char* op = kActivations[below(kActivations.size())];
    return add(fmt::format("torch.{}({})", op, use(x)), x.layout, x.sizes);
  }

  bool project(const Live& x) {
    Sizes sizes = x.sizes;
    sizes.back() = pick({4, 6, 8, 12});
    const auto layer = linear(fresh("fc"), sizes.back(), x.channels(), !chance(4));
    return add(call(layer, use(x)), x.layout, sizes);
  }

  bool feed_forward(const Live& x) {
    const std::int64_t width = x.channels(), inner = pick({6, 16});
    const std::string hidden = call(linear(fresh("fc"), inner, width), use(x));
    const std::string out =
        call(linear(fresh("fc"), width, inner), fmt::format("torch.gelu({})", hidden));
    return add(fmt::format("{} + {}", x.name, out), x.layout, x.sizes);
  }

  bool recur(const Live& x) {
    const RecurrentShape shape{chance(2) ? Recurrence::kLstm : Recurrence::kGru,
                               x.channels(),
                               pick({3, 4, 6}),
                               pick({1, 2}),
                               chance(2),
                               false};
    Sizes sizes = x.sizes;
    sizes.back() = shape.hidden * (shape.is_bidirectional ? 2 : 1);
    return add(call(recurrent(fresh("rnn"), shape), use(x)), x.layout, sizes);
  }

  // Joins.
  bool join_residual(const Live& x) {
    const char* op = kJoins[below(kJoins.size())];
    for (const Live& other : live_) {
      if (other.name != x.name && other.sizes == x.sizes && other.layout == x.layout) {
        return add(fmt::format(fmt::runtime(op), use(x), use(other)), x.layout, x.sizes);
      }
    }
    const std::int64_t channels = x.channels();
    const auto layer = x.layout == Layout::kImage
                           ? conv(fresh("conv"), {channels, channels, 3, 1, 1, x.rank()})
                           : linear(fresh("fc"), channels, channels);
    return add(fmt::format(fmt::runtime(op), call(layer, use(x)), x.name), x.layout, x.sizes);
  }

  bool concatenate(const Live& x) {
    const std::size_t dim = x.layout == Layout::kTokens ? 2 : 1;
    for (std::size_t tries = 0; tries < 4; ++tries) {
      const Live other = live_[below(live_.size())];
      if (other.layout != x.layout || other.sizes.size() != x.sizes.size()) continue;
      Sizes expected = x.sizes;
      expected[dim] = other.sizes[dim];
      if (expected != other.sizes || x.channels() + other.channels() > 24) continue;
      expected[dim] += x.sizes[dim];
      return add(fmt::format("torch.cat([{}, {}], {})", use(x), use(other), dim), x.layout,
                 expected);
    }
    return false;
  }

  bool stack_pair(const Live& x) {
    for (const Live& other : live_) {
      if (other.name == x.name || other.sizes != x.sizes || other.layout != x.layout) continue;
      const auto dim = static_cast<std::int64_t>(below(x.sizes.size())) + 1;
      const std::string stacked = fmt::format("torch.stack([{}, {}], {})", use(x), use(other), dim);
      return add(fmt::format("torch.sum({}, [{}])", stacked, dim), x.layout, x.sizes);
    }
    return false;
  }

  bool excite(const Live& x) {
    const std::int64_t channels = x.channels(), squeezed = pick({2, 4});
    Sizes dims(x.rank());
    std::iota(dims.begin(), dims.end(), 2);
    const std::string mean =
        fmt::format("torch.mean({}, [{}], True)", use(x), fmt::join(dims, ", "));
    const std::string inner =
        call(conv(fresh("squeeze"), {squeezed, channels, 1, 1, 1, x.rank()}), mean);
    const std::string outer = call(conv(fresh("excite"), {channels, squeezed, 1, 1, 1, x.rank()}),
                                   fmt::format("torch.relu({})", inner));
    return add(fmt::format("{} * torch.sigmoid({})", x.name, outer), x.layout, x.sizes);
  }

  /// By a parameter with an element a channel, or an element a position.
  bool scale(const Live& x) {
    Sizes shape(x.sizes.size(), 1);
    const bool is_wide = chance(2);
    if (is_wide) shape = x.sizes;
    shape[0] = 1;
    if (x.layout == Layout::kTokens) {
      shape.back() = x.channels();
    } else {
      shape[1] = x.channels();
    }
    if (chance(3)) shape = {1};
    const std::string name = fresh("scale");
    network_.layers.push_back({"", {{name, shape}}, ""});
    return add(fmt::format("{} {} self.{}", use(x), chance(2) ? "*" : "+", name), x.layout,
               x.sizes);
  }

  // Parts.
  bool part(const Live& x) {
    const std::int64_t channels = x.channels();
    if (channels < 4) return false;
    const std::size_t dim = x.layout == Layout::kTokens ? 2 : 1;
    Sizes first = x.sizes, second = x.sizes;
    const std::string name = fresh("v"), other = fresh("v");
    switch (below(4)) {
      case 0:
        if (channels % 2 != 0) return false;
        first[dim] = second[dim] = channels / 2;
        line(fmt::format("{}, {} = torch.chunk({}, 2, {})", name, other, use(x), dim));
        break;
      case 1:
        first[dim] = 1 + below(channels - 2);
        second[dim] = channels - first[dim];
        line(fmt::format("{}, {} = torch.split_with_sizes({}, [{}, {}], {})", name, other, use(x),
                         first[dim], second[dim], dim));
        break;
      case 2:
        first[dim] = 1 + below(channels - 2);
        second[dim] = channels - first[dim];
        line(fmt::format("{} = torch.slice({}, {}, 0, {}, 1)", name, use(x), dim, first[dim]));
        line(fmt::format("{} = torch.slice({}, {}, {}, {}, 1)", other, use(x), dim, first[dim],
                         chance(2) ? "9223372036854775807" : std::to_string(channels)));
        break;
      default:
        first[dim] = (channels + 1) / 2;
        second[dim] = channels / 2;
        line(fmt::format("{} = torch.slice({}, {}, 0, 9223372036854775807, 2)", name, use(x), dim));
        line(
            fmt::format("{} = torch.slice({}, {}, 1, 9223372036854775807, 2)", other, use(x), dim));
    }
    live_.push_back({name, x.layout, first});
    live_.push_back({other, x.layout, second});
    return true;
  }

  bool gate_halves(const Live& x) {
    if (x.channels() % 2 != 0 || x.channels() < 4) return false;
    const std::size_t dim = x.layout == Layout::kTokens ? 2 : 1;
    Sizes sizes = x.sizes;
    sizes[dim] /= 2;
    return add(fmt::format("torch.glu({}, {})", use(x), dim), x.layout, sizes);
  }

  /// [n, groups, width] of which each goes its own way.
  bool part_in_groups(const Live& x) {
    const std::int64_t channels = x.channels(), groups = pick({2, 3});
    if (channels % groups != 0 || channels == groups) return false;
    const std::size_t dim = x.layout == Layout::kTokens ? 2 : 1;
    Sizes sizes = x.sizes;
    sizes[dim] = channels / groups;
    Sizes parted = sizes;
    const bool is_inner = chance(2);
    parted.insert(parted.begin() + static_cast<std::ptrdiff_t>(dim) + (is_inner ? 1 : 0), groups);
    const std::string view = reshape(use(x), parted, x);
    std::string names;
    std::vector<std::string> made;
    for (std::int64_t i = 0; i < groups; ++i) {
      made.push_back(fresh("v"));
      names += (i == 0 ? "" : ", ") + made.back();
    }
    line(fmt::format("{} = torch.unbind({}, {})", names, view, dim + (is_inner ? 1 : 0)));
    for (const std::string& name : made) live_.push_back({name, x.layout, sizes});
    return true;
  }

  // Movement.
  bool shuffle(const Live& x) {
    const std::int64_t groups = divisor(x.channels());
    if (groups == 1 || groups == x.channels()) return false;
    Sizes parted = x.sizes;
    parted[1] /= groups;
    parted.insert(parted.begin() + 1, groups);
    const std::string view = reshape(use(x), parted, x);
    return add(reshape(view + ".transpose(1, 2)", x.sizes, x), x.layout, x.sizes);
  }

  bool pad_channels(const Live& x) {
    const std::int64_t before = pick({0, 1, 2}), after = pick({1, 2, 3});
    Sizes pads(2 * x.rank(), 0);
    pads.push_back(before);
    pads.push_back(after);
    Sizes sizes = x.sizes;
    sizes[1] += before + after;
    return add(fmt::format("torch.constant_pad_nd({}, [{}], {})", use(x), fmt::join(pads, ", "),
                           chance(2) ? "0" : "0.5"),
               x.layout, sizes);
  }

  bool shuffle_pixels(const Live& x) {
    if (x.rank() != 2) return false;
    Sizes sizes = x.sizes;
    if (x.channels() % 4 == 0 && pixels(x) <= 16) {
      sizes[1] /= 4;
      sizes[2] *= 2;
      sizes[3] *= 2;
      return add(fmt::format("torch.pixel_shuffle({}, 2)", use(x)), x.layout, sizes);
    }
    if (sizes[2] % 2 != 0 || x.channels() > 4) return false;
    sizes[1] *= 4;
    sizes[2] /= 2;
    sizes[3] /= 2;
    return add(fmt::format("torch.pixel_unshuffle({}, 2)", use(x)), x.layout, sizes);
  }

  bool pool(const Live& x) {
    if (x.sizes[2] % 2 != 0) return false;
    Sizes sizes = x.sizes;
    for (std::size_t i = 2; i < sizes.size(); ++i) sizes[i] /= 2;
    const Sizes two(x.rank(), 2);
    const std::string list = fmt::format("[{}]", fmt::join(two, ", "));
    return add(fmt::format("torch.{}_pool{}d({}, {}, {})", chance(2) ? "max" : "avg", x.rank(),
                           use(x), list, list),
               x.layout, sizes);
  }

  bool repeat(const Live& x) {
    if (x.channels() > 8) return false;
    Sizes times(x.sizes.size(), 1), sizes = x.sizes;
    times[1] = 2;
    sizes[1] *= 2;
    return add(fmt::format("{}.repeat([{}])", use(x), fmt::join(times, ", ")), x.layout, sizes);
  }

  bool move_around(const Live& x) {
    const auto dim = 1 + below(x.sizes.size() - 1);
    if (chance(2)) return add(fmt::format("torch.flip({}, [{}])", use(x), dim), x.layout, x.sizes);
    return add(fmt::format("torch.roll({}, [1], [{}])", use(x), dim), x.layout, x.sizes);
  }

  bool image_to_tokens(const Live& x) {
    return add(fmt::format("torch.flatten({}, 2).transpose(1, 2)", use(x)), Layout::kTokens,
               {kBatch, pixels(x), x.channels()});
  }

  bool tokens_to_image(const Live& x) {
    const std::int64_t tokens = x.sizes[1], channels = x.channels();
    if (tokens % 2 != 0 || chance(4)) {
      return add(use(x) + ".transpose(1, 2)", Layout::kImage, {kBatch, channels, tokens});
    }
    const Sizes sizes{kBatch, channels, 2, tokens / 2};
    return add(reshape(use(x) + ".transpose(1, 2)", sizes, x), Layout::kImage, sizes);
  }

  bool to_vector(const Live& x) {
    if (pixels(x) * x.channels() <= 64 && chance(2)) {
      return add(fmt::format("torch.flatten({}, 1)", use(x)), Layout::kVector,
                 {kBatch, pixels(x) * x.channels()});
    }
    if (x.layout == Layout::kTokens) {
      return add(fmt::format("torch.select({}, 1, 0)", use(x)), Layout::kVector,
                 {kBatch, x.channels()});
    }
    return add(fmt::format("torch.amax({}, [{}])", use(x),
                           x.rank() == 1   ? "2"
                           : x.rank() == 2 ? "2, 3"
                                           : "2, 3, 4"),
               Layout::kVector, {kBatch, x.channels()});
  }

  bool vector_to_tokens(const Live& x) {
    const std::int64_t tokens = divisor(x.channels());
    const Sizes sizes{kBatch, tokens, x.channels() / tokens};
    if (sizes[2] < 3) return false;
    return add(reshape(use(x), sizes, x), Layout::kTokens, sizes);
  }

  // Attention.
  bool mix_tokens(const Live& x) {
    const std::int64_t tokens = x.sizes[1];
    const std::string mixed =
        call(linear(fresh("mix"), tokens, tokens), use(x) + ".transpose(1, 2)");
    return add(fmt::format("{} + {}.transpose(1, 2)", x.name, mixed), x.layout, x.sizes);
  }

  bool prepend_token(const Live& x) {
    const std::string name = fresh("token"), batch = is_baked_ ? std::to_string(kBatch) : "n";
    network_.layers.push_back({"", {{name, {1, 1, x.channels()}}}, ""});
    Sizes sizes = x.sizes;
    sizes[1] += 1;
    return add(fmt::format("torch.cat([self.{}.expand([{}, -1, -1]), {}], 1)", name, batch, use(x)),
               x.layout, sizes);
  }

  bool attend(const Live& x) {
    const std::int64_t heads = pick({2, 3}), width = pick({2, 4}), inner = heads * width;
    const std::int64_t tokens = x.sizes[1];
    const Sizes merged{kBatch, tokens, inner};
    std::string q, k, v;
    const auto parted = [&](const std::string& text) {
      return reshape(text, {kBatch, tokens, heads, width}, x) + ".transpose(1, 2)";
    };
    const std::uint64_t spelling = below(5);
    if (spelling == 0) {  // three projections
      q = parted(call(linear(fresh("q"), inner, x.channels()), use(x)));
      k = parted(call(linear(fresh("k"), inner, x.channels()), use(x)));
      v = parted(call(linear(fresh("v"), inner, x.channels()), use(x)));
    } else {
      const std::string fused =
          name_of(call(linear(fresh("qkv"), 3 * inner, x.channels()), use(x)));
      q = fresh("q"), k = fresh("k"), v = fresh("v");
      if (spelling == 1) {  // (3, heads, width) and unbind
        const std::string view = reshape(fused, {kBatch, tokens, 3, heads, width}, x);
        line(fmt::format("{}, {}, {} = torch.unbind({}.permute([2, 0, 3, 1, 4]), 0)", q, k, v,
                         view));
      } else if (spelling == 2) {  // (3, heads, width) and select
        const std::string view = name_of(reshape(fused, {kBatch, tokens, 3, heads, width}, x) +
                                         ".permute([2, 0, 3, 1, 4])");
        line(fmt::format("{} = {}[0]", q, view));
        line(fmt::format("{} = {}[1]", k, view));
        line(fmt::format("{} = {}[2]", v, view));
      } else if (spelling == 3) {  // chunk and view
        line(fmt::format("{}, {}, {} = torch.chunk({}, 3, -1)", q, k, v, fused));
        q = parted(q), k = parted(k), v = parted(v);
      } else {  // (heads, 3 * width) and split
        const std::string view = reshape(fused, {kBatch, tokens, heads, 3 * width}, x);
        line(
            fmt::format("{}, {}, {} = torch.split_with_sizes({}.transpose(1, 2), [{}, {}, {}], -1)",
                        q, k, v, view, width, width, width));
      }
    }
    std::string scores, mixed;
    if (chance(3)) {
      scores = fmt::format("torch.einsum('bhqd,bhkd->bhqk', [{}, {}])", q, k);
    } else {
      scores = fmt::format("torch.matmul({}, {}.transpose(-2, -1))", q, k);
    }
    scores += " * 0.5";
    if (chance(3)) {  // a bias of each head and pair of positions
      const std::string bias = fresh("bias");
      network_.layers.push_back({"", {{bias, {heads, tokens, tokens}}}, ""});
      scores += fmt::format(" + self.{}.unsqueeze(0)", bias);
    }
    const std::string weights = fmt::format("torch.softmax({}, -1)", scores);
    if (chance(3)) {
      mixed = fmt::format("torch.einsum('bhqk,bhkd->bqhd', [{}, {}])", weights, v);
    } else {
      mixed = fmt::format("torch.matmul({}, {}).transpose(1, 2)", weights, v);
    }
    const std::string out =
        call(linear(fresh("proj"), x.channels(), inner), reshape(mixed, merged, x));
    return add(chance(2) ? fmt::format("{} + {}", x.name, out) : out, x.layout, x.sizes);
  }

  /// Without heads, to the tokens of another value, of whatever width.
  bool attend_across(const Live& x) {
    for (const Live& other : live_) {
      if (other.layout != Layout::kTokens || other.name == x.name) continue;
      const std::int64_t inner = pick({4, 6});
      const std::string q = call(linear(fresh("q"), inner, x.channels()), use(x));
      const std::string k = call(linear(fresh("k"), inner, other.channels()), use(other));
      const std::string v = call(linear(fresh("v"), x.channels(), other.channels()), other.name);
      return add(
          fmt::format("{} + torch.bmm(torch.softmax(torch.bmm({}, {}.transpose(1, 2)), -1), {})",
                      x.name, q, k, v),
          x.layout, x.sizes);
    }
    return false;
  }

  // What text is made of.
  void line(const std::string& text) { network_.forward += "  " + text + "\n"; }

  std::string fresh(const std::string& kind) { return kind + std::to_string(next_++); }

  std::string use(const Live& value) {
    used_.insert(value.name);
    return value.name;
  }

  std::string call(const TextLayer& layer, const std::string& input) {
    network_.layers.push_back(layer);
    return fmt::format("self.{}({})", layer.name, input);
  }

  std::string name_of(const std::string& expression) {
    const std::string name = fresh("v");
    line(name + " = " + expression);
    return name;
  }

  bool add(const std::string& expression, Layout layout, const Sizes& sizes) {
    live_.push_back({name_of(expression), layout, sizes});
    return true;
  }

  /// Sizes as tracing leaves them, as numbers behind the batch, or read from `like` where it has
  /// the same.
  std::string reshape(const std::string& text, const Sizes& sizes, const Live& like) {
    std::string list = is_baked_ ? std::to_string(sizes[0]) : chance(3) ? "-1" : "n";
    bool is_open = list == "-1";
    for (std::size_t i = 1; i < sizes.size(); ++i) {
      std::string element = std::to_string(sizes[i]);
      const auto same = std::find(like.sizes.begin() + 1, like.sizes.end(), sizes[i]);
      if (!is_baked_ && same != like.sizes.end() && chance(3)) {
        element = fmt::format("{}.size({})", like.name, same - like.sizes.begin());
      } else if (!is_open && chance(6)) {
        element = "-1";
        is_open = true;
      }
      list += ", " + element;
    }
    return fmt::format("{}.reshape([{}])", text, list);
  }

  static std::int64_t pixels(const Live& value) {
    std::int64_t count = 1;
    const std::size_t end = value.sizes.size() - (value.layout == Layout::kTokens ? 1 : 0);
    for (std::size_t i = value.layout == Layout::kTokens ? 1 : 2; i < end; ++i) {
      count *= value.sizes[i];
    }
    return count;
  }

  std::uint64_t below(std::uint64_t end) { return random_() % end; }
  bool chance(std::uint64_t one_in) { return below(one_in) == 0; }
  std::int64_t pick(const Sizes& list) { return list[below(list.size())]; }
  std::int64_t divisor(std::int64_t number) {
    Sizes divisors;
    for (std::int64_t i = 1; i <= number; ++i) {
      if (number % i == 0) divisors.push_back(i);
    }
    return pick(divisors);
  }

  static constexpr std::int64_t kBatch = 2;
  static constexpr std::array<const char*, 5> kActivations = {"relu", "gelu", "sigmoid", "tanh",
                                                              "silu"};
  static constexpr std::array<const char*, 4> kJoins = {"{} + {}", "{} * {}",
                                                        "torch.maximum({}, {})", "{} - {}"};

  std::mt19937_64 random_;
  TextNetwork network_;
  std::vector<Live> live_;
  std::set<std::string> used_;
  bool is_baked_ = false;
  int next_ = 0;
};

}  // namespace

TextNetwork make_random_network(std::uint64_t seed, int steps) { return Maker(seed).make(steps); }

}  // namespace edgecompress::testing
