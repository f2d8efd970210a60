#include "batch/model_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "edgecompress/error.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

class ModelListTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text = "x") {
    const fs::path path = folder_.path() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<ListedModel> list(const std::vector<std::string>& arguments) {
    return list_models(arguments, at("out"));
  }
  std::vector<std::string> names(const std::vector<std::string>& arguments) {
    std::vector<std::string> found;
    for (const ListedModel& model : list(arguments)) found.push_back(model.name);
    return found;
  }
  std::string message(const std::vector<std::string>& arguments) {
    try {
      list(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

TEST_F(ModelListTest, AFolderIsEveryModelInItByItsPathFromThere) {
  file("zoo/b.pt");
  file("zoo/a.pth");
  file("zoo/deep/er/c.torchscript");
  file("zoo/readme.md");
  file("zoo/.hidden/d.pt");
  file("zoo/.e.pt");
  EXPECT_THAT(names({at("zoo")}), ElementsAre("a", "b", "deep-er-c"));
  EXPECT_EQ(list({at("zoo")})[2].path, at("zoo/deep/er/c.torchscript"));
}

TEST_F(ModelListTest, LinkedFoldersAreNotEntered) {
  file("zoo/a.pt");
  fs::create_directory_symlink(at("zoo"), at("zoo/loop"));
  fs::create_symlink(at("nowhere"), at("zoo/broken.pt"));
  EXPECT_THAT(names({at("zoo")}), ElementsAre("a"));
}

TEST_F(ModelListTest, TheOutputFolderIsNoInput) {
  file("a.pt");
  file("out/a/model.pt");
  EXPECT_THAT(names({at("")}), ElementsAre("a"));
  EXPECT_THAT(message({at("out")}), HasSubstr("it is the output folder"));
}

TEST_F(ModelListTest, PatternsAreExpanded) {
  file("zoo/a1.pt");
  file("zoo/a2.pt");
  file("zoo/b.pt");
  EXPECT_THAT(names({at("zoo/a*.pt")}), ElementsAre("a1", "a2"));
  EXPECT_THAT(message({at("zoo/c*.pt")}), HasSubstr("nothing matches"));
}

TEST_F(ModelListTest, WhatIsNamedTwiceIsOneModel) {
  file("zoo/a.pt");
  EXPECT_THAT(names({at("zoo"), at("zoo/../zoo/a.pt"), at("zoo/*.pt")}), ElementsAre("a"));
}

TEST_F(ModelListTest, EqualNamesGetMoreOfTheirPaths) {
  EXPECT_THAT(names({file("x/net.pt"), file("y/net.pt"), file("y/other.pt")}),
              ElementsAre("other", "x-net.pt", "y-net.pt"));
  EXPECT_THAT(names({file("x/net.pt"), file("x/net.pth")}), ElementsAre("net.pt", "net.pth"));
}

TEST_F(ModelListTest, NamesThatNoPathTellsApartGetAHash) {
  const auto found = names({file("d/a-b/c.pt"), file("d/a/b-c.pt"), file("d/a/b/c.pt")});
  ASSERT_EQ(found.size(), 3);
  EXPECT_NE(found[0], found[1]);
  EXPECT_NE(found[1], found[2]);
}

TEST_F(ModelListTest, NamesAreFitForFolders) {
  file("zoo/a b$(c);d.pt");
  file("zoo/-rf.pt");
  file("zoo/zoo.json.pt");
  file("zoo/" + std::string(200, 'x') + ".pt");
  file("zoo/caf\xC3\xA9.pt");
  file("zoo/bad\xFF.pt");
  const auto found = names({at("zoo")});
  EXPECT_THAT(found, ::testing::Contains("a_b__c__d"));
  EXPECT_THAT(found, ::testing::Contains("_-rf"));
  EXPECT_THAT(found, ::testing::Contains("_zoo.json"));
  EXPECT_THAT(found, ::testing::Contains("caf\xC3\xA9"));
  EXPECT_THAT(found, ::testing::Contains("bad_"));
  for (const std::string& name : found) EXPECT_LE(name.size(), 150) << name;
}

TEST_F(ModelListTest, AManifestSaysWhatIsDifferentForAModel) {
  const std::string manifest = file("lists/zoo.json", R"({"models": [
    {"model": "../a.pt", "name": "a-30", "set": ["passes/0/ratio=0.3"]},
    {"model": "../a.pt", "name": "a-50", "inputs": [{"shape": [1, 3]}],
     "data": {"test": {"source": "npz", "path": "test.npz"}}},
    {"model": "gone.pt"}]})");
  const auto models = list({manifest});
  ASSERT_EQ(models.size(), 3);
  EXPECT_EQ(models[0].name, "a-30");
  EXPECT_EQ(models[0].path, at("a.pt"));
  EXPECT_THAT(models[0].set, ElementsAre("passes/0/ratio=0.3"));
  EXPECT_THAT(models[1].set, ElementsAre(R"(model/inputs=[{"shape":[1,3]}])",
                                         R"(data={"test":{"path":")" + at("lists/test.npz") +
                                             R"(","source":"npz"}})"));
  EXPECT_EQ(models[2].path, at("lists/gone.pt"));
}

TEST_F(ModelListTest, AManifestIsChecked) {
  const auto said = [this](const std::string& text) { return message({file("zoo.json", text)}); };
  EXPECT_THAT(said("{\"models\": [}"), HasSubstr("zoo.json: line 1, column"));
  EXPECT_THAT(said(R"({"models": [{"modle": "a.pt"}]})"), HasSubstr("/models/0"));
  EXPECT_THAT(said(R"({"models": [{"model": 3}]})"), HasSubstr("/models/0/model"));
  EXPECT_THAT(said(R"({"models": [{"model": "a.pt", "name": "../../etc"}]})"),
              HasSubstr("can't be the name of a folder"));
  EXPECT_THAT(
      said(R"({"models": [{"model": "a.pt", "name": "b"}, {"model": "c.pt", "name": "b"}]})"),
      HasSubstr("2 models are called \"b\""));
}

TEST_F(ModelListTest, WhatIsNotThereIsAnError) {
  EXPECT_THAT(message({at("zou")}), HasSubstr("no such file"));
  fs::create_directories(at("empty"));
  EXPECT_THAT(message({at("empty")}), HasSubstr("no model is in it"));
}

TEST_F(ModelListTest, ShardsAreDisjointAndTogetherTheList) {
  for (int i = 0; i < 11; ++i) file("zoo/" + std::string(1, static_cast<char>('a' + i)) + ".pt");
  const auto all = list({at("zoo")});
  for (const std::int64_t count : {1, 2, 3, 11, 12}) {
    std::vector<std::string> together;
    for (std::int64_t index = 1; index <= count; ++index) {
      for (const ListedModel& model : part_of(all, {index, count})) together.push_back(model.name);
    }
    EXPECT_THAT(together, ::testing::UnorderedElementsAreArray(names({at("zoo")}))) << count;
  }
}

TEST_F(ModelListTest, ShardsAreReadStrictly) {
  EXPECT_EQ(parse_shard("2/4").index, 2);
  EXPECT_EQ(parse_shard("2/4").count, 4);
  for (const char* wrong : {"", "2", "0/4", "5/4", "2/4x", "a/b", "-1/4", "1/0", "/", "1/"}) {
    EXPECT_THROW(parse_shard(wrong), Error) << wrong;
  }
}

}  // namespace
}  // namespace edgecompress
