#pragma once
// How far slacks and multipliers of a solution may be off: what decides whether a row is at a kink or only near one.

#include "cones/cones.hpp"
#include "kkt/entries.hpp"
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

  Uncertainty(const PlanView& plan, Arena& arena) : columns(arena.take<V>(plan.n)) {
    for (V** v : {&rows, &slacks, &multipliers}) *v = arena.take<V>(plan.m);
  }
};

// More than the noise of any row.
template <class V>
V most_noise(const PlanView& plan, const V* x, const V* s, const V* z) {
  V x_norm = V{}, w_norm = V{};
  each<V>(plan.n, maxima(x_norm), [&](Index j) { x_norm = max(x_norm, abs(x[j])); });
  each<V>(plan.m, maxima(w_norm), [&](Index i) { w_norm = max(w_norm, max(abs(s[i]), abs(z[i]))); });
  return 1e-6 * (x_norm + w_norm) + nothing;
}

// Rows of a block get the largest of theirs.
template <class V>
void share_in_blocks(const PlanView& plan, const Uncertainty<V>& to) {
  for (const ConeBlock& cone : plan.cones) {
    const Index begin = cone.first, end = begin + cone.rows();
    for (V* noise : {to.rows, to.slacks, to.multipliers}) {
      V most = V{};
      each_in<V>(begin, end, maxima(most), [&](Index i) { most = max(most, noise[i]); });
      each_in<V>(begin, end, [&](Index i) { noise[i] = most; });
    }
  }
}

// Slacks and multipliers are taken to be off by what their own row and columns are, and by rounding of the largest variable and
// column and the largest residual of a row of the instance, through what couples them.
template <class V>
void measure_noise(const ProgramPack<V>& program, const Equilibration<V>& scaling, Point<V> at, Scratch<V> room,
                   const Uncertainty<V>& to) {
  const PlanView& plan = program.plan;
  V largest_x = V{}, largest_residual = V{}, largest_column = V{};
  each<V>(plan.n, maxima(largest_x), [&](Index j) { largest_x = max(largest_x, abs(at.x[j])); });
  program.products(at.x, at.z, room.t, room.r, room.g);
  each<V>(plan.m, maxima(largest_residual), [&](Index i) {
    room.r[i] = abs(room.r[i] + at.s[i] - scaling.E[i] * program.b[i]);
    largest_residual = max(largest_residual, room.r[i]);
  });
  const V of_x = rounding_noise * largest_x + residuals_count * largest_residual;
  each<V>(plan.n, [&](Index j) {
    to.columns[j] = residuals_count * abs(room.t[j] + scaling.c * scaling.D[j] * program.q[j] + room.g[j]);
    room.l[j] = V{};
  });
  each_entry_of_P<V>(plan, [&](Index j, Index i, Index k) {
    to.columns[j] += rounding_noise * abs(program.P[k] * at.x[i]);
    room.l[j] += abs(program.P[k]) * of_x;
  });
  each_row_and_entry_of_A<V>(
      plan,
      [&](Index i) {
        V sum = abs(at.s[i]);
        for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) sum += abs(program.A[k] * at.x[plan.A.indices[k]]);
        to.rows[i] = rounding_noise * sum + residuals_count * room.r[i];
        to.slacks[i] = to.rows[i] + of_x + nothing;
      },
      [&](Index j, Index i, Index k) { to.columns[j] += rounding_noise * abs(program.A[k] * at.z[i]); });
  each<V>(plan.n, maxima(largest_column), [&](Index j) {
    room.l[j] += to.columns[j];
    largest_column = max(largest_column, room.l[j]);
  });
  each<V>(plan.m, [&](Index i) {
    V most = V{};
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) most = max(most, abs(program.A[k]) * room.l[plan.A.indices[k]]);
    to.multipliers[i] = most + largest_column + nothing;
  });
  share_in_blocks(plan, to);
}

}  // namespace cvxl::CVXL_ISA
