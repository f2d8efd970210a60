// A folder with a tiny network, data and a recipe, for runs as a user makes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace edgecompress::testing {

class Workbench {
 public:
  /// Makes a folder of its own with net.pt, the tiny network of that name.
  explicit Workbench(const std::string& network = "cnn");
  ~Workbench();
  Workbench(const Workbench&) = delete;
  Workbench& operator=(const Workbench&) = delete;

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  /// A dictionary {"images", "labels"} as torch.save writes it.
  void write_data(const std::string& name, const at::Tensor& images,
                  const at::Tensor& labels) const;
  void write_text(const std::string& name, const std::string& text) const;
  std::string read_text(const std::string& name) const;
  nlohmann::json read_json(const std::string& name) const;

  /// Writes `recipe` as recipe.json and returns its path.
  std::string write_recipe() const;

  /// Without passes; trains on train.pt (96 samples), tests on test.pt (64), writes to out.
  nlohmann::json recipe;
  at::Tensor images, labels;  ///< of test.pt

 private:
  std::filesystem::path folder_;
};

}  // namespace edgecompress::testing
