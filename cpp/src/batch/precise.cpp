// The homogeneous loop in twice the precision, for instances that rounding keeps from their solution.

#include "lanes/twofold.hpp"

#include "batch/lane_loader.hpp"
#include "ipm/homogeneous.hpp"

namespace cvxl::CVXL_ISA {
namespace {
using Loader = LaneLoader<Twofold, Embedding<Twofold>>;
using Loop = HomogeneousSolver<Twofold, Loader>;
}  // namespace

std::size_t solve_arena(const Compiled& compiled) {
  const Settings settings;
  Arena arena;
  Loop solver(compiled.view, settings, false, arena);
  InstanceScratch scratch(compiled, arena);
  OneProgram<Twofold> own(compiled.view, arena);
  return arena.used();
}

void solve(const SolveJob& job, std::byte* block, bool caller) {
  const FlushDenormals flush;
  Arena arena(block);
  Loop solver(job.compiled.view, job.settings, job.compiled.problem.check_convexity, arena);
  Loader loader(job, solver.state(), arena, caller);
  if (job.shared_matrices) loader.broadcast_matrices();
  solver.run(loader, job.shared_matrices);
}

}  // namespace cvxl::CVXL_ISA
