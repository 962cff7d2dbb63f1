#pragma once
// Single instances between the caller's arrays and the lanes.

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "cones/margin.hpp"
#include "engine/job.hpp"
#include "kkt/equilibration.hpp"
#include "kkt/program_pack.hpp"
#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
CVXL_INLINE decltype(auto) lane_of(V* p, Index k, int lane) {
  using Cell = std::conditional_t<std::is_const_v<V>, const double, double>;
  constexpr int W = lanes_of<std::remove_const_t<V>>;
  if constexpr (sizeof(V) == W * sizeof(Cell))
    return (reinterpret_cast<Cell*>(p)[static_cast<std::size_t>(k) * W + lane]);
  else
    return (p[k]);
}

// Scratch of one instance.
struct InstanceScratch {
  const double** parameters;  // where each parameter, and then the constant, of the instance located last is
  double* xz;                 // (x, z) in the user's order
  double* s;                  // its slack
  std::uint8_t* off;          // per row and lane: whether it is switched off
  double* of_margin;          // as cones/margin.hpp needs it

  InstanceScratch(const Compiled& compiled, Arena& arena)
      : parameters(arena.take<const double*>(compiled.problem.parameter_sizes.size() + 1)),
        xz(arena.take<double>(compiled.view.n + compiled.view.m)),
        s(arena.take<double>(compiled.view.m)),
        off(arena.take<std::uint8_t>(static_cast<std::size_t>(compiled.view.m) * 8)),
        of_margin(arena.take<double>(margin_scratch(compiled.view))) {}
};

// One program and its scaling, which are found faster without the stride of the lanes.
template <class V>
struct OneProgram {
  ProgramPack<V> program;
  Equilibration<V> scaling;

  OneProgram(const PlanView& plan, Arena& arena) : program(plan, arena), scaling(plan, arena, 4.0) {}
};

// P and A of one lane; `value` gives the numbers of the value vector. Entries that only fill a cone's pattern are zero.
template <class V, class Value>
CVXL_INLINE void load_matrices(const ProgramPack<V>& to, int lane, Value&& value) {
  const PlanView& plan = to.plan;
  for (Index k = 0; k < plan.P.nnz(); ++k) lane_of(to.P, k, lane) = value(plan.P_source[k]);
  for (Index k = 0; k < plan.A.nnz(); ++k) lane_of(to.A, k, lane) = plan.A_source[k] < 0 ? 0.0 : value(plan.A_source[k]);
}

// The same of one matrix by its terms, of which `value` gives those that are not in runs; returns whether the others are finite.
template <class V, class Value>
CVXL_INLINE bool load_terms(V* to, int lane, const MatrixTerms& terms, const double* const* parameters, Value&& value) {
  bool finite = true;
  for (const MatrixTerms::Run& run : terms.runs) {
    const double* const from = parameters[run.parameter] + run.offset;
    const double* const coefficient = terms.coefficient.data() + run.first;
    for (Index k = 0; k < run.count; ++k) {
      double number = 0.0;
      number += coefficient[k] * from[k * run.stride];
      finite &= std::abs(number) <= std::numeric_limits<double>::max();
      lane_of(to, run.first + k, lane) = number;
    }
  }
  for (const Index k : terms.others) lane_of(to, k, lane) = value(k);
  return finite;
}

// P and A of every lane as far as the batch shares them: `base` has the numbers of the value vector. The rest gets anything, until
// `load_varying` loads it into one lane.
template <class V>
CVXL_INLINE void broadcast_matrices(const ProgramPack<V>& to, const std::vector<double>& base) {
  const PlanView& plan = to.plan;
  for (Index k = 0; k < plan.P.nnz(); ++k) to.P[k] = splat<V>(base[plan.P_source[k]]);
  for (Index k = 0; k < plan.A.nnz(); ++k) to.A[k] = splat<V>(plan.A_source[k] < 0 ? 0.0 : base[plan.A_source[k]]);
}
template <class V, class Value>
CVXL_INLINE void load_varying(const ProgramPack<V>& to, const AdjointJob& job, int lane, Value&& value) {
  for (const Index k : job.varying_P) lane_of(to.P, k, lane) = value(to.plan.P_source[k]);
  for (const Index k : job.varying_A) lane_of(to.A, k, lane) = value(to.plan.A_source[k]);
}

// q of one lane.
template <class V, class Value>
CVXL_INLINE void load_q(const ProgramPack<V>& to, const Structure& structure, int lane, Value&& value) {
  for (Index j = 0; j < to.plan.n; ++j) lane_of(to.q, j, lane) = value(structure.q_offset() + to.plan.variable_of[j]);
}

// The parts of one point (x, z, s) of a tape.
template <class T>
struct TapeRow {
  T *x, *z, *s;

  TapeRow(std::span<T> points, const PlanView& plan, std::int64_t i)
      : x(points.data() + i * (plan.n + 2 * static_cast<std::int64_t>(plan.m))), z(x + plan.n), s(z + plan.m) {}

  bool missing() const { return std::isnan(*x); }
};

// One point into one lane.
template <class V, class T>
CVXL_INLINE void load_point(const PlanView& plan, const TapeRow<T>& from, int lane, V* x, V* z, V* s) {
  for (Index j = 0; j < plan.n; ++j) lane_of(x, j, lane) = from.x[plan.variable_of[j]];
  for (Index r = 0; r < plan.m; ++r) {
    lane_of(z, r, lane) = from.z[r];
    lane_of(s, r, lane) = from.s[r];
  }
}

// Turns row r of one lane into 0·x + s = 1, which says nothing: what a row with an infinite bound is replaced by.
template <class V>
CVXL_INLINE void switch_off(const PlanView& plan, V* A, Index r, int lane) {
  for (Index k = plan.A.indptr[r]; k < plan.A.indptr[r + 1]; ++k) lane_of(A, k, lane) = 0.0;
}
template <class V>
CVXL_INLINE void switch_off(const PlanView& plan, V* A, V* b, Index r, int lane) {
  switch_off(plan, A, r, lane);
  lane_of(b, r, lane) = 1.0;
}

// Σ over a sparse row.
CVXL_INLINE double dot(const SparseMap& map, Index row, const double* v) {
  double sum = 0.0;
  for (Index k = map.pattern.indptr[row]; k < map.pattern.indptr[row + 1]; ++k) sum += map.data[k] * v[map.pattern.indices[k]];
  return sum;
}

}  // namespace cvxl::CVXL_ISA
