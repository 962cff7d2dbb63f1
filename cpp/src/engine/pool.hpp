#pragma once
#include <cstddef>
#include <functional>

namespace cvxl {

// Runs job(0) on the calling thread and job(k) for other k < threads on pooled threads, as far as those wake up before job(0) is
// done, and returns when all that began are done; the first exception of any of them is thrown again. A job must therefore be
// complete when job(0) is: workers share the work, they have none of their own. Where the pool is taken, by another call or by one
// further up this thread, the caller works alone. Survives fork: a child process starts a pool of its own.
void run_parallel(int threads, const std::function<void(int)>& job);

// Working memory of the calling thread, aligned to a cache line and kept for the thread's next call. Leases nest: a call made from
// within another (by an interrupt handler, say) gets memory of its own.
class ArenaLease {
 public:
  explicit ArenaLease(std::size_t bytes);
  ~ArenaLease();
  ArenaLease(const ArenaLease&) = delete;
  ArenaLease& operator=(const ArenaLease&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

}  // namespace cvxl
