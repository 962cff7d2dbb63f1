// The kernel for instances that the quadratic loop leaves open, launched behind that of solves.

#include "cuda/threads.hpp"
#include "team/solve.hpp"

using namespace cvxl;

extern "C" __global__ CVXL_RESIDENT void cvxl_solve_again(const __grid_constant__ SolveView job, std::byte* slots, std::size_t slot,
                                                          std::size_t near_slot) {
  CVXL_ISA::team_solve_again<CVXL_ISA::Number>(job, CVXL_ISA::arena_of_team(slots, slot, near_slot));
}
