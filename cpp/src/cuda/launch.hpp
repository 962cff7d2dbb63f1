#pragma once
// How a kernel is launched: teams, their threads and their memory.

#include <functional>

#include "lanes/arena.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::cuda {

// Of one device.
struct DeviceLimits {
  std::size_t shared_per_block, shared_per_processor;
  int processors;
};

// Where arrays lie and how many threads work. Results depend on neither, but for teams of less than a warp, which the plan decides.
struct Launch {
  unsigned threads, teams;      // of a team; of a block
  std::size_t slot, near_slot;  // bytes of a team, in global and in shared memory
  std::size_t shared() const { return near_slot * teams; }
};

// Of a call with so many tickets. `take` makes a team's arrays in an arena. Many tickets get teams of a warp; where these would
// leave threads idle, teams are larger.
Launch plan_launch(const PlanView& plan, const DeviceLimits& limits, std::int64_t tickets, const std::function<void(Arena&)>& take);

}  // namespace cvxl::cuda
