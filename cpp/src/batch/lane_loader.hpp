#pragma once
// Supplies the loop with instances and takes their results: M is applied while a lane is loaded, R while it is stored.

#include <cmath>
#include <limits>
#include <optional>

#include "batch/instance.hpp"
#include "cvxl/status.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class State>
class LaneLoader {
 public:
  static constexpr int W = lanes_of<V>;
  using Own = std::conditional_t<W == 1, V, Number>;
  static constexpr bool equilibrates = true;
  static constexpr std::int64_t few = 32;  // instances up to twice as many are taken one by one

  LaneLoader(const SolveJob& job, State& state, Arena& arena, bool caller)
      : job_(job), plan_(job.compiled.view), state_(state), scratch_(job.compiled, arena), own_(plan_, arena), caller_(caller) {}

  // P and A of a batch that shares them, in every lane.
  void broadcast_matrices() {
    CVXL_ISA::broadcast_matrices(state_.program, job_.base);
    state_.scaling.scale_matrices(state_.program, ~MaskOf<V>{}, job_.settings.equilibrate);
  }

  bool load(int lane) {
    while (true) {
      if (next_ == end_ && !take()) return false;
      const std::int64_t instance = instance_[lane] = job_.instance(next_++);
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
    const auto cost = state_.scaling.c[lane];
    const auto product = [&](const V* a, const V* b, Index k) { return lane_of(a, k, lane) * lane_of(b, k, lane); };
    for (Index j = 0; j < n; ++j) scratch_.xz[plan_.variable_of[j]] = static_cast<double>(product(state_.x, state_.scaling.D, j));
    for (Index r = 0; r < m; ++r) scratch_.xz[n + r] = static_cast<double>(product(state_.z, state_.scaling.E, r) / cost);
    for (Index r = 0; r < m; ++r)
      scratch_.s[r] = r < plan_.zero ? 0.0 : static_cast<double>(product(state_.s, state_.scaling.E_inverse, r));
    if (job_.request.infinite)
      for (Index r = plan_.zero; r < plan_.orthant_end; ++r)
        if (is_off(r, lane)) {
          scratch_.xz[n + r] = 0.0;
          scratch_.s[r] = std::numeric_limits<double>::infinity();
        }
    if (!out.tape.empty()) record(i, status);
    if (!out.margin.empty()) out.margin[i] = margin(plan_, scratch_.s, scratch_.xz + n, scratch_.of_margin);
    const SparseMap& R = job_.compiled.problem.R;
    const Index outputs = R.pattern.rows();
    for (Index o = 0; o < outputs; ++o) out.outputs[i * outputs + o] = dot(R, o, scratch_.xz);
    job_.locator.locate(i, scratch_.parameters);
    const double constant = job_.compiled.values(structure.d_offset(), scratch_.parameters);
    const auto& outcome = state_.outcome;
    const auto number = [&](const V& v) { return static_cast<double>(v[lane]); };
    write_outcome(i, status, static_cast<Index>(number(outcome.iterations)),
                  {number(outcome.primal_residual), number(outcome.dual_residual), number(outcome.gap),
                   job_.compiled.problem.objective_sign * (number(outcome.objective) + constant)});
  }

  bool stopped() { return job_.progress.stopped(caller_, last_poll_); }

 private:
  // Takes the next instances from the job, of a large batch some at a time: results of neighbours share cache lines, which two
  // threads would pass back and forth. False if none are left.
  bool take() {
    const std::int64_t size = job_.size(), count = std::clamp<std::int64_t>(size / few, 1, W);
    next_ = std::min(job_.progress.next.fetch_add(count, std::memory_order_relaxed), size);
    end_ = std::min(next_ + count, size);
    return next_ < end_;
  }

  double value(Index v) const { return job_.locator.shared(v) ? job_.base[v] : job_.compiled.values(v, scratch_.parameters); }

  std::uint8_t& is_off(Index r, int lane) { return scratch_.off[r * W + lane]; }

  // Returns the outcome if the numbers tell it: one is NaN, or infinite where it may not be, or no point is feasible.
  std::optional<Status> fill(int lane, std::int64_t instance) {
    const Structure& structure = job_.compiled.problem.structure;
    job_.locator.locate(instance, scratch_.parameters);
    bool bad = false;
    const auto checked = [&](Index v) {
      const double number = value(v);
      bad |= !(std::abs(number) <= std::numeric_limits<double>::max());
      return number;
    };
    if (!job_.shared_matrices) {
      const auto load = [&](auto* to, const MatrixTerms& terms, std::span<const Index> source) {
        bad |= !load_terms(to, 0, terms, scratch_.parameters, [&](Index k) { return source[k] < 0 ? 0.0 : checked(source[k]); });
      };
      load(own_.program.P, job_.compiled.P_terms, plan_.P_source);
      load(own_.program.A, job_.compiled.A_terms, plan_.A_source);
    }
    load_q(state_.program, structure, lane, checked);
    bool infeasible = false;
    for (Index r = 0; r < plan_.m; ++r) {
      if (job_.request.infinite && r >= plan_.zero && r < plan_.orthant_end) {
        const double bound = value(structure.b_offset() + r);
        is_off(r, lane) = std::isinf(bound);
        if (std::isinf(bound)) {
          infeasible |= bound < 0.0;
          switch_off(plan_, own_.program.A, r, 0);
          lane_of(state_.program.b, r, lane) = 1.0;
          continue;
        }
      }
      lane_of(state_.program.b, r, lane) = checked(structure.b_offset() + r);
    }
    checked(structure.d_offset());
    if (bad) return Status::invalid_input;
    if (infeasible) return Status::primal_infeasible;
    if (!job_.shared_matrices) put_matrices(lane);
    return std::nullopt;
  }

  // Scales P and A, and puts them into the lane.
  void put_matrices(int lane) {
    own_.scaling.scale_matrices(own_.program, ~MaskOf<Own>{}, job_.settings.equilibrate);
    const auto put = [&](V* to, const Own* from, Index count) {
      for (Index k = 0; k < count; ++k) lane_of(to, k, lane) = from[k][0];
    };
    put(state_.program.P, own_.program.P, plan_.P.nnz());
    put(state_.program.A, own_.program.A, plan_.A.nnz());
    Equilibration<V>& to = state_.scaling;
    put(to.D, own_.scaling.D, plan_.n);
    put(to.E, own_.scaling.E, plan_.m);
    put(to.D_inverse, own_.scaling.D_inverse, plan_.n);
    put(to.E_inverse, own_.scaling.E_inverse, plan_.m);
    to.c[lane] = own_.scaling.c[0];
  }

  // The point to start from, if there is one, for loops that can use it.
  void offer_point(int lane, std::int64_t i) {
    if constexpr (State::takes_points) {
      const SolveRequest& from = job_.request;
      if (from.start.empty()) return;
      const TapeRow at(from.start, plan_, i);
      if (at.missing()) return;
      load_point(plan_, at, lane, state_.saved_x, state_.saved_z, state_.saved_s);
      for (Index r = 0; r < plan_.m; ++r) {
        const bool now = from.infinite && r >= plan_.zero && r < plan_.orthant_end && is_off(r, lane);
        if (!now && !std::isinf(at.s[r])) continue;
        lane_of(state_.saved_z, r, lane) = 0.0;  // a row that is off, or was, is not active
        lane_of(state_.saved_s, r, lane) = 1.0;
      }
      state_.given[lane] = -1;
    }
  }

  // The point in the scratch, if the instance has a solution.
  void record(std::int64_t i, Status status) {
    const TapeRow to(job_.request.tape, plan_, i);
    if (status > Status::almost_solved) {
      std::fill(to.x, to.s + plan_.m, std::numeric_limits<double>::quiet_NaN());
      return;
    }
    std::copy(scratch_.xz, scratch_.xz + plan_.n + plan_.m, to.x);
    std::copy(scratch_.s, scratch_.s + plan_.m, to.s);
  }

  void reject(int lane, Status status) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const SolveRequest& out = job_.request;
    const std::int64_t i = instance_[lane];
    const Index outputs = job_.compiled.problem.R.pattern.rows();
    std::fill_n(out.outputs.data() + i * outputs, outputs, nan);
    if (!out.tape.empty()) record(i, status);
    if (!out.margin.empty()) out.margin[i] = nan;
    write_outcome(i, status, 0, {nan, nan, nan, nan});
  }

  void write_outcome(std::int64_t i, Status status, Index iterations, const double (&residuals)[4]) {
    job_.request.status[i] = static_cast<std::int8_t>(status);
    job_.request.iterations[i] = iterations;
    if (!job_.request.residuals.empty()) std::copy(residuals, residuals + 4, job_.request.residuals.data() + 4 * i);
  }

  const SolveJob& job_;
  const PlanView& plan_;
  State& state_;
  InstanceScratch scratch_;
  OneProgram<Own> own_;  // of the instance that is being loaded
  bool caller_;
  std::int64_t instance_[W]{};
  std::int64_t next_ = 0, end_ = 0;       // of the instances that were taken, those to be loaded
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
};

}  // namespace cvxl::CVXL_ISA
