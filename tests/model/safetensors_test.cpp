#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using namespace std::string_literals;

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>((static_cast<std::uint64_t>(header.size()) >> (8 * i)) & 0xff);
  }
  return bytes + header + data;
}

void expect_refusal(const std::string& bytes, const std::string& reason) {
  try {
    read_safetensors(bytes, "adapter.safetensors");
    ADD_FAILURE() << "took it; expected: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    const std::string message = error.what();
    EXPECT_NE(message.find("adapter.safetensors"), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  }
}

TEST(Safetensors, WritesTheBytesOfTheSpecification) {
  Safetensors content;
  content.tensors["w"] = at::tensor({1.0F, -2.0F}).view({1, 2});
  const std::string header = R"({"w":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2]}})";
  ASSERT_EQ(header.size() % 8, 0U);
  EXPECT_EQ(write_safetensors(content), file_of(header, "\0\0\x80\x3f\0\0\0\xc0"s));
}

TEST(Safetensors, ReadsAFileWrittenByHand) {
  const Safetensors content = read_safetensors(
      file_of(
          R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I16","shape":[2],"data_offsets":[0,4]},)"
          R"("e":{"dtype":"F64","shape":[0,3],"data_offsets":[4,4]},)"
          R"("s":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}   )",
          "\x01\x00\xff\xff\x07"s),
      "file");
  EXPECT_EQ(content.metadata.at("format"), "pt");
  EXPECT_TRUE(content.tensors.at("b").equal(at::tensor({1, -1}).to(at::kShort)));
  EXPECT_EQ(content.tensors.at("e").sizes(), (std::vector<std::int64_t>{0, 3}));
  EXPECT_EQ(content.tensors.at("s").item<int>(), 7);
}

TEST(Safetensors, KeepEveryDtypeThroughAFile) {
  Safetensors content;
  content.metadata["key"] = "value \"with\" quotes";
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool}) {
    content.tensors[c10::toString(type)] = at::arange(6).view({2, 3}).remainder(2).to(type);
  }
  const std::string bytes = write_safetensors(content);
  const Safetensors read = read_safetensors(bytes, "file");
  EXPECT_EQ(read.metadata, content.metadata);
  ASSERT_EQ(read.tensors.size(), content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    EXPECT_EQ(read.tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(read.tensors.at(name).equal(tensor)) << name;
  }
}

TEST(Safetensors, WritesStridedTensorsInRowMajorOrder) {
  Safetensors content;
  content.tensors["t"] = at::arange(6).view({2, 3}).t();
  EXPECT_TRUE(read_safetensors(write_safetensors(content), "file")
                  .tensors.at("t")
                  .equal(at::arange(6).view({2, 3}).t()));
}

TEST(Safetensors, RefusesTruncatedFiles) {
  Safetensors content;
  content.tensors["w"] = at::ones({3, 5});
  const std::string bytes = write_safetensors(content);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(read_safetensors(bytes.substr(0, size), "file"), Error) << size;
  }
}

TEST(Safetensors, RefusesWhatTheSpecificationForbids) {
  const std::string four = "\0\0\0\0"s;
  expect_refusal("\xff\xff\xff\xff\xff\xff\xff\xff{}", "header is said to take");
  expect_refusal(file_of(" {}", ""), "start with '{'");
  expect_refusal(file_of("{,}", ""), "no JSON");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four + four),
                 "the tensors take 4 bytes, the data has 8");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four),
                 "do not fit its shape");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four),
                 "starts at byte 4");
  expect_refusal(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                         four),
                 "starts at byte 0");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                         four),
                 "stands twice");
  expect_refusal(file_of(R"({"w":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", four),
                 "unknown dtype");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four),
                 "holds -1");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four),
                 "no range");
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[1]}})", four), "exactly dtype");
  expect_refusal(file_of(R"({"w":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"),
                 "neither 0 nor 1");
  expect_refusal(file_of(R"({"__metadata__":{"a":1}})", ""), "no string");
  expect_refusal(file_of(R"({"w":[[[[[[1]]]]]]})", ""), "nested too deep");
}

TEST(Safetensors, RefusesAShapeWhoseSizeOverflows) {
  expect_refusal(file_of(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],)"
                         R"("data_offsets":[0,0]}})",
                         ""),
                 "do not fit its shape");
}

}  // namespace
}  // namespace edgecompress
