#include "data/transforms.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>

#include "data/errors.h"
#include "data/image_transforms.h"
#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// Which dimension is what: one letter each, of N, C, H, W and L.
using Layout = std::string;
using Seeds = std::vector<std::uint64_t>;

constexpr std::int64_t kLargestSide = 8192;

/// One transform as a recipe names it. `layout` is that of the samples it will get.
struct TransformKind {
  std::string name;
  OptionTable options;
  std::function<Transform(const Json& options, const std::string& pointer, const Layout& layout)>
      make;
};

Transform plain(const std::string& name, std::function<at::Tensor(const at::Tensor&)> function) {
  Transform transform;
  transform.name = name;
  transform.apply = [function](const at::Tensor& batch, const Seeds&) { return function(batch); };
  return transform;
}

void check_rank(const at::Tensor& batch, const std::string& name, const Layout& layout) {
  if (batch.dim() != static_cast<std::int64_t>(layout.size()))
    throw Error(ExitCode::kData,
                fmt::format("{} needs samples of layout {}, found a batch of shape {}", name,
                            layout, fmt::join(batch.sizes(), "x")));
}

/// A transform of images, whatever their layout: `function` sees [n, c, h, w].
Transform image_transform(const std::string& name, const Layout& layout,
                          std::function<at::Tensor(const at::Tensor&, const Seeds&)> function) {
  Transform transform;
  transform.name = name;
  transform.apply = [=](const at::Tensor& batch, const Seeds& seeds) {
    check_rank(batch, name, layout);
    if (layout == "NHW") return function(batch.unsqueeze(1), seeds).squeeze(1).contiguous();
    if (layout == "NHWC")
      return function(batch.permute({0, 3, 1, 2}), seeds).permute({0, 2, 3, 1}).contiguous();
    if (layout != "NCHW")
      throw Error(ExitCode::kData, fmt::format("{} needs images, found layout {}", name, layout));
    if (batch.size(1) > 4 && batch.size(3) <= 4)
      throw Error(ExitCode::kData,
                  fmt::format("{} takes the {} rows of images of shape {} for channels", name,
                              batch.size(1), fmt::join(batch.sizes().slice(1), "x")),
                  R"(say where the channels are with {"layout": {"from": "NHWC", "to": "NCHW"}})");
    return function(batch, seeds).contiguous();
  };
  return transform;
}

TransformKind to_float() {
  return {"to_float", {}, [](const Json&, const std::string&, const Layout&) {
            return plain("to_float", [](const at::Tensor& batch) { return batch.to(at::kFloat); });
          }};
}

struct ScaleOptions {
  double divisor = 255;
};

TransformKind scale() {
  Options<ScaleOptions> options;
  options.add("divisor", &ScaleOptions::divisor, "what values are divided by");
  return {"scale", options.table(),
          [options](const Json& json, const std::string& pointer, const Layout&) {
            const auto divisor = options.bind(json).divisor;
            if (divisor == 0) recipe_error(pointer + "/divisor", "is 0");
            return plain("scale", [divisor](const at::Tensor& batch) {
              return batch.to(at::kFloat).div(divisor);
            });
          }};
}

struct NormalizeOptions {
  std::vector<double> mean, std;
};

/// One value for each channel, shaped so that it broadcasts over a batch of this layout.
at::Tensor per_channel(const std::vector<double>& values, const at::Tensor& batch,
                       const Layout& layout) {
  const auto tensor = at::tensor(values, at::kFloat);
  if (values.size() == 1) return tensor;
  const auto channel = layout.back() == 'C' ? batch.dim() - 1 : 1;
  const auto found = channel < batch.dim() ? batch.size(channel) : 0;
  if (found != static_cast<std::int64_t>(values.size()))
    throw Error(ExitCode::kData,
                fmt::format("normalize has {} values, but samples of shape {} have {} channels in "
                            "layout {}",
                            values.size(), fmt::join(batch.sizes().slice(1), "x"), found, layout),
                R"(say where the channels are with {"layout": {"from": ..., "to": ...}})");
  std::vector<std::int64_t> shape(batch.dim(), 1);
  shape[channel] = found;
  return tensor.reshape(shape);
}

TransformKind normalize() {
  using O = NormalizeOptions;
  Options<O> options;
  options.add("mean", &O::mean, "subtracted: one number, or one for each channel").required();
  options.add("std", &O::std, "then divided by: one number, or one for each channel").required();
  return {"normalize", options.table(),
          [options](const Json& json, const std::string& pointer, const Layout& layout) {
            const auto values = options.bind(json);
            if (values.mean.empty()) recipe_error(pointer + "/mean", "is empty");
            if (values.std.empty() || std::count(values.std.begin(), values.std.end(), 0.0) > 0)
              recipe_error(pointer + "/std", "is empty or has a 0");
            return plain("normalize", [values, layout](const at::Tensor& batch) {
              return batch.to(at::kFloat)
                  .sub(per_channel(values.mean, batch, layout))
                  .div_(per_channel(values.std, batch, layout));
            });
          }};
}

struct LayoutOptions {
  std::string from = "NHWC", to = "NCHW";
};

Options<LayoutOptions> layout_options() {
  Options<LayoutOptions> options;
  options.add("from", &LayoutOptions::from, "how the dimensions lie")
      .one_of({"NHWC", "NCHW", "NHW", "NLC", "NCL"});
  options.add("to", &LayoutOptions::to, "how they shall lie")
      .one_of({"NHWC", "NCHW", "NLC", "NCL"});
  return options;
}

at::Tensor change_layout(const at::Tensor& batch, const Layout& from, const Layout& to) {
  check_rank(batch, "layout", from);
  const auto has_channels = from.find('C') != Layout::npos;
  const auto source = has_channels ? batch : batch.unsqueeze(-1);
  const auto letters = has_channels ? from : from + "C";
  std::vector<std::int64_t> order;
  for (const auto letter : to) order.push_back(static_cast<std::int64_t>(letters.find(letter)));
  return source.permute(order).contiguous();
}

TransformKind layout_kind() {
  const auto options = layout_options();
  return {"layout", options.table(),
          [options](const Json& json, const std::string& pointer, const Layout& layout) {
            const auto [from, to] = options.bind(json);
            if (from != layout)
              recipe_error(pointer + "/from",
                           fmt::format("is {}, but the samples are {} here", from, layout));
            if ((from.find('L') == Layout::npos) != (to.find('L') == Layout::npos))
              recipe_error(pointer + "/to", fmt::format("{} can't become {}", from, to));
            return plain("layout", [from = from, to = to](const at::Tensor& batch) {
              return change_layout(batch, from, to);
            });
          }};
}

struct SizeOptions {
  Json size;
};

/// One number or [height, width]; `is_pair` tells which.
ImageSize parse_size(const Json& size, const std::string& pointer, bool& is_pair) {
  const auto is_side = [](const Json& side) {
    return side.is_number_integer() && side >= 1 && side <= kLargestSide;
  };
  is_pair = size.is_array();
  if (is_pair && size.size() == 2 && is_side(size[0]) && is_side(size[1]))
    return {size[0], size[1]};
  if (is_side(size)) return {size, size};
  recipe_error(pointer + "/size",
               fmt::format("is {}, expected an integer or [height, width], from 1 to {}",
                           size.dump(), kLargestSide));
}

/// The size at which the shorter side of `images` is `side`, their aspect kept.
ImageSize shorter_side(const at::Tensor& images, std::int64_t side) {
  const auto height = images.size(2), width = images.size(3);
  return height < width ? ImageSize{side, side * width / height}
                        : ImageSize{side * height / width, side};
}

TransformKind resize() {
  Options<SizeOptions> options;
  options.add("size", &SizeOptions::size, "[height, width], or the length of the shorter side")
      .required();
  return {"resize", options.table(),
          [options](const Json& json, const std::string& pointer, const Layout& layout) {
            bool is_pair = false;
            const auto size = parse_size(options.bind(json).size, pointer, is_pair);
            auto transform = image_transform(
                "resize", layout, [size, is_pair](const at::Tensor& images, const Seeds&) {
                  return resize_images(images, is_pair ? size : shorter_side(images, size.height));
                });
            transform.sets_size = true;
            return transform;
          }};
}

TransformKind center_crop() {
  Options<SizeOptions> options;
  options.add("size", &SizeOptions::size, "[height, width], or one number for both").required();
  return {"center_crop", options.table(),
          [options](const Json& json, const std::string& pointer, const Layout& layout) {
            bool is_pair = false;
            const auto size = parse_size(options.bind(json).size, pointer, is_pair);
            auto transform = image_transform("center_crop", layout,
                                             [size](const at::Tensor& images, const Seeds&) {
                                               return crop_images(images, size);
                                             });
            transform.sets_size = true;
            return transform;
          }};
}

struct FlipOptions {
  double probability = 0.5;
};

TransformKind random_flip() {
  Options<FlipOptions> options;
  options.add("probability", &FlipOptions::probability, "share of the samples that are mirrored")
      .at_least(0)
      .at_most(1);
  return {"random_flip", options.table(),
          [options](const Json& json, const std::string&, const Layout& layout) {
            const auto probability = options.bind(json).probability;
            auto transform = image_transform(
                "random_flip", layout, [probability](const at::Tensor& images, const Seeds& seeds) {
                  return flip_images(images, probability, seeds);
                });
            transform.is_training_only = true;
            return transform;
          }};
}

struct PadCropOptions {
  std::int64_t padding = 4;
};

TransformKind pad_crop() {
  Options<PadCropOptions> options;
  options.add("padding", &PadCropOptions::padding, "zeros put on each side")
      .at_least(0)
      .at_most(1024);
  return {"pad_crop", options.table(),
          [options](const Json& json, const std::string&, const Layout& layout) {
            const auto padding = options.bind(json).padding;
            auto transform = image_transform(
                "pad_crop", layout, [padding](const at::Tensor& images, const Seeds& seeds) {
                  return pad_and_crop_images(images, padding, seeds);
                });
            transform.is_training_only = true;
            return transform;
          }};
}

const std::vector<TransformKind>& transform_kinds() {
  static const std::vector<TransformKind> kinds = {to_float(),    scale(),   normalize(),
                                                   layout_kind(), resize(),  center_crop(),
                                                   random_flip(), pad_crop()};
  return kinds;
}

const TransformKind& find_kind(const std::string& name, const std::string& pointer) {
  std::vector<std::string> names;
  for (const auto& kind : transform_kinds()) {
    if (kind.name == name) return kind;
    names.push_back(kind.name);
  }
  const auto nearest = nearest_name(name, names);
  recipe_error(
      pointer,
      fmt::format("there is no transform '{}', expected one of {}", name, join(names, ", ")),
      nearest.empty() ? "" : fmt::format("did you mean '{}'?", nearest));
}

}  // namespace

std::vector<Transform> parse_transforms(const Json& list, const std::string& pointer) {
  if (!list.is_array()) recipe_error(pointer, "expected a list of transforms");
  struct Item {
    const TransformKind* kind;
    Json options;
    std::string pointer;
  };
  std::vector<Item> items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto place = fmt::format("{}/{}", pointer, i);
    if (!list[i].is_object() || list[i].size() != 1)
      recipe_error(
          place,
          fmt::format("is {}, expected an object with one key, the transform", list[i].dump()),
          R"(as in {"scale": {"divisor": 255}})");
    const auto given = list[i].begin();
    const auto& kind = find_kind(given.key(), place);
    const auto inside = place + "/" + kind.name;
    items.push_back({&kind, kind.options.resolve(given.value(), inside), inside});
  }
  const auto is_layout = [](const Item& item) { return item.kind->name == "layout"; };
  const auto first_layout = std::find_if(items.begin(), items.end(), is_layout);
  Layout layout =
      first_layout == items.end() ? "NCHW" : first_layout->options.at("from").get<std::string>();
  std::vector<Transform> transforms;
  for (const auto& item : items) {
    transforms.push_back(item.kind->make(item.options, item.pointer, layout));
    if (is_layout(item)) layout = item.options.at("to").get<std::string>();
  }
  return transforms;
}

}  // namespace edgecompress
