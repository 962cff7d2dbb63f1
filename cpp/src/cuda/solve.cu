// The kernel of solves. Launched with as many teams as are resident, each with its slot of global and its part of shared memory.

#include "cuda/threads.hpp"
#include "team/solve.hpp"

using namespace cvxl;

extern "C" __global__ void cvxl_solve(const __grid_constant__ SolveView job, std::byte* slots, std::size_t slot, std::size_t near_slot,
                                      std::size_t largest_near) {
  extern __shared__ std::byte near[];
  const std::size_t team = std::size_t{blockIdx.x} * blockDim.y + threadIdx.y;
  CVXL_ISA::team_solve<CVXL_ISA::Number>(job, Arena(slots + team * slot, near + threadIdx.y * near_slot, largest_near));
}
