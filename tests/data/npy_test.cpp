#include "data/npy.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

at::Tensor read_npy(const std::string& bytes) {
  Folder folder;
  return NpyArray(open_file_bytes(folder.write("a.npy", bytes))).read_whole();
}

TEST(Npy, ReadsFloatsInCOrder) {
  const auto values =
      read_npy(npy_file(npy_dict("<f4", "(2, 3)"), bytes_of<float>({0, 1, 2, 3, 4, 5})));
  EXPECT_TRUE(at::equal(values, at::arange(6, at::kFloat).view({2, 3})));
}

TEST(Npy, TurnsFortranOrder) {
  const auto values = read_npy(
      npy_file(npy_dict("<i4", "(2, 3)", "True"), bytes_of<std::int32_t>({0, 3, 1, 4, 2, 5})));
  EXPECT_TRUE(at::equal(values, at::arange(6, at::kInt).view({2, 3})));
}

TEST(Npy, ReadsSamplesInTheOrderAsked) {
  Folder folder;
  const auto path = folder.write(
      "a.npy",
      npy_file(npy_dict("<i2", "(4, 2)"), bytes_of<std::int16_t>({0, 1, 10, 11, 20, 21, 30, 31})));
  const auto samples = NpyArray(open_file_bytes(path)).read({3, 1, 2, 1});
  EXPECT_TRUE(
      at::equal(samples, at::tensor({30, 31, 10, 11, 20, 21, 10, 11}, at::kShort).view({4, 2})));
}

TEST(Npy, ReadsEveryTypeThatNumpyWrites) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
x = (np.arange(24) % 7).reshape(4, 3, 2)
for name in 'uint8 int8 int16 int32 int64 float16 float32 float64 bool'.split():
    np.save(name + '.npy', x.astype(name))
    np.save(name + '_f.npy', np.asfortranarray(x.astype(name)))
with open('v2.npy', 'wb') as f: np.lib.format.write_array(f, x.astype('float32'), version=(2, 0))
with open('v3.npy', 'wb') as f: np.lib.format.write_array(f, x.astype('float32'), version=(3, 0))
)");
  const auto expected = at::arange(24).remainder(7).view({4, 3, 2});
  const std::vector<std::pair<std::string, at::ScalarType>> types = {
      {"uint8", at::kByte},    {"int8", at::kChar},      {"int16", at::kShort},
      {"int32", at::kInt},     {"int64", at::kLong},     {"float16", at::kHalf},
      {"float32", at::kFloat}, {"float64", at::kDouble}, {"bool", at::kBool},
      {"v2", at::kFloat},      {"v3", at::kFloat}};
  for (const auto& [name, type] : types) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(at::equal(NpyArray(open_file_bytes(folder / (name + ".npy"))).read({0, 1, 2, 3}),
                          expected.to(type)));
    if (name[0] == 'v') continue;
    EXPECT_TRUE(at::equal(NpyArray(open_file_bytes(folder / (name + "_f.npy"))).read({0, 1, 2, 3}),
                          expected.to(type)));
  }
}

struct Hostile {
  const char* what;
  std::string bytes;
  const char* message;
};

TEST(Npy, RefusesHostileFilesWithoutAllocating) {
  const std::vector<Hostile> files = {
      {"empty", "", "is no npy array"},
      {"wrong magic", std::string(200, 'x'), "is no npy array"},
      {"only a magic", std::string("\x93NUMPY\x01\x00\xff\xff", 10), "header of 65535 bytes"},
      {"cut in the header", npy_file(npy_dict("<f4", "(2,)"), "").substr(0, 40),
       "ends after 40 bytes"},
      {"cut in the values", npy_file(npy_dict("<f4", "(2,)"), "1234567"), "claims 2 values"},
      {"10^15 values", npy_file(npy_dict("<f4", "(1000000000000000,)"), "1234"),
       "claims 1000000000000000 values"},
      {"overflowing shape", npy_file(npy_dict("<f4", "(4294967296, 4294967296, 16)"), "1234"),
       "impossible shape"},
      {"number beyond 64 bits", npy_file(npy_dict("<f4", "(99999999999999999999,)"), "1234"),
       "is no size"},
      {"negative size", npy_file(npy_dict("<f4", "(-1, 4)"), "1234"), "is no size"},
      {"33 dimensions",
       npy_file(
           npy_dict("|u1", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"),
           "1"),
       "too many dimensions"},
      {"Python objects", npy_file(npy_dict("|O", "(1,)"), "12345678"), "never loaded"},
      {"records",
       npy_file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234"),
       "several fields"},
      {"big endian", npy_file(npy_dict(">f4", "(1,)"), "1234"), "'>f4'"},
      {"scalar", npy_file(npy_dict("<f4", "()"), "1234"), "single value"},
      {"unknown key",
       npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "1234"),
       "unexpected key 'x'"},
      {"key twice",
       npy_file("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "1234"),
       "unexpected key 'descr'"},
      {"no shape", npy_file("{'descr': '<f4', 'fortran_order': False}", "1234"), "without descr"},
      {"code", npy_file("__import__('os').system('true')", ""), "not understood"},
  };
  for (const auto& file : files) {
    SCOPED_TRACE(file.what);
    expect_error([&] { read_npy(file.bytes); }, ExitCode::kData, {"a.npy", file.message});
  }
}

TEST(Npy, EveryCutOfAGoodFileIsAnErrorOfItsOwn) {
  const auto whole = npy_file(npy_dict("<i8", "(3,)"), bytes_of<std::int64_t>({1, 2, 3}));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(read_npy(whole.substr(0, length)), Error) << length;
}

TEST(Npy, NoticesAFileThatShrinksWhileItIsRead) {
  Folder folder;
  const auto path =
      folder.write("a.npy", npy_file(npy_dict("<i8", "(3,)"), bytes_of<std::int64_t>({1, 2, 3})));
  const NpyArray array(open_file_bytes(path));
  std::filesystem::resize_file(path, 130);
  expect_error([&] { array.read({2}); }, ExitCode::kData, {"a.npy", "became shorter"});
}

long peak_memory_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(Npy, MemoryDoesNotGrowWithTheFile) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps freed memory for a while";
#endif
  Folder folder;
  constexpr std::int64_t kSamples = 100000, kBytes = 3072;  // 307 MB of zeros that take no disk
  const auto path = folder.write("big.npy", npy_file(npy_dict("|u1", "(100000, 3072)"), ""));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + kSamples * kBytes);
  const auto dataset = open_source("npy", path);
  ASSERT_EQ(dataset->size(), kSamples);
  const auto before = peak_memory_kilobytes();
  Loader loader(dataset, 128);
  Batch batch;
  std::int64_t seen = 0;
  while (loader.next(batch)) seen += batch.size;
  EXPECT_EQ(seen, kSamples);
  EXPECT_LT(peak_memory_kilobytes() - before, 30 * 1024);
}

TEST(NpySource, TakesInputsAndTargetFromAFolder) {
  Folder folder;
  folder.write("x.npy", npy_file(npy_dict("<f4", "(2, 1)"), bytes_of<float>({1, 2})));
  folder.write("y.npy", npy_file(npy_dict("|u1", "(2, 1)"), bytes_of<std::uint8_t>({7, 3})));
  const auto dataset = open_source("npy", folder.path(), {"x"}, "y");
  const auto batch = read_all(*dataset);
  EXPECT_TRUE(at::equal(batch.inputs[0], at::tensor({1.f, 2.f}).view({2, 1})));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({7, 3}, at::kLong)));
  EXPECT_EQ(dataset->label_range()->low, 3);
  EXPECT_EQ(dataset->label_range()->high, 7);
}

TEST(NpySource, NamesDoNotLeadOutOfTheFolder) {
  Folder folder;
  expect_error([&] { open_source("npy", folder.path(), {"../x"}); }, ExitCode::kData,
               {"'../x' is a path"});
}

TEST(NpySource, RefusesArraysOfDifferentLengths) {
  Folder folder;
  folder.write("x.npy", npy_file(npy_dict("<f4", "(2,)"), bytes_of<float>({1, 2})));
  folder.write("y.npy", npy_file(npy_dict("|u1", "(3,)"), "123"));
  expect_error([&] { open_source("npy", folder.path(), {"x"}, "y"); }, ExitCode::kData,
               {"y.npy", "has 3 samples", "has 2"});
}

}  // namespace
}  // namespace edgecompress
