#include "train/teacher_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

/// Two tensors a batch, of other shapes and types.
std::vector<at::Tensor> answer_of(const std::vector<at::Tensor>& inputs) {
  const at::Tensor& x = inputs[0];
  return {x * 2, at::stack({x, -x}, 1).to(at::kDouble)};
}

TEST(TeacherCache, GivesEachSampleItsAnswerInAnyOrder) {
  const testing::TemporaryFolder folder;
  Progress progress;
  const at::Tensor x = at::randn({10, 3});
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{x});
  const std::int64_t bytes = TeacherCache::bytes(answer_of({x.slice(0, 0, 2)}), 10);
  EXPECT_EQ(bytes, 10 * (3 * 4 + 6 * 8));
  std::int64_t asked = 0;
  const TeacherCache cache(
      [&](const std::vector<at::Tensor>& inputs) {
        asked += inputs[0].size(0);
        return answer_of(inputs);
      },
      data, 4, std::make_unique<ScratchFile>(folder.path(), bytes), progress);
  EXPECT_EQ(asked, 10);
  for (const std::vector<std::int64_t>& samples :
       {std::vector<std::int64_t>{7, 0, 9}, std::vector<std::int64_t>{3}}) {
    const auto found = cache.read(samples);
    const auto expected = answer_of({x.index_select(0, at::tensor(samples))});
    ASSERT_EQ(found.size(), 2U);
    EXPECT_TRUE(found[0].equal(expected[0]));
    EXPECT_TRUE(found[1].equal(expected[1]));
  }
  EXPECT_EQ(asked, 10);
}

}  // namespace
}  // namespace edgecompress
