#include <atomic>
#include <chrono>
#include <thread>

#include "data/tensor_dataset.h"
#include "data/views.h"
#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

std::shared_ptr<const Dataset> numbers(std::int64_t count) {
  return std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::arange(count)},
                                         at::arange(count));
}

std::vector<at::Tensor> read_through(Loader&& loader) {
  std::vector<at::Tensor> batches;
  Batch batch;
  while (loader.next(batch)) {
    EXPECT_TRUE(at::equal(batch.inputs[0], batch.target));
    EXPECT_TRUE(at::equal(at::tensor(batch.indices), batch.target));
    EXPECT_EQ(batch.size, batch.inputs[0].size(0));
    batches.push_back(batch.inputs[0]);
  }
  EXPECT_EQ(static_cast<std::int64_t>(batches.size()), loader.batches());
  EXPECT_FALSE(loader.next(batch));
  return batches;
}

TEST(Loader, WithoutSeedReadsInIndexOrder) {
  const auto batches = read_through(Loader(numbers(10), 4));
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[2].size(0), 2);
  EXPECT_TRUE(at::equal(at::cat(batches), at::arange(10)));
}

TEST(Loader, MayDropTheLastBatch) {
  EXPECT_EQ(read_through(Loader(numbers(10), 4, 0, 0, true)).size(), 2u);
  EXPECT_EQ(read_through(Loader(numbers(3), 4, 0, 0, true)).size(), 0u);
}

TEST(Loader, GoesOnWhereAnotherOneStopped) {
  const auto all = read_through(Loader(numbers(20), 6, 5, 2));
  Loader rest(numbers(20), 6, 5, 2, false, /*skipped=*/2);
  EXPECT_EQ(rest.batches(), 4);
  Batch batch;
  ASSERT_TRUE(rest.next(batch));
  EXPECT_TRUE(at::equal(batch.inputs[0], all[2]));
  ASSERT_TRUE(rest.next(batch));
  EXPECT_TRUE(at::equal(batch.inputs[0], all[3]));
  EXPECT_FALSE(rest.next(batch));
}

TEST(Loader, ASeededOrderIsAPermutationOfItsOwnForEachEpoch) {
  const auto first = at::cat(read_through(Loader(numbers(100), 8, 5, 0)));
  const auto again = at::cat(read_through(Loader(numbers(100), 32, 5, 0)));
  const auto second = at::cat(read_through(Loader(numbers(100), 8, 5, 1)));
  EXPECT_TRUE(at::equal(first, again));
  EXPECT_FALSE(at::equal(first, second));
  EXPECT_FALSE(at::equal(first, at::arange(100)));
  EXPECT_TRUE(at::equal(std::get<0>(second.sort()), at::arange(100)));
}

TEST(Loader, AugmentationHangsOnSeedEpochAndSampleOnly) {
  const auto base = std::make_shared<TensorDataset>(
      std::vector<at::Tensor>{at::randint(0, 256, {20, 3, 8, 8}, at::kByte)}, at::arange(20));
  const auto set = std::make_shared<TransformedDataset>(
      base,
      parse_transforms(Json::parse(R"([{"random_flip": {}}, {"pad_crop": {"padding": 4}}])"), ""),
      "test");
  const auto by_sample = [&](std::int64_t batch_size, std::uint64_t seed, std::int64_t epoch) {
    std::vector<at::Tensor> samples(20);
    Loader loader(set, batch_size, seed, epoch);
    Batch batch;
    while (loader.next(batch))
      for (std::int64_t i = 0; i < batch.size; ++i)
        samples[batch.target[i].item<std::int64_t>()] = batch.inputs[0][i];
    return at::stack(samples);
  };
  EXPECT_TRUE(at::equal(by_sample(4, 9, 2), by_sample(7, 9, 2)));
  EXPECT_FALSE(at::equal(by_sample(4, 9, 2), by_sample(4, 9, 3)));
  EXPECT_FALSE(at::equal(by_sample(4, 9, 2), by_sample(4, 10, 2)));
}

TEST(Loader, GivesTheBytesOfADirectReading) {
  const auto set = open_source("synthetic", "", {}, "", {{"samples", 30}});
  const auto direct = read_all(*set);
  Loader loader(set, 7);
  Batch batch;
  std::int64_t at = 0;
  while (loader.next(batch)) {
    EXPECT_TRUE(at::equal(batch.inputs[0], direct.inputs[0].narrow(0, at, batch.size)));
    EXPECT_TRUE(at::equal(batch.target, direct.target.narrow(0, at, batch.size)));
    at += batch.size;
  }
  EXPECT_EQ(at, 30);
}

class FailingDataset : public TensorDataset {
 public:
  FailingDataset() : TensorDataset({at::arange(10)}) {}
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override {
    if (indices[0] >= 4) throw Error(ExitCode::kData, "sample 4 is damaged");
    return TensorDataset::read(indices, seed);
  }
};

TEST(Loader, ThrowsWhatTheReadingThrewAfterTheGoodBatches) {
  Loader loader(std::make_shared<FailingDataset>(), 2);
  Batch batch;
  EXPECT_TRUE(loader.next(batch));
  EXPECT_TRUE(loader.next(batch));
  expect_error([&] { loader.next(batch); }, ExitCode::kData, {"sample 4 is damaged"});
}

class CountingDataset : public TensorDataset {
 public:
  CountingDataset() : TensorDataset({at::arange(10)}) {}
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override {
    ++reads;
    return TensorDataset::read(indices, seed);
  }
  mutable std::atomic<int> reads{0};
};

TEST(Loader, ReadsAheadWhileABatchIsWorkedOn) {
  const auto set = std::make_shared<CountingDataset>();
  Loader loader(set, 2);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  // Nobody asks for more. A minute is for ever: a reader that waits to be asked never reads again.
  for (int i = 0; i < 60000 && set->reads < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(set->reads, 3);
}

TEST(Loader, MayBeLeftBeforeItsEnd) {
  for (int i = 0; i < 50; ++i) {
    Loader loader(numbers(1000), 1);
    Batch batch;
    for (int step = 0; step < i % 3; ++step) EXPECT_TRUE(loader.next(batch));
  }
}

TEST(Loader, AnEmptySetHasNoBatch) { EXPECT_TRUE(read_through(Loader(numbers(0), 4)).empty()); }

}  // namespace
}  // namespace edgecompress
