// The homogeneous loop in twice the precision, for instances that rounding keeps from their solution.

#include "lanes/twofold.hpp"

#include "batch/entries.hpp"

namespace cvxl::CVXL_ISA {

std::size_t solve_arena(const Compiled& compiled) { return arena_of<Twofold, HomogeneousLoop<Twofold>>(compiled); }

void solve(const SolveJob& job, std::byte* block, bool caller) { solve_by<Twofold, HomogeneousLoop<Twofold>>(job, block, caller); }

}  // namespace cvxl::CVXL_ISA
