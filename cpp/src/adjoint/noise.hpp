#pragma once
// How far slacks and multipliers of a solution may be off: what decides whether a row is at a kink or only near one.

#include "cones/cones.hpp"
#include "kkt/equilibrate.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr double rounding_noise = 1e-12;  // of sums, in units of their terms
inline constexpr double residuals_count = 4.0;

// Points and scratch in equilibrated units: x, t, g, l have n entries, z, s, r have m.
template <class V>
struct Point {
  const V *x, *z, *s;
};
template <class V>
struct Scratch {
  V *t, *g, *l, *r;
};

// More than the noise of any row.
template <class V>
V most_noise(const Plan& plan, const V* x, const V* s, const V* z) {
  V x_norm = V{}, w_norm = V{};
  for (Index j = 0; j < plan.n; ++j) x_norm = max(x_norm, abs(x[j]));
  for (Index i = 0; i < plan.m; ++i) w_norm = max(w_norm, max(abs(s[i]), abs(z[i])));
  return 1e-6 * (x_norm + w_norm);
}

// Per row, of slacks and of multipliers: the residuals of the solution, and rounding in units of the terms that they are sums of and of the
// largest variable and column of the instance, through what couples them. Rows of a block have one noise, which is in the first.
template <class V>
void measure_noise(const ProgramPack<V>& program, const Scaling<V>& scaling, Point<V> at, Scratch<V> room, V* of_slacks, V* of_multipliers) {
  const Plan& plan = program.plan;
  const auto put = [&](Index column, V term) { room.l[column] += abs(term); };
  V largest_x = V{}, largest_column = V{};
  for (Index j = 0; j < plan.n; ++j) largest_x = max(largest_x, abs(at.x[j]));
  program.products(at.x, at.z, room.t, room.r, room.g);
  for (Index j = 0; j < plan.n; ++j)
    room.l[j] = residuals_count / rounding_noise * abs(room.t[j] + scaling.c * scaling.D[j] * program.q[j] + room.g[j]);
  for (Index i = 0; i < plan.n; ++i)
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
      const Index j = plan.P.indices[k];
      put(i, program.P[k] * (abs(at.x[j]) + largest_x));
      if (i != j) put(j, program.P[k] * (abs(at.x[i]) + largest_x));
    }
  for (Index i = 0; i < plan.m; ++i) {
    V sum = abs(at.s[i]) + largest_x;
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
      sum += abs(program.A[k] * at.x[plan.A.indices[k]]);
      put(plan.A.indices[k], program.A[k] * at.z[i]);
    }
    of_slacks[i] = rounding_noise * sum + residuals_count * abs(room.r[i] + at.s[i] - scaling.E[i] * program.b[i]);
  }
  for (Index j = 0; j < plan.n; ++j) largest_column = max(largest_column, room.l[j]);
  for (Index i = 0; i < plan.m; ++i) {
    V most = V{};
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) most = max(most, abs(program.A[k]) * room.l[plan.A.indices[k]]);
    of_multipliers[i] = rounding_noise * (most + largest_column);
  }
  for (const ConeBlock& cone : plan.cones)
    for (Index i = cone.first + 1; i < cone.first + cone.rows(); ++i) {
      of_slacks[cone.first] = max(of_slacks[cone.first], of_slacks[i]);
      of_multipliers[cone.first] = max(of_multipliers[cone.first], of_multipliers[i]);
    }
}

}  // namespace cvxl::CVXL_ISA
