#pragma once
// Ruiz equilibration of [P A'; A 0] (Ruiz 2001; as used by OSQP and Clarabel), lane by lane.
//
// The scaled program has P̂ = c D P D, q̂ = c D q, Â = E A D, b̂ = E b, so that x = D x̂, s = E⁻¹ ŝ, z = E ẑ / c. The scaling
// depends on P and A alone (on q only where there is no P): a batch that shares them shares it too, and an instance is scaled the
// same way whether it shares them or not.

#include "kkt/entries.hpp"
#include "kkt/program_pack.hpp"
#include "kkt/rows.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Equilibration {
 public:
  using M = MaskOf<V>;
  V *D, *E, *D_inverse, *E_inverse;
  V c = V{} + 1.0;

  // Norms within [1/spread, spread] are left alone.
  CVXL_HD Equilibration(const PlanView& plan, Arena& arena, double spread)
      : D(arena.take<V>(plan.n)),
        E(arena.take<V>(plan.m)),
        D_inverse(arena.take<V>(plan.n)),
        E_inverse(arena.take<V>(plan.m)),
        plan_(plan),
        spread_(spread),
        d_(arena.take<V>(plan.n)),
        e_(arena.take<V>(plan.m)) {}

  // Scales P and A in place, in the lanes of the mask.
  CVXL_SEAM void scale_matrices(ProgramPack<V>& pack, M lanes, bool enabled) {
    const V one = splat<V>(1.0);
    each<V>(plan_.n, [&](Index j) { D[j] = select(lanes, one, D[j]); });
    each<V>(plan_.m, [&](Index i) { E[i] = select(lanes, one, E[i]); });
    c = select(lanes, one, c);
    M busy = enabled ? lanes : M{};
    for (int pass = 0; pass < passes; ++pass) {
      busy &= measure(pack);
      if (!any(busy)) break;
      apply(pack, busy);
    }
    if (plan_.P.nnz() > 0 && enabled) scale_cost(pack, lanes);
    each<V>(plan_.n, [&](Index j) { D_inverse[j] = 1.0 / D[j]; });
    each<V>(plan_.m, [&](Index i) { E_inverse[i] = 1.0 / E[i]; });
  }

  // Scales q and b in the lanes of the mask.
  CVXL_SEAM void scale_vectors(ProgramPack<V>& pack, M lanes, bool enabled) {
    const V one = splat<V>(1.0);
    if (plan_.P.nnz() == 0) {
      V norm = V{};
      each<V>(plan_.n, maxima(norm), [&](Index j) { norm = max(norm, abs(D[j] * pack.q[j])); });
      c = select(lanes, enabled ? cost_factor(norm) : one, c);
    }
    const V cost = select(lanes, c, one);
    each<V>(plan_.n, [&](Index j) { pack.q[j] *= select(lanes, D[j], one) * cost; });
    each<V>(plan_.m, [&](Index i) { pack.b[i] *= select(lanes, E[i], one); });
  }

 private:
  static constexpr int passes = 10;
  static constexpr double limit = 1e8;

  CVXL_HD static V cost_factor(V norm) {
    const V factor = 1.0 / min(max(norm, splat<V>(1.0 / limit)), splat<V>(limit));
    return select(norm > 0.0, factor, splat<V>(1.0));
  }

  // Column and row norms into d_, e_; returns the lanes where one is out of bounds.
  CVXL_HD M measure(const ProgramPack<V>& pack) {
    measure_P(pack);
    if constexpr (Team<V>::alone) {
      for (Index i = 0; i < plan_.m; ++i) e_[i] = raise_by(plan_.A, pack.A, i);
    } else {
      each_row_and_entry_of_A<V>(
          plan_,
          [&](Index i) {
            V norm = V{};
            for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) norm = max(norm, abs(pack.A[k]));
            e_[i] = norm;
          },
          [&](Index j, Index, Index k) { d_[j] = max(d_[j], abs(pack.A[k])); });
    }
    // A cone block must stay one: it is scaled as a whole, by its largest row.
    for (const ConeBlock& cone : plan_.cones) {
      V norm = V{};
      each_in<V>(cone.first, cone.first + cone.rows(), maxima(norm), [&](Index i) { norm = max(norm, e_[i]); });
      each_in<V>(cone.first, cone.first + cone.rows(), [&](Index i) { e_[i] = norm; });
    }
    M outside{};
    const auto check = [&](V norm) { outside |= (norm > spread_) | ((norm < 1.0 / spread_) & (norm > 0.0)); };
    each<V>(plan_.m, any_of(outside), [&](Index i) { check(e_[i]); });
    each<V>(plan_.n, any_of(outside), [&](Index j) { check(d_[j]); });
    return outside;
  }

  // The norm of row i, to which d_ rises in its columns.
  CVXL_HD V raise_by(const PatternView& pattern, const V* values, Index i) {
    const Index begin = pattern.indptr[i];
    return raise_columns(d_, pattern.indices.data() + begin, values + begin, pattern.indptr[i + 1] - begin);
  }

  // The norms of the columns of P, into d_.
  CVXL_HD void measure_P(const ProgramPack<V>& pack) {
    each<V>(plan_.n, [&](Index j) { d_[j] = V{}; });
    if constexpr (Team<V>::alone) {
      for (Index i = 0; i < plan_.n; ++i) {
        const V norm = raise_by(plan_.P, pack.P, i);
        d_[i] = max(d_[i], norm);
      }
    } else {
      each_entry_of_P<V>(plan_, [&](Index j, Index, Index k) { d_[j] = max(d_[j], abs(pack.P[k])); });
    }
  }

  CVXL_HD void apply(ProgramPack<V>& pack, M lanes) {
    const auto factor = [&](V norm, V& total) {
      const V one = splat<V>(1.0);
      V f = select((norm > 0.0) & lanes, 1.0 / sqrt(max(norm, splat<V>(1e-300))), one);
      const V next = min(max(total * f, splat<V>(1.0 / limit)), splat<V>(limit));
      f = next / total;
      total = next;
      return f;
    };
    each<V>(plan_.n, [&](Index j) { d_[j] = factor(d_[j], D[j]); });
    each<V>(plan_.m, [&](Index i) { e_[i] = factor(e_[i], E[i]); });
    const auto scale = [&](const PatternView& pattern, V* values, Index i, V f) {
      const Index begin = pattern.indptr[i];
      scale_row(values + begin, f, d_, pattern.indices.data() + begin, pattern.indptr[i + 1] - begin);
    };
    each<V>(plan_.n, [&](Index i) { scale(plan_.P, pack.P, i, d_[i]); });
    each<V>(plan_.m, [&](Index i) { scale(plan_.A, pack.A, i, e_[i]); });
  }

  // c = 1 / (mean over columns of the largest entry of P).
  CVXL_HD void scale_cost(ProgramPack<V>& pack, M lanes) {
    measure_P(pack);
    V mean = V{};
    each<V>(plan_.n, sums(mean), [&](Index j) { mean += d_[j]; });
    const V factor = select(lanes, cost_factor(mean / static_cast<double>(plan_.n)), splat<V>(1.0));
    c *= factor;
    each<V>(plan_.P.nnz(), [&](Index k) { pack.P[k] *= factor; });
  }

  const PlanView& plan_;
  const double spread_;
  V *d_, *e_;
};

}  // namespace cvxl::CVXL_ISA
