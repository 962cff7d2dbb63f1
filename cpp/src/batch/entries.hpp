#pragma once
// What an entry point of `Kernels` does, for one lane type.

#include "batch/batch_adjoint.hpp"
#include "batch/centring.hpp"
#include "batch/lane_loader.hpp"
#include "ipm/homogeneous.hpp"
#include "ipm/solve.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
using QuadraticLoop = Solver<V, LaneLoader<V, State<V>>>;
template <class V>
using HomogeneousLoop = HomogeneousSolver<V, LaneLoader<V, Embedding<V>>>;

template <class V, class Loop>
void solve_by(const SolveJob& job, std::byte* block, bool caller) {
  const FlushDenormals flush;
  Arena arena(block);
  Loop solver(job.compiled.view, job.settings, job.compiled.problem.check_convexity, arena);
  LaneLoader<V, std::remove_reference_t<decltype(solver.state())>> loader(job, solver.state(), arena, caller);
  if (job.shared_matrices) loader.broadcast_matrices();
  solver.run(loader, job.shared_matrices);
}

template <class V>
void solve(const SolveJob& job, std::byte* block, bool caller) {
  job.homogeneous() ? solve_by<V, HomogeneousLoop<V>>(job, block, caller) : solve_by<V, QuadraticLoop<V>>(job, block, caller);
}

template <class V, class Loop>
std::size_t arena_of(const Compiled& compiled) {
  const Settings settings;
  Arena arena;
  Loop solver(compiled.view, settings, false, arena);
  InstanceScratch scratch(compiled, arena);
  OneProgram<typename LaneLoader<V, std::remove_reference_t<decltype(solver.state())>>::Own> own(compiled.view, arena);
  return arena.used();
}

template <class V>
std::size_t solve_arena(const Compiled& compiled, bool homogeneous) {
  return homogeneous ? arena_of<V, HomogeneousLoop<V>>(compiled) : arena_of<V, QuadraticLoop<V>>(compiled);
}

template <class V>
std::size_t adjoint_arena(const Compiled& compiled) {
  Arena arena;
  AdjointMemory<V> memory(compiled, arena);
  return arena.used();
}

// Takes blocks of instances from the job and visits them pack by pack.
template <class V, class F>
void for_each_pack(AdjointJob& job, std::byte* block, bool caller, F&& visit) {
  const FlushDenormals flush;
  Arena arena(block);
  BatchAdjoint<V> adjoint(job, arena);
  auto last_poll = std::chrono::steady_clock::now();
  while (true) {
    const std::int64_t index = job.progress.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= job.blocks) return;
    const std::int64_t end = std::min(job.locator.size(), (index + 1) * job.block_size);
    for (std::int64_t first = index * job.block_size; first < end; first += lanes_of<V>) {
      if (job.progress.stopped(caller, last_poll)) return;
      adjoint.linearize(first, static_cast<int>(std::min<std::int64_t>(lanes_of<V>, end - first)));
      visit(adjoint, index);
      adjoint.write_flags();
    }
  }
}

template <class V>
void vjp(AdjointJob& job, std::byte* block, bool caller) {
  for_each_pack<V>(job, block, caller, [&](BatchAdjoint<V>& adjoint, std::int64_t index) {
    for (std::int64_t k = 0; k < job.directions; ++k) adjoint.vjp(k, job.partial_sums(index, k));
  });
}

template <class V>
void jvp(AdjointJob& job, std::byte* block, bool caller) {
  for_each_pack<V>(job, block, caller, [&](BatchAdjoint<V>& adjoint, std::int64_t) {
    for (std::int64_t k = 0; k < job.directions; ++k) adjoint.jvp(k);
  });
}

template <class V>
void hvp(AdjointJob& job, std::byte* block, bool caller) {
  for_each_pack<V>(job, block, caller, [&](BatchAdjoint<V>& adjoint, std::int64_t index) {
    for (std::int64_t k = 0; k < job.directions; ++k) adjoint.hvp(k, job.partial_sums(index, k));
  });
}

template <class V>
std::size_t centre_arena(const Compiled& compiled) {
  Arena arena;
  CentringMemory<V> memory(compiled, arena);
  return arena.used();
}

template <class V>
void centre(const CentreJob& job, std::byte* block, bool caller) {
  const FlushDenormals flush;
  Arena arena(block);
  Centring<V> centring(job, arena);
  auto last_poll = std::chrono::steady_clock::now();
  while (!job.progress.stopped(caller, last_poll)) {
    const std::int64_t first = lanes_of<V> * job.progress.next.fetch_add(1, std::memory_order_relaxed);
    if (first >= job.locator.size()) return;
    centring.run(first, static_cast<int>(std::min<std::int64_t>(lanes_of<V>, job.locator.size() - first)));
  }
}

inline void evaluate(const Compiled& compiled, const double* const* parameters, double* values) {
  for (Index v = 0; v < compiled.problem.structure.values(); ++v) values[v] = compiled.values(v, parameters);
}

#define CVXL_STRING_(x) #x
#define CVXL_STRING(x) CVXL_STRING_(x)
inline constexpr const char* own_name = CVXL_STRING(CVXL_ISA);

}  // namespace cvxl::CVXL_ISA
