// The kernel of solves, and one that brings arguments of a call. Launched with as many teams as are resident, each with its slot of global and its part of shared memory.

#include "cuda/payload.hpp"
#include "cuda/threads.hpp"
#include "team/solve.hpp"

using namespace cvxl;

extern "C" __global__ CVXL_RESIDENT void cvxl_solve(const __grid_constant__ SolveView job, std::byte* slots, std::size_t slot, std::size_t near_slot) {
  CVXL_ISA::team_solve<CVXL_ISA::Number>(job, CVXL_ISA::arena_of_team(slots, slot, near_slot));
}

extern "C" __global__ void cvxl_write(const __grid_constant__ cuda::Payload payload, unsigned char* to, unsigned count) {
  for (unsigned k = threadIdx.x; k < count; k += blockDim.x) to[k] = payload.bytes[k];
}
