#pragma once
// What a team does for a call: takes instance by instance until there are no more.

#include "ipm/homogeneous.hpp"
#include "ipm/solve.hpp"
#include "team/loader.hpp"

namespace cvxl::CVXL_ISA {

// What one team needs besides the call's arrays, in its own arena. A null arena measures it.
template <class V, template <class, class> class Loop, template <class> class State>
struct LoopMemory {
  using Loader = TeamLoader<V, State<V>>;
  Loop<V, Loader> solver;
  Loader loader;

  CVXL_HD LoopMemory(const SolveView& job, Arena& arena)
      : solver(job.problem.plan, job.settings, job.problem.check_convexity, arena), loader(job, solver.state(), arena) {}
};

template <class V>
using SolveMemory = LoopMemory<V, Solver, State>;
template <class V>
using AgainMemory = LoopMemory<V, HomogeneousSolver, Embedding>;

template <class V>
CVXL_HD void team_solve(const SolveView& job, Arena arena) {
  SolveMemory<V> memory(job, arena);
  if (job.shared_matrices) memory.loader.load_shared_matrices();
  memory.solver.run(memory.loader, job.shared_matrices);
}

// The instances that this has left open.
template <class V>
CVXL_HD void team_solve_again(const SolveView& job, Arena arena) {
  if (*job.open == 0) return;
  AgainMemory<V> memory(job, arena);
  memory.solver.run(memory.loader, false);
}

}  // namespace cvxl::CVXL_ISA
