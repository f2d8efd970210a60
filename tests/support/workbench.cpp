#include "support/workbench.h"

#include <ATen/ATen.h>
#include <stdlib.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <fstream>
#include <numeric>
#include <sstream>
#include <stdexcept>

#include "support/tiny_models.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTrainSamples = 96;
constexpr std::int64_t kTestSamples = 64;

fs::path make_folder() {
  std::string name = (fs::temp_directory_path() / "edgecompress-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  return name;
}

Batch whole(const Dataset& data) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  return data.read(indices, 0);
}

}  // namespace

Workbench::Workbench(const std::string& network) : folder_(make_folder()) {
  const TinyModel model = make_tiny_model(network);
  model.module.save(path("net.pt").string());
  const Batch all = whole(*make_tiny_data(model, kTrainSamples + kTestSamples, 5));
  write_data("train.pt", all.inputs[0].narrow(0, 0, kTrainSamples),
             all.target.narrow(0, 0, kTrainSamples));
  images = all.inputs[0].narrow(0, kTrainSamples, kTestSamples);
  labels = all.target.narrow(0, kTrainSamples, kTestSamples);
  write_data("test.pt", images, labels);
  const nlohmann::json set = {
      {"source", "torch"}, {"inputs", {"images"}}, {"target", "labels"}, {"batch_size", 16}};
  recipe = {{"name", "workbench"},
            {"seed", 3},
            {"threads", 1},
            {"model", {{"path", "net.pt"}, {"inputs", {{{"shape", model.inputs[0].shape}}}}}},
            {"data", {{"train", set}, {"test", set}}},
            {"evaluation", {{"latency", {{"warm_up", 1}, {"repeats", 3}}}}},
            {"passes", nlohmann::json::array()},
            {"output", {{"directory", "out"}}}};
  recipe["data"]["train"]["path"] = "train.pt";
  recipe["data"]["test"]["path"] = "test.pt";
  recipe["data"]["validation"] = {{"from", "train"}, {"split", 0.25}};
}

Workbench::~Workbench() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Workbench::write_data(const std::string& name, const at::Tensor& data,
                           const at::Tensor& target) const {
  c10::Dict<std::string, at::Tensor> dict;
  // A view would be written with all that it is a view of.
  dict.insert("images", data.clone());
  dict.insert("labels", target.clone());
  const std::vector<char> bytes = torch::jit::pickle_save(dict);
  write_text(name, std::string(bytes.begin(), bytes.end()));
}

void Workbench::write_text(const std::string& name, const std::string& text) const {
  std::ofstream(path(name), std::ios::binary) << text;
}

std::string Workbench::read_text(const std::string& name) const {
  std::ifstream file(path(name), std::ios::binary);
  if (!file) throw std::runtime_error("there is no " + path(name).string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json Workbench::read_json(const std::string& name) const {
  return nlohmann::json::parse(read_text(name));
}

std::string Workbench::write_recipe() const {
  write_text("recipe.json", recipe.dump(2));
  return path("recipe.json").string();
}

}  // namespace edgecompress::testing
