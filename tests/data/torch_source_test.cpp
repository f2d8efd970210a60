#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

TEST(TorchSource, ReadsADictOfTensors) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
x = torch.arange(24.).reshape(4, 2, 3)
torch.save({'x': x, 'turned': x.transpose(1, 2), 'y': torch.tensor([3, 0, 2, 1]), 'note': 'hello'}, 'a.pt')
)");
  const auto batch = read_all(*open_source("torch", folder / "a.pt", {"x", "turned"}, "y"));
  const auto x = at::arange(24, at::kFloat).view({4, 2, 3});
  EXPECT_TRUE(at::equal(batch.inputs[0], x));
  EXPECT_TRUE(at::equal(batch.inputs[1], x.transpose(1, 2)));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({3, 0, 2, 1}, at::kLong)));
  expect_error([&] { open_source("torch", folder / "a.pt", {"z"}); }, ExitCode::kData,
               {"no tensor 'z'", "turned"});
}

TEST(TorchSource, SaysWhatItFoundInstead) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
torch.save(torch.zeros(3), 'tensor.pt')
torch.save({'x': torch.zeros(3)}, 'old.pt', _use_new_zipfile_serialization=False)
torch.save({'x': torch.zeros(3).to_sparse()}, 'sparse.pt')
torch.save(torch.nn.Linear(2, 2), 'module.pt')
)");
  expect_error([&] { open_source("torch", folder / "tensor.pt", {"x"}); }, ExitCode::kData,
               {"tensor.pt", "expected a dict"});
  expect_error([&] { open_source("torch", folder / "old.pt", {"x"}); }, ExitCode::kData,
               {"old.pt", "1.6", "torch.save"});
  expect_error([&] { open_source("torch", folder / "sparse.pt", {"x"}); }, ExitCode::kData,
               {"sparse.pt"});
  expect_error([&] { open_source("torch", folder / "module.pt", {"x"}); }, ExitCode::kData,
               {"module.pt"});
}

TEST(TorchSource, EveryCutOfAGoodFileIsAnError) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, "torch.save({'x': torch.zeros(3), 'y': torch.zeros(3)}, 'a.pt')\n");
  const auto whole = read_bytes(folder / "a.pt");
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    const auto path = folder.write("cut.pt", whole.substr(0, length));
    expect_error([&] { open_source("torch", path, {"x"}); }, ExitCode::kData, {"cut.pt"});
  }
}

TEST(TorchSource, RefusesATensorLargerThanItsFile) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
import collections, pickle, zipfile
class Storage:
    def __init__(self): pass
class Evil:
    def __reduce__(self):
        return (torch._utils._rebuild_tensor_v2, (Storage(), 0, (1 << 27,), (1,), False, collections.OrderedDict()))
class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return ('storage', torch.FloatStorage, '0', 'cpu', 2) if isinstance(obj, Storage) else None
with zipfile.ZipFile('evil.pt', 'w') as z:
    with z.open('archive/data.pkl', 'w') as f: Pickler(f, protocol=2).dump({'x': Evil(), 'y': 0})
    z.writestr('archive/data/0', b'12345678')
    z.writestr('archive/version', b'3\n')
)");
  // In whose words hangs on LibTorch, which looks for itself from 2.14 on.
  expect_error([&] { open_source("torch", folder / "evil.pt", {"x"}); }, ExitCode::kData,
               {"evil.pt"});
}

}  // namespace
}  // namespace edgecompress
