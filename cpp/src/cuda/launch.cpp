#include "cuda/launch.hpp"

#include <algorithm>

namespace cvxl::cuda {
namespace {

// As many as have something to do in most phases (measured on an H100: 32 up to 20 variables, 128 at 60 and 256 at 100 are best).
unsigned team_threads(const PlanView& plan) {
  const Index size = std::max(plan.n, plan.m);
  return size <= 6 ? 8 : size <= 32 ? 32 : size <= 80 ? 128 : 256;
}

constexpr unsigned threads_per_processor = 256;  // that registers leave room for, at up to 255 each
constexpr std::size_t reserved = 1024 + 256;     // of a block's shared memory: the system's, and what warps exchange

}  // namespace

Launch plan_launch(const PlanView& plan, const DeviceLimits& limits, const std::function<void(Arena&)>& take) {
  Launch launch{team_threads(plan), 1, 0, 0, 0};
  launch.teams = std::max(1u, 128 / launch.threads);
  const unsigned blocks = std::max(1u, threads_per_processor / (launch.threads * launch.teams));
  const std::size_t room = std::min(limits.shared_per_block, limits.shared_per_processor / blocks) - reserved;
  const auto measure = [&](std::size_t largest) {
    Arena arena(nullptr, nullptr, largest);
    take(arena);
    launch.slot = arena.used();
    launch.near_slot = (arena.near_used() + 63) / 64 * 64;
    launch.largest_near = largest;
    return launch.near_slot * launch.teams <= room;
  };
  std::vector<std::size_t> sizes{0};
  for (const std::size_t count : {static_cast<std::size_t>(plan.n), static_cast<std::size_t>(plan.m),
                                  static_cast<std::size_t>(plan.nodes), static_cast<std::size_t>(plan.n + plan.m),
                                  plan.P.indices.size(), plan.A.indices.size(), static_cast<std::size_t>(plan.factor_size)})
    sizes.push_back(8 * count);
  std::sort(sizes.rbegin(), sizes.rend());
  for (const std::size_t largest : sizes)
    if (measure(largest)) break;
  return launch;
}

}  // namespace cvxl::cuda
