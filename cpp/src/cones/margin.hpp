#pragma once
// How far a solution (s, z) is from losing strict complementarity, where the derivative jumps: the least over all blocks of
//
//   nonnegative rows, second-order and semidefinite cones   |λ|, λ the spectral values of w = s - z,
//   exponential and power cones                             the lesser of |s| and |z|, or the depth of the one inside its cone.
//
// One instance at a time, in the units of (s, z); mirrored by cvxpylayers._engines.judge.margin.

#include <algorithm>
#include <cmath>
#include <limits>

#include "plan/plan.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// The least |eigenvalue| of the k × k symmetric matrix at a, which is overwritten: Jacobi rotations, row by row.
inline double least_eigenvalue(double* a, Index k) {
  for (int sweep = 0; sweep < 30; ++sweep) {
    double off = 0.0, size = 0.0;
    for (Index i = 0; i < k; ++i)
      for (Index j = 0; j < k; ++j) (i == j ? size : off) += a[i * k + j] * a[i * k + j];
    if (off <= 1e-30 * size) break;
    for (Index p = 0; p < k; ++p)
      for (Index q = p + 1; q < k; ++q) {
        const double apq = a[p * k + q];
        if (apq == 0.0) continue;
        const double theta = (a[q * k + q] - a[p * k + p]) / (2.0 * apq);
        const double t = (theta < 0.0 ? -1.0 : 1.0) / (std::abs(theta) + std::sqrt(1.0 + theta * theta));
        const double c = 1.0 / std::sqrt(1.0 + t * t), s = t * c;
        for (Index i = 0; i < k; ++i) {
          const double x = a[i * k + p], y = a[i * k + q];
          a[i * k + p] = c * x - s * y;
          a[i * k + q] = s * x + c * y;
        }
        for (Index i = 0; i < k; ++i) {
          const double x = a[p * k + i], y = a[q * k + i];
          a[p * k + i] = c * x - s * y;
          a[q * k + i] = s * x + c * y;
        }
      }
  }
  double least = std::numeric_limits<double>::infinity();
  for (Index i = 0; i < k; ++i) least = std::min(least, std::abs(a[i * k + i]));
  return least;
}

// Depth of s in the exponential or power cone and of z in its dual, negative outside; zero on the boundary.
inline double primal_depth(const Cone& cone, const double* s) {
  if (cone.kind == Cone::exponential) return s[1] > 0.0 && s[2] > 0.0 ? s[1] * std::log(s[2] / s[1]) - s[0] : -1.0;
  return std::pow(std::max(s[0], 0.0), cone.alpha) * std::pow(std::max(s[1], 0.0), 1.0 - cone.alpha) - std::abs(s[2]);
}
inline double dual_depth(const Cone& cone, const double* z) {
  if (cone.kind == Cone::exponential) return z[0] < 0.0 && z[2] > 0.0 ? z[1] - z[0] - z[0] * std::log(-z[2] / z[0]) : -1.0;
  const double scaled[3] = {z[0] / cone.alpha, z[1] / (1.0 - cone.alpha), z[2]};
  return primal_depth(cone, scaled);
}

inline double block_margin(const ConeBlock& cone, const double* s, const double* z, double* scratch) {
  const Index k = cone.order;
  const auto norm = [](const double* v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); };
  switch (cone.kind) {
    case Cone::second_order: {
      double length = 0.0;
      for (Index i = 1; i < k; ++i) length += (s[i] - z[i]) * (s[i] - z[i]);
      return std::abs(std::abs(s[0] - z[0]) - std::sqrt(length));
    }
    case Cone::semidefinite:
      for (Index j = 0, t = 0; j < k; ++j)
        for (Index i = 0; i <= j; ++i, ++t) scratch[i * k + j] = scratch[j * k + i] = (s[t] - z[t]) * (i == j ? 1.0 : std::sqrt(0.5));
      return least_eigenvalue(scratch, k);
    default:
      return std::max({std::min(norm(s), norm(z)), norm(z) < norm(s) ? primal_depth(cone, s) : dual_depth(cone, z)});
  }
}

// +∞ without inequalities. `scratch` holds the square of the largest semidefinite order.
inline double margin(const Plan& plan, const double* s, const double* z, double* scratch) {
  double least = std::numeric_limits<double>::infinity();
  for (Index i = plan.zero; i < plan.orthant_end; ++i) least = std::min(least, std::abs(s[i] - z[i]));
  for (const ConeBlock& cone : plan.cones)
    if (cone.rows() > 0) least = std::min(least, block_margin(cone, s + cone.first, z + cone.first, scratch));
  return least;
}

}  // namespace cvxl::CVXL_ISA
