#pragma once
// What a team does for a call: takes instance by instance until there are no more.

#include "ipm/solve.hpp"
#include "team/loader.hpp"

namespace cvxl::CVXL_ISA {

// What one team needs besides the call's arrays, in its own arena. A null arena measures it.
template <class V>
struct SolveMemory {
  Solver<V, TeamLoader<V, State<V>>> solver;
  TeamLoader<V, State<V>> loader;

  CVXL_HD SolveMemory(const SolveView& job, Arena& arena)
      : solver(job.problem.plan, job.settings, job.problem.check_convexity, arena), loader(job, solver.state(), arena) {}
};

template <class V>
CVXL_HD void team_solve(const SolveView& job, Arena arena) {
  SolveMemory<V> memory(job, arena);
  if (job.shared_matrices) memory.loader.load_shared_matrices();
  memory.solver.run(memory.loader, job.shared_matrices);
}

}  // namespace cvxl::CVXL_ISA
