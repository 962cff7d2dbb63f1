#pragma once
// Supplies a loop of a team with instances and takes their results, as batch/lane_loader.hpp does for lanes.

#include <limits>

#include "cvxl/status.hpp"
#include "team/instance.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class State>
class TeamLoader {
 public:
  using M = MaskOf<V>;

  CVXL_HD TeamLoader(const SolveView& job, State& state, Arena& arena)
      : job_(job),
        problem_(job.problem),
        plan_(job.problem.plan),
        state_(state),
        values_(job.problem, arena),
        xz_(arena.take<V>(static_cast<std::size_t>(plan_.n + plan_.m))),
        s_(arena.take<V>(static_cast<std::size_t>(plan_.m))),
        off_(arena.take<M>(static_cast<std::size_t>(plan_.m))) {}

  static constexpr bool equilibrates = false;

  // P and A that all instances share.
  CVXL_HD void load_shared_matrices() {
    values_.locate(job_.parameters, 0);
    load_matrices(state_.program, values_);
    wait<V>();
    state_.scaling.scale_matrices(state_.program, ~M{}, job_.settings.equilibrate);
  }

  CVXL_SEAM bool load(int) {
    while (true) {
      instance_ = Team<V>::ticket(*job_.next);
      if (instance_ >= job_.size) return false;
      if (job_.again && !is_left()) continue;
      Status known = Status::invalid_input;
      if ((job_.invalid.empty() || !job_.invalid[instance_]) && !is_known(known)) {
        if constexpr (State::takes_points) offer_point();
        return true;
      }
      reject(known);
    }
  }

  CVXL_SEAM void store(int, Status status) {
    if (job_.again && static_cast<std::int8_t>(status) >= job_.status[instance_]) return;
    to_user();
    if (!job_.tape.empty()) record(status);
    if (!job_.margin.empty()) write_margin();
    const bool hidden = job_.hidden && is_missing(status);
    share<V>(problem_.outputs(), [&](Index o) {
      job_.outputs[instance_ * problem_.outputs() + o] =
          hidden ? std::numeric_limits<double>::quiet_NaN() : output(problem_, o, xz_);
    });
    const auto& outcome = state_.outcome;
    write_outcome(status, static_cast<Index>(outcome.iterations[0]), outcome.primal_residual[0], outcome.dual_residual[0],
                  outcome.gap[0], problem_.objective_sign * (outcome.objective[0] + values_(problem_.d_offset)));
    wait<V>();
  }

  CVXL_HD bool stopped() const { return false; }

 private:
  // Whether the quadratic loop has left the instance.
  CVXL_HD bool is_left() const {
    const double* residuals = job_.residuals.empty() ? nullptr : job_.residuals.data() + 4 * instance_;
    return is_unresolved(static_cast<Status>(job_.status[instance_]), residuals, job_.settings.rounding, job_.settings.tolerance);
  }

  // Fills the program, and returns whether its numbers tell the outcome: one is NaN, or infinite where it may not be, or no point is
  // feasible.
  CVXL_SEAM bool is_known(Status& status) {
    values_.locate(job_.parameters, instance_);
    bool bad = false, infeasible = false;
    const auto checked = [&](Index v) {
      const double number = values_(v);
      bad |= !(number - number == 0.0);
      return number;
    };
    if (!job_.shared_matrices) load_matrices(state_.program, checked);
    share<V>(plan_.n, [&](Index j) { state_.program.q[j][0] = checked(problem_.q_offset + plan_.variable_of[j]); });
    wait<V>();
    each<V>(plan_.m, any_of(bad, infeasible), [&](Index r) {
      const double bound = values_(problem_.b_offset + r);
      const bool off = job_.infinite && r >= plan_.zero && r < plan_.orthant_end && bound - bound != 0.0 && bound == bound;
      off_[r] = M::of(off);
      infeasible |= off && bound < 0.0;
      state_.program.b[r][0] = off ? 1.0 : checked(problem_.b_offset + r);
      if (off)
        for (Index k = plan_.A.indptr[r]; k < plan_.A.indptr[r + 1]; ++k) state_.program.A[k][0] = 0.0;
    });
    checked(problem_.d_offset);
    status = bad ? Status::invalid_input : Status::primal_infeasible;
    return bad || infeasible;
  }

  // The point to start from, if there is one.
  CVXL_SEAM void offer_point() {
    if (job_.start.empty()) return;
    const TapePoint<const double> at(job_.start, plan_, instance_);
    if (at.missing()) return;
    share<V>(plan_.n, [&](Index j) { state_.saved_x[j][0] = at.x[plan_.variable_of[j]]; });
    share<V>(plan_.m, [&](Index r) {  // a row that is off, or was, is not active
      const bool off = any(off_[r]) || at.s[r] - at.s[r] != 0.0;
      state_.saved_z[r][0] = off ? 0.0 : at.z[r];
      state_.saved_s[r][0] = off ? 1.0 : at.s[r];
    });
    wait<V>();
    state_.given = ~M{};
  }

  // (x, z) and s in the user's order and units.
  CVXL_SEAM void to_user() {
    const V cost = state_.scaling.c;
    share<V>(plan_.n, [&](Index j) { xz_[plan_.variable_of[j]] = state_.x[j] * state_.scaling.D[j]; });
    share<V>(plan_.m, [&](Index r) {
      const V infinity = splat<V>(__builtin_inf());
      xz_[plan_.n + r] = select(off_[r], V{}, state_.z[r] * state_.scaling.E[r] / cost);
      s_[r] = r < plan_.zero ? V{} : select(off_[r], infinity, state_.s[r] * state_.scaling.E_inverse[r]);
    });
    wait<V>();
  }

  static CVXL_HD bool is_missing(Status status) { return status > Status::almost_solved; }

  CVXL_SEAM void record(Status status) {
    const TapePoint<double> to(job_.tape, plan_, instance_);
    const bool missing = is_missing(status);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    share<V>(plan_.n + plan_.m, [&](Index k) { to.x[k] = missing ? nan : static_cast<double>(xz_[k][0]); });
    share<V>(plan_.m, [&](Index r) { to.s[r] = missing ? nan : static_cast<double>(s_[r][0]); });
  }

  CVXL_HD void write_margin() {
    V least = splat<V>(__builtin_inf());
    each_in<V>(plan_.zero, plan_.m, minima(least), [&](Index r) { least = min(least, abs(s_[r] - xz_[plan_.n + r])); });
    if (Team<V>::rank() == 0) job_.margin[instance_] = least[0];
  }

  CVXL_HD void reject(Status status) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    share<V>(problem_.outputs(), [&](Index o) { job_.outputs[instance_ * problem_.outputs() + o] = nan; });
    if (!job_.tape.empty()) record(status);
    if (!job_.margin.empty() && Team<V>::rank() == 0) job_.margin[instance_] = nan;
    write_outcome(status, 0, nan, nan, nan, nan);
    wait<V>();
  }

  CVXL_HD void write_outcome(Status status, Index iterations, double primal, double dual, double gap, double objective) {
    if (Team<V>::rank() != 0) return;
    job_.status[instance_] = static_cast<std::int8_t>(status);
    if (!job_.again && is_unresolved(status)) Team<V>::raise(*job_.open);
    job_.iterations[instance_] = iterations;
    if (job_.residuals.empty()) return;
    double* to = job_.residuals.data() + 4 * instance_;
    to[0] = primal;
    to[1] = dual;
    to[2] = gap;
    to[3] = objective;
  }

  const SolveView& job_;
  const ProblemView& problem_;
  const PlanView& plan_;
  State& state_;
  Values<V> values_;
  V *xz_, *s_;
  M* off_;  // per row: whether it is switched off
  std::int64_t instance_ = 0;
};

}  // namespace cvxl::CVXL_ISA
