#include "engine/pool.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "lanes/pause.hpp"

namespace cvxl {
namespace {

constexpr int most_threads = 256;

// Waking a sleeping thread can take longer than a small batch: a worker that has just finished looks for more work for a moment
// before it sleeps, and a caller for the last worker's end. A training loop comes back within that time.
constexpr auto patience = std::chrono::microseconds(200);

template <class Condition>
void spin_until(Condition&& condition) {
  for (const auto end = std::chrono::steady_clock::now() + patience; !condition() && std::chrono::steady_clock::now() < end;)
    for (int i = 0; i < 16; ++i) pause();
}

// Another number in a forked child, which has none of its parent's threads. On Windows nothing forks.
int process() {
#if defined(_WIN32)
  return 0;
#else
  return getpid();
#endif
}

class Pool {
 public:
  bool alive() const { return owner_ == process(); }

  // Takes the pool if it is free; it must then be given back.
  bool take() { return !taken_.exchange(true, std::memory_order_acquire); }
  void give_back() { taken_.store(false, std::memory_order_release); }

  void run(int threads, const std::function<void(int)>& job) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      grow(std::min(threads, most_threads) - 1);
      job_ = &job;
      next_ = 1;
      last_ = std::min(threads - 1, static_cast<int>(workers_.size()));
      running_ = last_;
      failure_ = nullptr;
      ++round_;
    }
    wake_.notify_all();
    guard(job, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    running_ -= last_ - next_ + 1;  // nobody waits for a worker that has not even woken up
    next_ = last_ + 1;
    lock.unlock();
    spin_until([this] { return running_.load(std::memory_order_acquire) == 0; });
    lock.lock();
    done_.wait(lock, [this] { return running_ == 0; });
    job_ = nullptr;
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  // A machine that refuses more threads gets along with those there are.
  void grow(int count) {
    try {
      while (static_cast<int>(workers_.size()) < count) {
        workers_.emplace_back([this, seen = round_.load()] { work(seen); });
      }
    } catch (const std::system_error&) {}
  }

  void guard(const std::function<void(int)>& job, int index) {
    try {
      job(index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void work(std::uint64_t seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      lock.unlock();
      spin_until([&] { return round_.load(std::memory_order_acquire) != seen; });
      lock.lock();
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (next_ > last_) continue;
      const int index = next_++;
      const auto* job = job_;
      lock.unlock();
      guard(*job, index);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  const int owner_ = process();
  std::atomic<bool> taken_{false};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* job_ = nullptr;
  int next_ = 1, last_ = 0;  // the parts of the round that workers may still take
  std::atomic<int> running_{0};
  std::atomic<std::uint64_t> round_{0};
  std::exception_ptr failure_;
};

// Never destroyed: its threads sleep until the process ends. In a forked child the parent's pool has no threads and is left alone.
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* seen = current.load(std::memory_order_acquire);
  while (!seen || !seen->alive()) {
    auto fresh = std::make_unique<Pool>();
    if (current.compare_exchange_strong(seen, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
  }
  return *seen;
}

// Columns of a panel lie further apart than a page: on huge pages, where the system has them, a sweep does not miss the TLB.
constexpr std::size_t huge_page = std::size_t{2} << 20;

struct Free {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{huge_page}); }
};

struct Block {
  std::unique_ptr<std::byte[], Free> bytes;
  std::size_t capacity = 0;

  Block() = default;
  explicit Block(std::size_t size)
      : bytes(static_cast<std::byte*>(::operator new[](size, std::align_val_t{huge_page}))), capacity(size) {
#if defined(__linux__)
    if (size >= huge_page / 4) madvise(bytes.get(), size, MADV_HUGEPAGE);
#endif
    std::fill_n(bytes.get(), size, std::byte{0});
  }
};

// Blocks of the calling thread, one per level of nesting.
thread_local std::vector<Block> blocks;
thread_local std::size_t level = 0;

}  // namespace

void run_parallel(int threads, const std::function<void(int)>& job) {
  if (threads <= 1) return job(0);
  Pool& workers = pool();
  if (!workers.take()) return job(0);
  const struct Return {
    Pool& pool;
    ~Return() { pool.give_back(); }
  } at_exit{workers};
  workers.run(threads, job);
}

ArenaLease::ArenaLease(std::size_t bytes) {
  if (blocks.size() == level) blocks.emplace_back();
  Block& block = blocks[level];
  if (block.capacity < bytes) {
    block = Block();
    block = Block(bytes < huge_page / 4 ? bytes : (bytes + huge_page - 1) / huge_page * huge_page);
  }
  data_ = block.bytes.get();
  ++level;
}

ArenaLease::~ArenaLease() {
  --level;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(data_, blocks[level].capacity);  // gaps between the arrays of an arena (lanes/arena.hpp)
#endif
}

}  // namespace cvxl
