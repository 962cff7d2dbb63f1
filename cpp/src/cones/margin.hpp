#pragma once
// How far a solution (s, z) is from losing strict complementarity, where the derivative jumps: the least over all blocks of
//
//   nonnegative rows, second-order and semidefinite cones   |λ|, λ the spectral values of w = s - z,
//   exponential and power cones                             the lesser of |s| and |z|, or the depth of the one inside its cone.
//
// One instance at a time, in the units of (s, z); mirrored by cvxpylayers._engines.judge.margin.

#include <limits>

#include "cones/kinds.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

// Numbers that `margin` needs room for.
inline std::size_t margin_scratch(const PlanView& plan) {
  std::size_t most = 0;
  for (const ConeBlock& cone : plan.cones)
    with_kind<Real<4>>(cone.kind,
                       [&]<class Block>(std::type_identity<Block>) { most = std::max(most, Block::margin_scratch(cone)); });
  return most;
}

// +∞ without inequalities.
inline double margin(const PlanView& plan, const double* s, const double* z, double* scratch) {
  double least = std::numeric_limits<double>::infinity();
  for (Index i = plan.zero; i < plan.orthant_end; ++i) least = std::min(least, std::abs(s[i] - z[i]));
  for (const ConeBlock& cone : plan.cones)
    with_kind<Real<4>>(cone.kind, [&]<class Block>(std::type_identity<Block>) {
      least = std::min(least, Block::margin(cone, s + cone.first, z + cone.first, scratch));
    });
  return least;
}

}  // namespace cvxl::CVXL_ISA
