#include "batch/pool.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "cvxl/engine.hpp"

namespace cvxl {
namespace {

class Pool {
 public:
  Pool() : owner_(getpid()) {}

  bool alive() const { return owner_ == getpid(); }

  void run(int threads, const std::function<void(int)>& job) {
    const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return job(0);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_.size()) < threads - 1) {
        const int index = static_cast<int>(workers_.size()) + 1;
        workers_.emplace_back([this, index, seen = round_] { work(index, seen); });
      }
      job_ = &job;
      wanted_ = threads - 1;
      running_ = wanted_;
      ++round_;
    }
    wake_.notify_all();
    job(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    job_ = nullptr;
  }

 private:
  void work(int index, std::uint64_t seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (index > wanted_) continue;
      const auto* job = job_;
      lock.unlock();
      (*job)(index);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  const pid_t owner_;
  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* job_ = nullptr;
  int wanted_ = 0, running_ = 0;
  std::uint64_t round_ = 0;
};

// Never destroyed: its threads sleep until the process ends. In a forked child the parent's pool has no threads and is left alone.
Pool& pool() {
  static std::mutex guard;
  static Pool* instance = nullptr;
  const std::lock_guard<std::mutex> lock(guard);
  if (!instance || !instance->alive()) instance = new Pool;
  return *instance;
}

struct Free {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};

}  // namespace

void run_parallel(int threads, const std::function<void(int)>& job) {
  if (threads <= 1) return job(0);
  pool().run(threads, job);
}

std::byte* thread_arena(std::size_t bytes) {
  thread_local std::unique_ptr<std::byte[], Free> block;
  thread_local std::size_t capacity = 0;
  if (capacity < bytes) {
    block.reset();
    block.reset(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{64})));
    std::fill(block.get(), block.get() + bytes, std::byte{0});
    capacity = bytes;
  }
  return block.get();
}

int hardware_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace cvxl
