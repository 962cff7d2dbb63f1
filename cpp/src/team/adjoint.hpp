#pragma once
// Derivatives of a batch by teams, as batch/batch_adjoint.hpp has them of lanes. An instance whose system is in doubt is marked as
// degenerate, and its derivative is zero: to eliminate it is the host's work.

#include "adjoint/adjoint.hpp"
#include "team/instance.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class TeamAdjoint {
 public:
  using M = MaskOf<V>;

  CVXL_HD TeamAdjoint(const AdjointView& job, Arena& arena)
      : job_(job),
        problem_(job.problem),
        plan_(job.problem.plan),
        adjoint_(job.problem.plan, arena),
        values_(job.problem, arena),
        tangents_(job.problem, arena),
        xz_(arena.take<V>(static_cast<std::size_t>(plan_.n + plan_.m))),
        z_(arena.take<V>(static_cast<std::size_t>(plan_.m))),
        on_(arena.take<M>(static_cast<std::size_t>(plan_.m))) {}

  // Factors at the solution of the instance.
  CVXL_SEAM void linearize(std::int64_t instance) {
    instance_ = instance;
    const TapePoint<const double> at(job_.tape, plan_, instance);
    valid_ = M::of(!at.missing());
    values_.locate(job_.parameters, instance);
    load_matrices(adjoint_.program, values_);
    share<V>(plan_.n, [&](Index j) { adjoint_.x[j][0] = at.x[plan_.variable_of[j]]; });
    wait<V>();
    each<V>(plan_.m, [&](Index r) {  // a row of which s is infinite is switched off
      const bool off = at.s[r] - at.s[r] != 0.0 && at.s[r] == at.s[r];
      on_[r] = M::of(!off);
      adjoint_.z[r][0] = at.z[r];
      adjoint_.s[r][0] = off ? 1.0 : at.s[r];
      z_[r][0] = off ? 0.0 : at.z[r];
      if (off)
        for (Index k = plan_.A.indptr[r]; k < plan_.A.indptr[r + 1]; ++k) adjoint_.program.A[k][0] = 0.0;
    });
    adjoint_.linearize(valid_, false, [&] { load_vectors(); });
  }

  // `partial` receives what is summed over the batch.
  CVXL_SEAM void vjp(std::int64_t direction, double* partial) {
    const double* cotangent = job_.cotangent.data() + row(direction) * problem_.outputs();
    const auto pull = [&](Index entry) {
      double sum = 0.0;
      for (Index t = problem_.R_column_begin[entry]; t < problem_.R_column_begin[entry + 1]; ++t)
        sum += problem_.R_column_coefficient[t] * cotangent[problem_.R_row[t]];
      return sum;
    };
    share<V>(plan_.n, [&](Index j) { adjoint_.r1[j][0] = pull(plan_.variable_of[j]); });
    share<V>(plan_.m, [&](Index r) { adjoint_.r2[r] = select(on_[r], splat<V>(pull(plan_.n + r)), V{}); });
    wait<V>();
    adjoint_.solve();
    for (Index p = 0; p < problem_.parameters(); ++p) {
      if (!job_.gradients[p]) continue;
      const Index begin = problem_.parameter_begin[p], size = problem_.parameter_begin[p + 1] - begin;
      const bool is_sum = job_.summed[p];
      double* to = is_sum ? partial : job_.gradients[p] + row(direction) * size;
      share<V>(size, [&](Index e) {
        const double g = is_determined() ? gradient(begin + e) : 0.0;
        to[e] = is_sum ? to[e] + g : g;
      });
      if (is_sum) partial += size;
    }
    wait<V>();
  }

  CVXL_SEAM void jvp(std::int64_t direction) {
    tangents_.locate(job_.tangents, row(direction));
    share<V>(plan_.n, [&](Index j) { adjoint_.r1[j][0] = -tangents_(problem_.q_offset + plan_.variable_of[j]) - column(j); });
    share<V>(plan_.m, [&](Index i) {
      double sum = tangents_(problem_.b_offset + i);
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        if (plan_.A_source[k] >= 0) sum -= tangents_(plan_.A_source[k]) * adjoint_.x[plan_.A.indices[k]][0];
      adjoint_.r2[i] = select(on_[i], splat<V>(sum), V{});
    });
    wait<V>();
    adjoint_.solve();
    share<V>(plan_.n, [&](Index j) { xz_[plan_.variable_of[j]] = adjoint_.a[j]; });
    share<V>(plan_.m, [&](Index r) { xz_[plan_.n + r] = adjoint_.y[r]; });
    wait<V>();
    double* out = job_.tangent_outputs.data() + row(direction) * problem_.outputs();
    each<V>(problem_.outputs(), [&](Index o) { out[o] = is_determined() ? output(problem_, o, xz_) : 0.0; });
  }

  // Of all directions.
  CVXL_HD void write_flag() {
    if (Team<V>::rank() == 0) job_.degenerate[instance_] = any(valid_ & adjoint_.degenerate);
  }

 private:
  // Whether the instance has a derivative that a team can tell.
  CVXL_HD bool is_determined() const { return any(valid_ & ~adjoint_.degenerate); }

  // Of an array over directions and instances.
  CVXL_HD std::int64_t row(std::int64_t direction) const { return direction * job_.size + instance_; }

  CVXL_SEAM void load_vectors() {
    share<V>(plan_.n, [&](Index j) { adjoint_.program.q[j][0] = values_(problem_.q_offset + plan_.variable_of[j]); });
    share<V>(plan_.m, [&](Index r) { adjoint_.program.b[r][0] = any(on_[r]) ? values_(problem_.b_offset + r) : 1.0; });
    wait<V>();
  }

  // Entry j of Ṗ x + Ȧ'z.
  CVXL_HD double column(Index j) const {
    double sum = 0.0;
    for (Index k = plan_.P.indptr[j]; k < plan_.P.indptr[j + 1]; ++k)
      sum += tangents_(plan_.P_source[k]) * adjoint_.x[plan_.P.indices[k]][0];
    for (Index t = plan_.P_columns.begin[j]; t < plan_.P_columns.begin[j + 1]; ++t)
      sum += tangents_(plan_.P_source[plan_.P_columns.entry[t]]) * adjoint_.x[plan_.P_columns.row[t]][0];
    for (Index t = plan_.A_columns.begin[j]; t < plan_.A_columns.begin[j + 1]; ++t)
      if (const Index source = plan_.A_source[plan_.A_columns.entry[t]]; source >= 0)
        sum += tangents_(source) * z_[plan_.A_columns.row[t]][0];
    return sum;
  }

  // Of one entry of a parameter, by its column of M.
  CVXL_HD double gradient(Index entry) const {
    double sum = 0.0;
    for (Index t = problem_.M_column_begin[entry]; t < problem_.M_column_begin[entry + 1]; ++t)
      sum += problem_.M_column_coefficient[t] * cotangent(problem_.place[problem_.M_row[t]]);
    return sum;
  }

  // Of an entry of the value vector (adjoint.hpp).
  CVXL_HD double cotangent(const Place& at) const {
    const V *a = adjoint_.a, *y = adjoint_.y, *x = adjoint_.x;
    const Index i = at.row, j = at.column;
    switch (at.kind) {
      case Place::q: return -a[i][0];
      case Place::b: return y[i][0];
      case Place::P: return i == j ? -a[i][0] * x[i][0] : -(a[i][0] * x[j][0] + a[j][0] * x[i][0]);
      case Place::A: return -(z_[i][0] * a[j][0] + y[i][0] * x[j][0]);
      default: return 0.0;
    }
  }

  const AdjointView& job_;
  const ProblemView& problem_;
  const PlanView& plan_;
  Adjoint<V> adjoint_;
  Values<V> values_, tangents_;
  V *xz_, *z_;
  M* on_;  // per row: whether it is not switched off
  std::int64_t instance_ = 0;
  M valid_{};
};

// What a team does for a call: takes block by block, and visits their instances one by one.
template <class V, class Visit>
CVXL_HD void team_differentiate(const AdjointView& job, Arena arena, Visit&& visit) {
  TeamAdjoint<V> adjoint(job, arena);
  while (true) {
    const std::int64_t index = Team<V>::ticket(*job.next), first = index * job.block;
    if (first >= job.size) return;
    const std::int64_t end = std::min<std::int64_t>(job.size, first + job.block);
    for (std::int64_t i = first; i < end; ++i) {
      adjoint.linearize(i);
      for (std::int64_t k = 0; k < job.directions; ++k)
        visit(adjoint, k, job.partial.data() + (index * job.directions + k) * job.summed_entries);
      adjoint.write_flag();
    }
  }
}

template <class V>
CVXL_HD void team_vjp(const AdjointView& job, Arena arena) {
  team_differentiate<V>(job, arena, [](TeamAdjoint<V>& adjoint, std::int64_t k, double* partial) { adjoint.vjp(k, partial); });
}

template <class V>
CVXL_HD void team_jvp(const AdjointView& job, Arena arena) {
  team_differentiate<V>(job, arena, [](TeamAdjoint<V>& adjoint, std::int64_t k, double*) { adjoint.jvp(k); });
}

}  // namespace cvxl::CVXL_ISA
