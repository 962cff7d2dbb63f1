#pragma once
// Supplies the loop with instances and takes their results: M is applied while a lane is loaded, R while it is stored.

#include <cmath>
#include <limits>
#include <optional>

#include "batch/stage.hpp"
#include "cvxl/status.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class State>
class Feed {
 public:
  static constexpr int W = lanes_of<V>;

  Feed(const SolveJob& job, State& state, Arena& arena, bool caller)
      : job_(job), plan_(job.compiled.plan), state_(state), stage_(job.compiled, arena), caller_(caller) {}

  // P and A of a batch that shares them, in every lane.
  void broadcast_matrices() {
    for (Index k = 0; k < plan_.P.nnz(); ++k) state_.program.P[k] = splat<V>(job_.base[plan_.P_source[k]]);
    for (Index k = 0; k < plan_.A.nnz(); ++k) state_.program.A[k] = splat<V>(plan_.A_source[k] < 0 ? 0.0 : job_.base[plan_.A_source[k]]);
    state_.scaling.scale_matrices(state_.program, ~Mask<W>{}, job_.settings.equilibrate);
  }

  bool load(int lane) {
    while (true) {
      const std::int64_t next = job_.progress.next.fetch_add(1, std::memory_order_relaxed);
      if (next >= job_.size()) return false;
      const std::int64_t instance = instance_[lane] = job_.instance(next);
      const bool invalid = !job_.request.invalid.empty() && job_.request.invalid[instance];
      const std::optional<Status> known = invalid ? Status::invalid_input : fill(lane, instance);
      if (!known) {
        offer_point(lane, instance);
        return true;
      }
      reject(lane, *known);
    }
  }

  void store(int lane, Status status) {
    const Structure& structure = job_.compiled.problem.structure;
    const SolveRequest& out = job_.request;
    const std::int64_t i = instance_[lane];
    if (job_.again && static_cast<std::int8_t>(status) >= out.status[i]) return;
    const Index n = plan_.n, m = plan_.m;
    const double cost = state_.scaling.c[lane];
    for (Index j = 0; j < n; ++j)
      stage_.xz[plan_.variable_of[j]] = lane_of(state_.x, j, lane) * lane_of(state_.scaling.D, j, lane);
    for (Index r = 0; r < m; ++r) stage_.xz[n + r] = lane_of(state_.z, r, lane) * lane_of(state_.scaling.E, r, lane) / cost;
    for (Index r = 0; r < m; ++r)
      stage_.s[r] = r < plan_.zero ? 0.0 : lane_of(state_.s, r, lane) * lane_of(state_.scaling.E_inverse, r, lane);
    if (job_.request.infinite)
      for (Index r = plan_.zero; r < plan_.orthant_end; ++r)
        if (is_off(r, lane)) {
          stage_.xz[n + r] = 0.0;
          stage_.s[r] = std::numeric_limits<double>::infinity();
        }
    if (!out.x.empty()) {
      std::copy(stage_.xz, stage_.xz + n, out.x.data() + i * n);
      std::copy(stage_.xz + n, stage_.xz + n + m, out.z.data() + i * m);
      std::copy(stage_.s, stage_.s + m, out.s.data() + i * m);
    }
    if (!out.margin.empty()) out.margin[i] = margin(plan_, stage_.s, stage_.xz + n, stage_.of_margin);
    const SparseMap& R = job_.compiled.problem.R;
    const Index outputs = R.pattern.rows();
    for (Index o = 0; o < outputs; ++o) out.outputs[i * outputs + o] = dot(R, o, stage_.xz);
    job_.locator.locate(i, stage_.pointers);
    const double constant = job_.compiled.values(structure.d_offset(), stage_.pointers);
    const auto& outcome = state_.outcome;
    write_outcome(i, status, static_cast<Index>(outcome.iterations[lane]),
                  {outcome.primal_residual[lane], outcome.dual_residual[lane], outcome.gap[lane],
                   job_.compiled.problem.objective_sign * (outcome.objective[lane] + constant)});
  }

  bool stopped() { return job_.progress.stopped(caller_, last_poll_); }

 private:
  double value(Index v) const { return v < 0 ? 0.0 : job_.locator.shared(v) ? job_.base[v] : job_.compiled.values(v, stage_.pointers); }

  std::uint8_t& is_off(Index r, int lane) { return stage_.off[r * W + lane]; }

  // Returns the outcome if the numbers tell it: one is NaN, or infinite where it may not be, or no point is feasible.
  std::optional<Status> fill(int lane, std::int64_t instance) {
    const Structure& structure = job_.compiled.problem.structure;
    job_.locator.locate(instance, stage_.pointers);
    double check = 0.0;
    const auto put = [&](V* to, Index k, Index v) {
      const double number = value(v);
      check += number - number;
      lane_of(to, k, lane) = number;
    };
    if (!job_.shared_matrices) {
      for (Index k = 0; k < plan_.P.nnz(); ++k) put(state_.program.P, k, plan_.P_source[k]);
      for (Index k = 0; k < plan_.A.nnz(); ++k) put(state_.program.A, k, plan_.A_source[k]);
    }
    for (Index j = 0; j < plan_.n; ++j) put(state_.program.q, j, structure.q_offset() + plan_.variable_of[j]);
    bool infeasible = false;
    for (Index r = 0; r < plan_.m; ++r) {
      if (job_.request.infinite && r >= plan_.zero && r < plan_.orthant_end) {
        const double bound = value(structure.b_offset() + r);
        is_off(r, lane) = std::isinf(bound);
        if (std::isinf(bound)) {
          infeasible |= bound < 0.0;
          switch_off(plan_, state_.program.A, state_.program.b, r, lane);
          continue;
        }
      }
      put(state_.program.b, r, structure.b_offset() + r);
    }
    const double constant = value(structure.d_offset());
    if (check + (constant - constant) != 0.0) return Status::invalid_input;
    return infeasible ? std::optional(Status::primal_infeasible) : std::nullopt;
  }

  // The point to start from, if there is one, for loops that can use it.
  void offer_point(int lane, std::int64_t i) {
    if constexpr (requires { state_.given; }) {
      const SolveRequest& from = job_.request;
      if (from.warm_x.empty() || std::isnan(from.warm_x[i * plan_.n])) return;
      for (Index j = 0; j < plan_.n; ++j) lane_of(state_.saved_x, j, lane) = from.warm_x[i * plan_.n + plan_.variable_of[j]];
      for (Index r = 0; r < plan_.m; ++r) {
        // A row that is off, or was, is not active.
        const bool off = std::isinf(from.warm_s[i * plan_.m + r]) || (job_.request.infinite && r >= plan_.zero && r < plan_.orthant_end && is_off(r, lane));
        lane_of(state_.saved_z, r, lane) = off ? 0.0 : from.warm_z[i * plan_.m + r];
        lane_of(state_.saved_s, r, lane) = off ? 1.0 : from.warm_s[i * plan_.m + r];
      }
      state_.given[lane] = -1;
    }
  }

  void reject(int lane, Status status) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const SolveRequest& out = job_.request;
    const std::int64_t i = instance_[lane];
    const auto blank = [&](std::span<double> span, Index width) {
      if (!span.empty()) std::fill_n(span.data() + i * width, width, nan);
    };
    blank(out.x, plan_.n);
    blank(out.z, plan_.m);
    blank(out.s, plan_.m);
    blank(out.outputs, job_.compiled.problem.R.pattern.rows());
    if (!out.margin.empty()) out.margin[i] = nan;
    write_outcome(i, status, 0, {nan, nan, nan, nan});
  }

  void write_outcome(std::int64_t i, Status status, Index iterations, const double (&residuals)[4]) {
    job_.request.status[i] = static_cast<std::int8_t>(status);
    job_.request.iterations[i] = iterations;
    if (!job_.request.residuals.empty()) std::copy(residuals, residuals + 4, job_.request.residuals.data() + 4 * i);
  }

  const SolveJob& job_;
  const Plan& plan_;
  State& state_;
  Stage stage_;
  bool caller_;
  std::int64_t instance_[W]{};
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
};

}  // namespace cvxl::CVXL_ISA
