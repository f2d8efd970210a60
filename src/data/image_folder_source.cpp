// Source "image_folder": a folder with one sub-folder of JPEG and PNG files for each class. Images
// are decoded when they are read.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "data/image_file.h"
#include "data/source.h"
#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "util/log.h"

#include <spdlog/spdlog.h>

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

class ImageFolder : public Dataset {
 public:
  explicit ImageFolder(const fs::path& folder);

  std::int64_t size() const override { return static_cast<std::int64_t>(images_.size()); }
  bool has_target() const override { return target_.defined(); }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  std::vector<std::string> class_names() const override { return classes_; }
  std::optional<LabelRange> label_range() const override { return label_range_of(target_); }
  std::vector<fs::path> files() const override { return images_; }

 private:
  void add_images(const fs::path& folder);
  bool is_inside(const fs::path& entry) const;

  fs::path root_;  ///< without symbolic links
  std::vector<std::string> classes_;
  std::vector<fs::path> images_;
  at::Tensor target_;
};

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

ImageFolder::ImageFolder(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw Error(ExitCode::kData, fmt::format("{}: is not a folder", folder.string()));
  root_ = fs::canonical(folder);
  std::vector<std::int64_t> labels;
  for (const auto& entry : sorted_entries(folder)) {
    if (!fs::is_directory(entry) || !is_inside(entry)) continue;
    const auto before = images_.size();
    add_images(entry);
    if (images_.size() == before)
      throw Error(ExitCode::kData,
                  fmt::format("{}: a class without a JPEG or PNG image", entry.string()),
                  "remove the folder, or put images into it");
    labels.resize(images_.size(), static_cast<std::int64_t>(classes_.size()));
    classes_.push_back(entry.filename().string());
  }
  if (!classes_.empty())
    target_ = at::tensor(labels, at::kLong);
  else
    add_images(folder);
  if (images_.empty())
    throw Error(ExitCode::kData, fmt::format("{}: has neither class folders nor JPEG or PNG images",
                                             folder.string()));
}

void ImageFolder::add_images(const fs::path& folder) {
  std::int64_t others = 0;
  for (const auto& entry : sorted_entries(folder)) {
    if (is_image_file(entry) && fs::is_regular_file(entry) && is_inside(entry))
      images_.push_back(entry);
    else
      ++others;
  }
  if (others > 0)
    log().warn("{}: {} entries that are no JPEG or PNG files of this folder are left out",
               folder.string(), others);
}

/// A symbolic link may not lead out of the folder.
bool ImageFolder::is_inside(const fs::path& entry) const {
  if (!fs::is_symlink(entry)) return true;
  const auto target = fs::weakly_canonical(entry);
  return std::mismatch(root_.begin(), root_.end(), target.begin(), target.end()).first ==
         root_.end();
}

Batch ImageFolder::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const {
  std::vector<at::Tensor> images;
  for (const auto index : indices) {
    images.push_back(decode_image(images_.at(index)));
    if (images.back().sizes() != images[0].sizes())
      throw Error(ExitCode::kData,
                  fmt::format("{}: is {}x{}, but {} is {}x{} (height x width)",
                              images_[index].string(), images.back().size(0), images.back().size(1),
                              images_[indices[0]].string(), images[0].size(0), images[0].size(1)),
                  R"(bring them to one size with a transform: {"resize": {"size": [224, 224]}})");
  }
  Batch batch;
  batch.size = static_cast<std::int64_t>(indices.size());
  batch.inputs.push_back(at::stack(images));
  if (target_.defined()) batch.target = target_.index_select(0, at::tensor(indices, at::kLong));
  return batch;
}

}  // namespace

Source image_folder_source() {
  return {
      "image_folder",
      "JPEG and PNG files in one sub-folder a class (without sub-folders: no labels); uint8 RGB, "
      "NHWC",
      /*needs_path=*/true,
      {},
      [](const SourceRequest& request) { return std::make_shared<ImageFolder>(request.path); }};
}

}  // namespace edgecompress
