#pragma once
// How far slacks and multipliers of a solution may be off: what decides whether a row is at a kink or only near one.

#include "cones/cones.hpp"
#include "kkt/equilibration.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr double rounding_noise = 1e-12;  // of sums, in units of their terms
inline constexpr double residuals_count = 4.0;
inline constexpr double nothing = 1e-20;         // in equilibrated units: what is left of an iteration that tends to zero

// Points and scratch in equilibrated units: x, t, g, l have n entries, z, s, r have m.
template <class V>
struct Point {
  const V *x, *z, *s;
};
template <class V>
struct Scratch {
  V *t, *g, *l, *r;
};

// How far the optimality conditions are off at the solution, and what is made of it; filled by `measure_noise`. Rows of a cone
// block share theirs.
template <class V>
struct Uncertainty {
  V *columns, *rows;            // of Px + q + A'z and of Ax + s - b: residuals, and rounding of the terms
  V *slacks, *multipliers;      // of s and z per row, at a guess

  Uncertainty(const Plan& plan, Arena& arena) : columns(arena.take<V>(plan.n)) {
    for (V** v : {&rows, &slacks, &multipliers}) *v = arena.take<V>(plan.m);
  }
};

// More than the noise of any row.
template <class V>
V most_noise(const Plan& plan, const V* x, const V* s, const V* z) {
  V x_norm = V{}, w_norm = V{};
  for (Index j = 0; j < plan.n; ++j) x_norm = max(x_norm, abs(x[j]));
  for (Index i = 0; i < plan.m; ++i) w_norm = max(w_norm, max(abs(s[i]), abs(z[i])));
  return 1e-6 * (x_norm + w_norm) + nothing;
}

// Rows of a block get the largest of theirs.
template <class V>
void share_in_blocks(const Plan& plan, const Uncertainty<V>& to) {
  for (const ConeBlock& cone : plan.cones) {
    const Index begin = cone.first, end = begin + cone.rows();
    for (V* noise : {to.rows, to.slacks, to.multipliers}) {
      for (Index i = begin + 1; i < end; ++i) noise[begin] = max(noise[begin], noise[i]);
      std::fill(noise + begin + 1, noise + end, noise[begin]);
    }
  }
}

// Slacks and multipliers are taken to be off by what their own row and columns are, and by rounding of the largest variable and
// column and the largest residual of a row of the instance, through what couples them.
template <class V>
void measure_noise(const ProgramPack<V>& program, const Equilibration<V>& scaling, Point<V> at, Scratch<V> room,
                   const Uncertainty<V>& to) {
  const Plan& plan = program.plan;
  V largest_x = V{}, largest_residual = V{}, largest_column = V{};
  for (Index j = 0; j < plan.n; ++j) largest_x = max(largest_x, abs(at.x[j]));
  program.products(at.x, at.z, room.t, room.r, room.g);
  for (Index i = 0; i < plan.m; ++i) {
    room.r[i] = abs(room.r[i] + at.s[i] - scaling.E[i] * program.b[i]);
    largest_residual = max(largest_residual, room.r[i]);
  }
  const V of_x = rounding_noise * largest_x + residuals_count * largest_residual;
  for (Index j = 0; j < plan.n; ++j) {
    to.columns[j] = residuals_count * abs(room.t[j] + scaling.c * scaling.D[j] * program.q[j] + room.g[j]);
    room.l[j] = V{};
  }
  const auto put = [&](Index column, V factor, V value) {
    to.columns[column] += rounding_noise * abs(factor * value);
    room.l[column] += abs(factor) * of_x;
  };
  for (Index i = 0; i < plan.n; ++i)
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
      const Index j = plan.P.indices[k];
      put(i, program.P[k], at.x[j]);
      if (i != j) put(j, program.P[k], at.x[i]);
    }
  for (Index i = 0; i < plan.m; ++i) {
    V sum = abs(at.s[i]);
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
      const Index j = plan.A.indices[k];
      sum += abs(program.A[k] * at.x[j]);
      to.columns[j] += rounding_noise * abs(program.A[k] * at.z[i]);
    }
    to.rows[i] = rounding_noise * sum + residuals_count * room.r[i];
    to.slacks[i] = to.rows[i] + of_x + nothing;
  }
  for (Index j = 0; j < plan.n; ++j) {
    room.l[j] += to.columns[j];
    largest_column = max(largest_column, room.l[j]);
  }
  for (Index i = 0; i < plan.m; ++i) {
    V most = V{};
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) most = max(most, abs(program.A[k]) * room.l[plan.A.indices[k]]);
    to.multipliers[i] = most + largest_column + nothing;
  }
  share_in_blocks(plan, to);
}

}  // namespace cvxl::CVXL_ISA
