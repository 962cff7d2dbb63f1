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

// Results depend on `threads` alone, which the plan decides; all else is where arrays lie and how many work.
struct Launch {
  unsigned threads, teams;          // of a team; of a block
  std::size_t slot, near_slot;      // bytes of a team, in global and in shared memory
  std::size_t largest_near;         // arrays up to this size are in shared memory
  std::size_t shared() const { return near_slot * teams; }
};

// `take` makes a team's arrays in an arena. Shared memory is given to small arrays first: those of rows and columns, which every
// phase meets, then the factor and the data, as far as those fit that registers leave room for.
Launch plan_launch(const PlanView& plan, const DeviceLimits& limits, const std::function<void(Arena&)>& take);

}  // namespace cvxl::cuda
