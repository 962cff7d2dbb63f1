#pragma once
// Numeric part of the KKT system: assemble, factor K = L D L' and solve, for a pack of lanes at once. Nothing here allocates.

#include <algorithm>

#include "kkt/panel_factor.hpp"
#include "kkt/program_pack.hpp"
#include "kkt/substitution.hpp"
#include "kkt/whole_blocks.hpp"
#include "lanes/team.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Kkt {
 public:
  using M = MaskOf<V>;

  // Row scalings of the system being factored: row i reads e_i (A_i x - r_i) - Δ_i ζ_i = 0 with z_i = e_i ζ_i.
  V *e, *delta;
  WholeBlocks<V> whole;

  Kkt(const PlanView& plan, Arena& arena)
      : e(arena.take<V>(plan.m)),
        delta(arena.take<V>(plan.m)),
        whole(plan, arena),
        plan_(plan),
        factor_(plan, arena),
        y_(arena.take<V>(static_cast<std::size_t>(plan.nodes) * most_sides)),
        weight_(arena.take<V>(plan.m)) {}

  // Factors with P, A, rho and the current e, delta. Returns the lanes in which a pivot had the wrong sign or was not a number;
  // such a pivot is replaced by its sign, so that the other entries stay finite. In `relative` lanes ρ is in units of the curvature
  // that P and condensed rows give a variable, where that is below 1: one with little, as of a weight that fades, moves freely.
  M factorize(const V* P, const V* A, V rho, M relative = M{}) {
    assemble(P, A);
    for (const RowGroup& group : plan_.groups) {
      const Index* row = plan_.group_rows.data() + group.rows.begin;
      factor_.subtract(A, group.update, [&](Index k) { return -weight_[row[k]]; });
    }
    if constexpr (has_cones<V>) whole.assemble(A, e, weight_, rho, factor_.entries);
    regularize(rho, relative);
    return factor_.factorize();
  }

  // Solves [P + ρ, A'; A, -Δ/e²] (dx, dz) = (r1, r2). dx, dz may not alias r1, r2.
  void solve(const V* A, const V* r1, const V* r2, V* dx, V* dz) { solve<1>(A, {r1}, {r2}, {dx}, {dz}); }

  // The same for S right-hand sides, which meet the factor and A together.
  template <int S>
  void solve(const V* A, const V* const (&r1)[S], const V* const (&r2)[S], V* const (&dx)[S], V* const (&dz)[S]) {
    static_assert(S <= most_sides);
    V* y[S];
    for (int s = 0; s < S; ++s) {
      y[s] = y_ + s * plan_.nodes;
      std::copy(r1[s], r1[s] + plan_.n, dx[s]);
    }
    for (Index i : plan_.kept_rows)
      for (int s = 0; s < S; ++s) y[s][plan_.row_position[i]] = e[i] * r2[s][i];
    for (Index i : plan_.singletons)
      for (int s = 0; s < S; ++s) {
        const Index k = plan_.A.indptr[i];
        dx[s][plan_.A.indices[k]] += A[k] * (weight_[i] * r2[s][i]);
      }
    for_each_run(plan_, plan_.condensed_runs, A, [&](Index first, const auto& rows, auto count) {
      constexpr int R = decltype(count)::value;
      V t[S][R];
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r) t[s][r] = weight_[first + r] * r2[s][first + r];
      rows.template axpy<S>(t, dx);
    });
    for (int s = 0; s < S; ++s) {
      if constexpr (has_cones<V>) whole.enter(A, e, weight_, r2[s], dx[s], y[s]);
      for (Index j = 0; j < plan_.n; ++j) y[s][plan_.variable_position[j]] = dx[s][j];
    }
    Substitution<V>(plan_, factor_.entries, factor_.inverse).template apply<S>(y);
    for (int s = 0; s < S; ++s)
      for (Index j = 0; j < plan_.n; ++j) dx[s][j] = y[s][plan_.variable_position[j]];
    for (Index i : plan_.kept_rows)
      for (int s = 0; s < S; ++s) dz[s][i] = e[i] * y[s][plan_.row_position[i]];
    for (Index i : plan_.singletons)
      for (int s = 0; s < S; ++s) {
        const Index k = plan_.A.indptr[i];
        dz[s][i] = weight_[i] * (A[k] * dx[s][plan_.A.indices[k]] - r2[s][i]);
      }
    for_each_run(plan_, plan_.condensed_runs, A, [&](Index first, const auto& rows, auto count) {
      constexpr int R = decltype(count)::value;
      V t[S][R];
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r) t[s][r] = -r2[s][first + r];
      rows.template dot<S>(dx, t);
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r) dz[s][first + r] = weight_[first + r] * t[s][r];
    });
    if constexpr (has_cones<V>)
      for (int s = 0; s < S; ++s) whole.leave(A, weight_, r1[s], r2[s], dx[s], dz[s]);
  }

 private:
  void regularize(V rho, M relative) {
    for (Index j = 0; j < plan_.n; ++j) {
      V& d = factor_.entries[plan_.diagonal[plan_.variable_position[j]]];
      d += plan_.loose[j] ? select(relative, rho * max(min(d, splat<V>(1.0)), splat<V>(least_curvature)), rho) : rho;
    }
  }

  void assemble(const V* P, const V* A) {
    std::fill(factor_.entries, factor_.entries + plan_.factor_size, V{});
    for (Index k = 0; k < plan_.P.nnz(); ++k) factor_.entries[plan_.P_target[k]] = P[k];
    for (Index i = 0; i < plan_.m; ++i) weight_[i] = e[i] * e[i] / delta[i];
    for (Index i : plan_.kept_rows) {
      factor_.entries[plan_.diagonal[plan_.row_position[i]]] = -delta[i];
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        if (plan_.A_target[k] >= 0) factor_.entries[plan_.A_target[k]] = e[i] * A[k];
    }
    for (Index i : plan_.singletons) {
      const Index k = plan_.A.indptr[i];
      factor_.entries[plan_.diagonal[plan_.variable_position[plan_.A.indices[k]]]] += weight_[i] * A[k] * A[k];
    }
  }

  static constexpr int most_sides = 2;

  const PlanView& plan_;
  PanelFactor<V> factor_;
  V *y_, *weight_;
};

}  // namespace cvxl::CVXL_ISA
