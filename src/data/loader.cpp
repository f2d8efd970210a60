#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "data/dataset.h"

namespace edgecompress {

/// One slot between the reading thread and next(): the next batch is read while one is worked on.
struct Loader::State {
  State(std::shared_ptr<const Dataset> set, std::int64_t size_of_batch, std::uint64_t shuffle_seed,
        std::int64_t epoch, bool drop_last, std::int64_t skipped)
      : dataset(std::move(set)),
        batch_size(size_of_batch),
        given(skipped),
        augment_seed(derive_seed(shuffle_seed, "augment", epoch)) {
    const auto size = dataset->size();
    if (shuffle_seed != 0) {
      order = Random(derive_seed(shuffle_seed, "shuffle", epoch)).permutation(size);
    } else {
      order.resize(size);
      std::iota(order.begin(), order.end(), 0);
    }
    batches = drop_last ? size / batch_size : (size + batch_size - 1) / batch_size;
    thread = std::thread([this] { read_ahead(); });
  }

  ~State() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      is_stopped = true;
    }
    changed.notify_all();
    thread.join();
  }

  void read_ahead() {
    at::NoGradGuard no_grad;
    for (std::int64_t number = given; number < batches; ++number) {
      Batch batch;
      std::exception_ptr failure;
      try {
        batch = dataset->read(indices(number), augment_seed);
        batch.indices = indices(number).vec();
      } catch (...) {
        failure = std::current_exception();
      }
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [this] { return !slot || is_stopped; });
      if (is_stopped) return;
      slot = std::move(batch);
      error = failure;
      changed.notify_all();
      if (failure) return;
    }
  }

  c10::ArrayRef<std::int64_t> indices(std::int64_t number) const {
    const auto first = number * batch_size;
    const auto count = std::min<std::int64_t>(batch_size, order.size() - first);
    return {order.data() + first, static_cast<std::size_t>(count)};
  }

  std::shared_ptr<const Dataset> dataset;
  std::int64_t batch_size, batches = 0, given = 0;
  std::uint64_t augment_seed;
  std::vector<std::int64_t> order;

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Batch> slot;
  std::exception_ptr error;
  bool is_stopped = false;
  std::thread thread;
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, std::int64_t batch_size,
               std::uint64_t shuffle_seed, std::int64_t epoch, bool drop_last, std::int64_t skipped)
    : state_(std::make_unique<State>(std::move(dataset), batch_size, shuffle_seed, epoch, drop_last,
                                     skipped)) {}

Loader::~Loader() = default;

std::int64_t Loader::batches() const { return state_->batches; }

bool Loader::next(Batch& batch) {
  if (state_->given >= state_->batches) return false;
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->slot.has_value(); });
  if (state_->error) std::rethrow_exception(state_->error);
  batch = std::move(*state_->slot);
  state_->slot.reset();
  ++state_->given;
  state_->changed.notify_all();
  return true;
}

}  // namespace edgecompress
