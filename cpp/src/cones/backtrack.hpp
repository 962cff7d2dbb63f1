#pragma once
// Steps into cones that have no formula for the way to their boundary.

#include "lanes/team.hpp"

namespace cvxl::CVXL_ISA {

// α, in the given lanes no longer than such that outside(α) is false; 0 where that takes too long. What is found by large steps is
// refined by bisection: a step that is longer by a tenth saves more passes than its test costs.
template <class V, class Outside>
CVXL_HD V shortened(V alpha, MaskOf<V> lanes, Outside&& outside) {
  constexpr int trials = 60, bisections = 2;
  V excess = V{};  // α + excess is too long
  MaskOf<V> busy = lanes;
  for (int trial = 0; trial < trials && any(busy); ++trial) {
    busy &= outside(alpha);
    excess = select(busy, 0.2 * alpha, excess);
    alpha -= select(busy, excess, V{});
  }
  const MaskOf<V> refined = lanes & ~busy & (excess > 0.0);
  for (int pass = 0; pass < bisections && any(refined); ++pass) {
    excess *= 0.5;
    alpha += select(refined & ~outside(alpha + excess), excess, V{});
  }
  return select(busy, V{}, alpha);
}

}  // namespace cvxl::CVXL_ISA
