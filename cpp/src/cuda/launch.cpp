#include "cuda/launch.hpp"

#include <algorithm>

namespace cvxl::cuda {
namespace {

// The fewest threads of a team, and the most that have something to do in most phases.
struct Threads {
  unsigned least, most;
};
Threads team_threads(const PlanView& plan) {
  const Index size = std::max(plan.n, plan.m);
  if (size <= 6) return {8, 8};
  return {32, size <= 32 ? 32u : size <= 80 ? 128u : 256u};
}

constexpr unsigned threads_per_processor = 512;  // as CVXL_RESIDENT (threads.hpp) has it
constexpr unsigned threads_per_block = 128;      // of teams that are smaller
constexpr std::size_t reserved = 1024 + 256;     // of a block's shared memory: the system's, and what warps exchange

}  // namespace

Launch plan_launch(const PlanView& plan, const DeviceLimits& limits, std::int64_t tickets,
                   const std::function<void(Arena&)>& take) {
  auto [threads, most] = team_threads(plan);
  while (threads < most && tickets * threads * 2 <= std::int64_t{limits.processors} * threads_per_processor) threads *= 2;
  Launch launch{threads, std::max(1u, threads_per_block / threads), 0, 0};
  const auto blocks = static_cast<std::size_t>(std::clamp<std::int64_t>(
      (tickets - 1) / (std::int64_t{launch.teams} * limits.processors) + 1, 1, threads_per_processor / (threads * launch.teams)));
  const std::size_t room = std::min(limits.shared_per_block, limits.shared_per_processor / blocks) - reserved;
  Arena arena(nullptr, nullptr, room / launch.teams / 64 * 64);
  take(arena);
  launch.slot = arena.used();
  launch.near_slot = (arena.near_used() + 63) / 64 * 64;
  return launch;
}

}  // namespace cvxl::cuda
