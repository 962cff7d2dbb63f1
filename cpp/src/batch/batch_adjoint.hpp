#pragma once
// Derivatives of a batch, W consecutive instances at a time: cotangents of outputs become gradients of parameters, tangents of
// parameters tangents of outputs.

#include <tuple>

#include "adjoint/adjoint.hpp"
#include "batch/choices.hpp"
#include "batch/instance.hpp"
#include "cvxl/status.hpp"

namespace cvxl::CVXL_ISA {

// A pair of vectors of the size of (x, z).
template <class V>
struct Pair {
  V *x, *z;

  Pair(const PlanView& plan, Arena& arena) : x(arena.take<V>(plan.n)), z(arena.take<V>(plan.m)) {}
};

template <class V>
struct AdjointMemory {
  Adjoint<V> adjoint;
  InstanceScratch scratch;
  Pair<V> tangent, pulled;  // of a second derivative: (ẋ, ż) and (a, y)
  V *kept_tangent, *kept_pulled;
  V* z;                     // the multipliers of the tape, 0 on rows that are switched off
  MaskOf<V>* on;    // per row: whether it is not

  AdjointMemory(const Compiled& compiled, Arena& arena)
      : adjoint(compiled.view, arena), scratch(compiled, arena), tangent(compiled.view, arena), pulled(compiled.view, arena) {
    for (V** v : {&kept_tangent, &kept_pulled, &z}) *v = arena.take<V>(compiled.view.m);
    on = arena.take<MaskOf<V>>(compiled.view.m);
  }
};

template <class V>
class BatchAdjoint {
 public:
  static constexpr int W = lanes_of<V>;
  using M = MaskOf<V>;

  BatchAdjoint(const AdjointJob& job, Arena& arena)
      : job_(job), structure_(job.compiled.problem.structure), plan_(job.compiled.view), memory_(job.compiled, arena) {}

  // Loads instances first … first + count - 1 (padding lanes repeat the last) and factors at their solutions.
  void linearize(std::int64_t first, int count) {
    const bool smoothed = job_.compiled.problem.smoothed;
    first_ = first;
    count_ = count;
    valid_ = M{};
    broadcast_matrices(adjoint_.program, job_.base);
    for (int lane = 0; lane < W; ++lane) {
      const std::int64_t i = instance(lane);
      const TapeRow at(job_.tape, plan_, i);
      valid_[lane] = at.missing() ? 0 : -1;
      job_.locator.locate(i, scratch_.parameters);
      load_varying(adjoint_.program, job_, lane, [&](Index v) { return job_.compiled.values(v, scratch_.parameters); });
      load_point(plan_, at, lane, adjoint_.x, adjoint_.z, adjoint_.s);
    }
    for (Index r = 0; r < plan_.m; ++r) leave_out(r, abs(adjoint_.s[r]) == __builtin_inf());
    adjoint_.linearize(valid_, smoothed, [&] { load_vectors(); });
    choices_.notice([&](int lane) { return instance(lane); });
  }

  // `partial` receives the sums over the batch.
  void vjp(std::int64_t direction, double* partial) {
    pull_outputs(direction);
    adjoint_.solve();
    choices_.flag();
    write_gradients(direction, partial, [&](const Place& where) { return data_.cotangent(where); });
  }

  void jvp(std::int64_t direction) {
    push_data(direction, adjoint_.x, z_, true);
    adjoint_.solve();
    const SparseMap& R = job_.compiled.problem.R;
    const Index outputs = R.pattern.rows();
    for (int lane = 0; lane < count_; ++lane) {
      for (Index j = 0; j < plan_.n; ++j) scratch_.xz[plan_.variable_of[j]] = lane_of(adjoint_.a, j, lane);
      for (Index r = 0; r < plan_.m; ++r) scratch_.xz[plan_.n + r] = lane_of(adjoint_.y, r, lane);
      double* out = job_.tangent_outputs.data() + row(direction, lane) * outputs;
      for (Index o = 0; o < outputs; ++o) out[o] = valid_[lane] ? dot(R, o, scratch_.xz) : 0.0;
    }
  }

  // With (ẋ, ż) the tangent of the solution and K (a, y) = (x̄, z̄), K = [P, A'; A, -H], the tangent of (a, y) solves
  //
  //     K (ȧ, ẏ) = -(Ṗ a + Ȧ'y,  Ȧ a - Ḣ y)
  //
  // (Ḣ where the cone curves: Adjoint::add_curvature), and the cotangents of the data follow by the product rule.
  void hvp(std::int64_t direction, double* partial) {
    const auto &tangent = memory_.tangent, &pulled = memory_.pulled;
    push_data(direction, adjoint_.x, z_, true);
    adjoint_.solve(memory_.kept_tangent);
    copy_solution(tangent);
    pull_outputs(direction);
    adjoint_.solve(memory_.kept_pulled);
    choices_.flag();
    copy_solution(pulled);
    push_data(direction, pulled.x, pulled.z, false);
    adjoint_.add_curvature(memory_.kept_tangent, memory_.kept_pulled);
    adjoint_.solve();
    adjoint_.drop_curvature();
    write_gradients(direction, partial, [&](const Place& where) {
      return data_.cotangent(where) + bilinear(where, pulled.x, pulled.z, tangent.x, tangent.z);
    });
  }

  // Of all directions.
  void write_flags() {
    for (int lane = 0; lane < count_; ++lane) job_.degenerate[instance(lane)] = valid_[lane] && adjoint_.degenerate[lane];
  }

 private:
  // Row r counts but in the lanes where it is switched off.
  void leave_out(Index r, M off) {
    on_[r] = ~off;
    z_[r] = select(off, V{}, adjoint_.z[r]);
    if (!any(off)) return;
    for (int lane = 0; lane < W; ++lane)
      if (off[lane]) switch_off(plan_, adjoint_.program.A, adjoint_.program.b, r, lane);
    adjoint_.s[r] = select(off, splat<V>(1.0), adjoint_.s[r]);
  }

  // q and b, which only points near a kink and on the central path are compared with.
  void load_vectors() {
    for (int lane = 0; lane < W; ++lane) {
      job_.locator.locate(instance(lane), scratch_.parameters);
      const auto value = [&](Index v) { return job_.compiled.values(v, scratch_.parameters); };
      load_q(adjoint_.program, structure_, lane, value);
      for (Index r = 0; r < plan_.m; ++r)
        lane_of(adjoint_.program.b, r, lane) = on_[r][lane] ? value(structure_.b_offset() + r) : 1.0;
    }
  }

  std::int64_t instance(int lane) const { return first_ + std::min(lane, count_ - 1); }
  // Of an array over directions and instances.
  std::int64_t row(std::int64_t direction, int lane) const { return direction * job_.locator.size() + instance(lane); }

  // (r1, r2) = the cotangents of (x, z).
  void pull_outputs(std::int64_t direction) {
    const Transpose& Rt = job_.compiled.R_transpose;
    const Index outputs = job_.compiled.problem.R.pattern.rows();
    const auto pull = [&](Index entry) {
      V sum = V{};
      for (Index t = Rt.begin[entry]; t < Rt.begin[entry + 1]; ++t) {
        V cotangent;
        for (int lane = 0; lane < W; ++lane) cotangent[lane] = job_.cotangent[row(direction, lane) * outputs + Rt.row[t]];
        sum += Rt.coefficient[t] * cotangent;
      }
      return sum;
    };
    for (Index j = 0; j < plan_.n; ++j) adjoint_.r1[j] = pull(plan_.variable_of[j]);
    for (Index r = 0; r < plan_.m; ++r) adjoint_.r2[r] = select(on_[r], pull(plan_.n + r), V{});
  }

  void copy_solution(const Pair<V>& to) {
    std::copy(adjoint_.a, adjoint_.a + plan_.n, to.x);
    std::copy(adjoint_.y, adjoint_.y + plan_.m, to.z);
  }

  template <class Cotangent>
  void write_gradients(std::int64_t direction, double* partial, Cotangent&& cotangent) {
    for (std::size_t p = 0; p < job_.gradients.size(); ++p)
      if (!job_.gradients[p].empty()) gradient(direction, p, job_.summed[p] ? &partial : nullptr, cotangent);
  }

  // Writes the gradient of parameter p, one row an instance, or adds the sum of the rows to *partial and moves it on.
  template <class Cotangent>
  void gradient(std::int64_t direction, std::size_t p, double** partial, Cotangent& cotangent) {
    const Transpose& Mt = job_.compiled.M_transpose;
    const Index begin = job_.compiled.parameter_begin[p], size = job_.compiled.parameter_begin[p + 1] - begin;
    for (Index e = 0; e < size; ++e) {
      V sum = V{};
      for (Index t = Mt.begin[begin + e]; t < Mt.begin[begin + e + 1]; ++t)
        sum += Mt.coefficient[t] * cotangent(job_.compiled.place[Mt.row[t]]);
      sum = select(valid_, sum, V{});
      if (partial)
        for (int lane = 0; lane < count_; ++lane) (*partial)[e] += sum[lane];
      else
        for (int lane = 0; lane < count_; ++lane) job_.gradients[p][row(direction, lane) * size + e] = sum[lane];
    }
    if (partial) *partial += size;
  }

  // r1 = -(Ṗ x + q̇ + Ȧ'z), r2 = ḃ - Ȧ x; q̇ and ḃ only where wanted.
  void push_data(std::int64_t direction, const V* x, const V* z, bool vectors) {
    for (Index j = 0; j < plan_.n; ++j) adjoint_.r1[j] = V{};
    for (int lane = 0; lane < W; ++lane) {
      job_.tangents->locate(row(direction, lane), scratch_.parameters);
      push_lane(lane, x, z, vectors);
    }
    for (Index r = 0; r < plan_.m; ++r) adjoint_.r2[r] = select(on_[r], adjoint_.r2[r], V{});
  }

  void push_lane(int lane, const V* x, const V* z, bool vectors) {
    const auto tangent = [&](Index v) { return job_.compiled.values(v, scratch_.parameters); };
    const auto r1 = [&](Index j) -> double& { return lane_of(adjoint_.r1, j, lane); };
    for (Index i = 0; i < plan_.n; ++i) {
      if (vectors) r1(i) -= tangent(structure_.q_offset() + plan_.variable_of[i]);
      for (Index k = plan_.P.indptr[i]; k < plan_.P.indptr[i + 1]; ++k) {
        const Index j = plan_.P.indices[k];
        const double d = tangent(plan_.P_source[k]);
        r1(i) -= d * lane_of(x, j, lane);
        if (i != j) r1(j) -= d * lane_of(x, i, lane);
      }
    }
    for (Index i = 0; i < plan_.m; ++i) {
      double r2 = vectors ? tangent(structure_.b_offset() + i) : 0.0;
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) {
        const Index j = plan_.A.indices[k];
        if (plan_.A_source[k] < 0) continue;
        const double d = tangent(plan_.A_source[k]);
        r2 -= d * lane_of(x, j, lane);
        r1(j) -= d * lane_of(z, i, lane);
      }
      lane_of(adjoint_.r2, i, lane) = r2;
    }
  }

  const AdjointJob& job_;
  const Structure& structure_;
  const PlanView& plan_;
  AdjointMemory<V> memory_;
  Adjoint<V>& adjoint_ = memory_.adjoint;
  InstanceScratch& scratch_ = memory_.scratch;
  V* z_ = memory_.z;
  M* on_ = memory_.on;
  std::int64_t first_ = 0;
  int count_ = 0;
  M valid_{};
  DataCotangent<V> data_{adjoint_.a, adjoint_.y, adjoint_.x, z_};
  Choices<V> choices_{job_, adjoint_, data_, scratch_};
};

}  // namespace cvxl::CVXL_ISA
