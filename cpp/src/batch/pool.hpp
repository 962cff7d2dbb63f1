#pragma once
#include <functional>

namespace cvxl {

// Runs job(0) on the calling thread and job(1) … job(threads - 1) on pooled threads, and returns when all are done. If another
// call holds the pool, the caller works alone. Survives fork: a child process starts a pool of its own.
void run_parallel(int threads, const std::function<void(int)>& job);

// Working memory of the calling thread, at least `bytes` long and aligned to a cache line; kept for the thread's next call.
std::byte* thread_arena(std::size_t bytes);

}  // namespace cvxl
