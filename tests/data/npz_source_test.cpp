#include <zip.h>

#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

struct ArchiveMember {
  std::string name;
  std::string bytes;
  bool is_compressed = false;
};

std::filesystem::path write_archive(const Folder& folder,
                                    const std::vector<ArchiveMember>& members) {
  const auto path = folder / "a.npz";
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  for (const auto& member : members) {
    auto* source = zip_source_buffer(archive, member.bytes.data(), member.bytes.size(), 0);
    const auto index = zip_file_add(archive, member.name.c_str(), source, 0);
    zip_set_file_compression(archive, index, member.is_compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                             0);
  }
  if (zip_close(archive) != 0) throw std::runtime_error(zip_strerror(archive));
  return path;
}

std::string floats(std::int64_t samples, std::int64_t features) {
  std::vector<float> values(samples * features);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return npy_file(
      npy_dict("<f4", "(" + std::to_string(samples) + ", " + std::to_string(features) + ")"),
      bytes_of(values));
}

class NpzSource : public ::testing::TestWithParam<bool> {};

TEST_P(NpzSource, ReadsStoredAndCompressedMembersAlike) {
  Folder folder;
  const auto path = write_archive(
      folder,
      {{"x.npy", floats(10, 3), GetParam()},
       {"y.npy",
        npy_file(npy_dict("<i8", "(10,)"), bytes_of<std::int64_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9})),
        GetParam()}});
  const auto dataset = open_source("npz", path, {"x"}, "y");
  ASSERT_EQ(dataset->size(), 10);
  const auto batch = dataset->read({7, 2, 3, 4}, 0);
  const auto all = at::arange(30, at::kFloat).view({10, 3});
  EXPECT_TRUE(at::equal(batch.inputs[0], all.index_select(0, at::tensor({7, 2, 3, 4}, at::kLong))));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({7, 2, 3, 4}, at::kLong)));
}
INSTANTIATE_TEST_SUITE_P(Members, NpzSource, ::testing::Bool(),
                         [](const auto& member) { return member.param ? "Compressed" : "Stored"; });

TEST(Npz, ReadsWhatNumpyWrites) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
x, y = np.arange(60).reshape(5, 4, 3).astype('float16'), np.arange(5)
np.savez('plain.npz', x=x, y=y)
np.savez_compressed('packed.npz', x=np.asfortranarray(x), y=y)
)");
  for (const auto* name : {"plain.npz", "packed.npz"}) {
    SCOPED_TRACE(name);
    const auto batch = read_all(*open_source("npz", folder / name, {"x"}, "y"));
    EXPECT_TRUE(at::equal(batch.inputs[0], at::arange(60).view({5, 4, 3}).to(at::kHalf)));
    EXPECT_TRUE(at::equal(batch.target, at::arange(5)));
  }
}

TEST(Npz, TheOnlyArrayBesideTheTargetIsTheInput) {
  Folder folder;
  const auto path = write_archive(
      folder, {{"y.npy", npy_file(npy_dict("|u1", "(2,)"), "ab")}, {"x.npy", floats(2, 1)}});
  EXPECT_EQ(open_source("npz", path, {}, "y")->read({0}, 0).inputs.size(), 1u);
  expect_error([&] { open_source("npz", path); }, ExitCode::kData, {"which array", "y, x"});
}

TEST(Npz, NamesTheArraysItHas) {
  Folder folder;
  const auto path = write_archive(folder, {{"images.npy", floats(2, 1)}});
  expect_error([&] { open_source("npz", path, {"x"}); }, ExitCode::kData,
               {"a.npz", "no array 'x'", "images"});
}

TEST(Npz, APathInsideTheArchiveIsOnlyAName) {
  Folder folder;
  const auto path =
      write_archive(folder, {{"../../evil.npy", floats(2, 1)}, {"x.npy", floats(3, 1)}});
  EXPECT_EQ(open_source("npz", path, {"x"})->size(), 3);
  EXPECT_EQ(open_source("npz", path, {"../../evil"})->size(), 2);
  EXPECT_FALSE(std::filesystem::exists(folder.path().parent_path().parent_path() / "evil.npy"));
}

TEST(Npz, EveryCutOfAGoodArchiveIsAnError) {
  Folder folder;
  const auto whole = read_bytes(write_archive(folder, {{"x.npy", floats(2, 1)}}));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto path = folder.write("cut.npz", whole.substr(0, length));
    EXPECT_THROW(read_all(*open_source("npz", path, {"x"})), Error) << length;
  }
}

TEST(Npz, NoticesDamageInACompressedMember) {
  Folder folder;
  const auto path = write_archive(folder, {{"x.npy", floats(100, 3), true}});
  auto bytes = read_bytes(path);
  bytes[200] = static_cast<char>(bytes[200] ^ 0x55);
  folder.write("a.npz", bytes);
  expect_error([&] { open_source("npz", path, {"x"}); }, ExitCode::kData, {"a.npz: array 'x'"});
}

TEST(Npz, RefusesAZipBomb) {
  Folder folder;
  std::string zeros((300 << 20) + 128, '\0');
  const auto header = npy_file(npy_dict("|u1", "(314572800,)"), "");
  std::copy(header.begin(), header.end(), zeros.begin());
  const auto path = write_archive(folder, {{"x.npy", zeros, true}});
  ASSERT_LT(std::filesystem::file_size(path), 400 << 10);
  expect_error([&] { open_source("npz", path, {"x"}); }, ExitCode::kData,
               {"zip bomb", "numpy.savez"});
}

TEST(Npz, RefusesSizesThatNoCompressionReaches) {
  Folder folder;
  const auto path = write_archive(folder, {{"x.npy", floats(100, 3), true}});
  auto bytes = read_bytes(path);
  // The central directory's own field for the unpacked size.
  const auto entry = bytes.find("PK\x01\x02");
  ASSERT_NE(entry, std::string::npos);
  bytes.replace(entry + 24, 4, std::string("\xff\xff\xff\x7f", 4));
  folder.write("a.npz", bytes);
  EXPECT_THROW(open_source("npz", path, {"x"}), Error);
}

TEST(Npz, AnArrayOfAnotherKindPointsToItsSource) {
  Folder folder;
  const auto path = folder.write("a.npy", floats(2, 1));
  expect_error([&] { open_source("npz", path, {"x"}); }, ExitCode::kData,
               {"a.npy", "\"source\": \"npy\""});
}

TEST(Npz, NamesAFileThatIsNotThere) {
  expect_error([] { open_source("npz", "/nowhere/a.npz", {"x"}); }, ExitCode::kData,
               {"/nowhere/a.npz", "No such file"});
}

}  // namespace
}  // namespace edgecompress
