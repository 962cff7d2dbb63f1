#pragma once
// Single instances between the caller's arrays and the lanes.

#include <algorithm>

#include "batch/job.hpp"
#include "cones/margin.hpp"
#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
CVXL_INLINE double& lane_of(V* p, Index k, int lane) {
  return reinterpret_cast<double*>(p)[static_cast<std::size_t>(k) * lanes_of<V> + lane];
}
template <class V>
CVXL_INLINE double lane_of(const V* p, Index k, int lane) {
  return reinterpret_cast<const double*>(p)[static_cast<std::size_t>(k) * lanes_of<V> + lane];
}

// Stages instances of a batch: M is applied here, R where results leave.
class Stage {
 public:
  Stage(const Compiled& compiled, Arena& arena)
      : pointers(arena.take<const double*>(compiled.problem.parameter_sizes.size() + 1)),
        xz(arena.take<double>(compiled.plan.n + compiled.plan.m)),
        s(arena.take<double>(compiled.plan.m)),
        off(arena.take<std::uint8_t>(static_cast<std::size_t>(compiled.plan.m) * 8)),
        of_margin(arena.take<double>(margin_scratch(compiled.plan))) {}

  const double** pointers;  // of the instance located last
  double* xz;               // (x, z) of one instance in the user's order
  double* s;                // its slack
  std::uint8_t* off;        // per row and lane: whether it is switched off
  double* of_margin;        // scratch of cones/margin.hpp
};

// Turns row r of one lane into 0·x + s = 1, which says nothing: what a row with an infinite bound is replaced by.
template <class V>
CVXL_INLINE void switch_off(const Plan& plan, V* A, V* b, Index r, int lane) {
  for (Index k = plan.A.indptr[r]; k < plan.A.indptr[r + 1]; ++k) lane_of(A, k, lane) = 0.0;
  lane_of(b, r, lane) = 1.0;
}

// Σ over a sparse row.
CVXL_INLINE double dot(const SparseMap& map, Index row, const double* v) {
  double sum = 0.0;
  for (Index k = map.pattern.indptr[row]; k < map.pattern.indptr[row + 1]; ++k) sum += map.data[k] * v[map.pattern.indices[k]];
  return sum;
}

}  // namespace cvxl::CVXL_ISA
