#pragma once
// K_E solved in all lanes at once: with S = (K_E + δ J)⁻¹, which always exists, refined by the residual of K_E itself
// (adjoint.hpp).

#include <cstdint>

#include "adjoint/active_rows.hpp"
#include "cones/cones.hpp"
#include "kkt/equilibration.hpp"
#include "kkt/factor.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class RegularLanes {
 public:
  using M = MaskOf<V>;

  RegularLanes(const PlanView& plan, const ProgramPack<V>& program, const Cones<V>& cones, const ActiveRows<V>& rows,
               const Room<V>& room, Arena& arena)
      : plan_(plan),
        program_(program),
        cones_(cones),
        rows_(rows),
        room_(room),
        regularization_(plan.P.nnz() > 0 ? 1e-5 : 1e-4),
        kkt_(plan, arena) {
    cones_.lend_frames(kkt_.whole.frame);
  }

  void factorize() {
    each<V>(plan_.m, [&](Index i) {
      const V e2 = 1.0 / rows_.weight[i];
      kkt_.e[i] = select(rows_.active[i], sqrt(e2), V{});
      kkt_.delta[i] = select(rows_.active[i], rows_.H[i] * e2 + regularization_, splat<V>(1.0));
    });
    kkt_.factorize(program_.P, program_.A, splat<V>(regularization_));
  }

  // The lanes in which a pseudo-random vector survives a few applications of δ J S.
  M persists(M lanes) {
    const auto& [t1, l1, c1, t2, c2] = room_;
    std::uint64_t state = 1;
    const auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return splat<V>(static_cast<double>(state >> 11) * 0x1p-52 - 1.0);  // uniform in [-1, 1)
    };
    once<V>([&] {
      for (Index j = 0; j < plan_.n; ++j) t1[j] = next();
      for (Index i = 0; i < plan_.m; ++i) t2[i] = select(rows_.active[i], next(), V{});
    });
    for (int k = 0; k < applications && any(lanes); ++k) {
      kkt_.solve(program_.A, t1, t2, c1, c2);
      each<V>(plan_.n, [&](Index j) { t1[j] = regularization_ * c1[j]; });
      each<V>(plan_.m, [&](Index i) { t2[i] = select(rows_.active[i], -regularization_ * rows_.weight[i] * c2[i], V{}); });
      lanes &= ~(largest() < vanished);
    }
    return lanes;
  }

  // Adds to (a, y) in the given lanes, from zero, until the residual of K_E (a, y) = (r1, r2) no longer shrinks, or is `enough`.
  void refine(V* a, V* y, const V* r1, const V* r2, V enough, M lanes) {
    const M loud = lanes & large_multipliers();
    each<V>(plan_.n, [&](Index j) { room_.t1[j] = r1[j]; });
    each<V>(plan_.m, [&](Index i) { room_.t2[i] = select(rows_.active[i], r2[i], V{}); });
    V before = largest();
    for (int pass = 0; pass < passes && any(lanes); ++pass) {
      kkt_.solve(program_.A, room_.t1, room_.t2, room_.c1, room_.c2);
      each<V>(plan_.n, [&](Index j) { a[j] = select(lanes, a[j] + room_.c1[j], a[j]); });
      each<V>(plan_.m, [&](Index i) { y[i] = select(lanes, y[i] + room_.c2[i], y[i]); });
      const V now = residual(a, y, r1, r2);
      lanes &= (now > enough) & (now < 0.5 * before);
      before = now;
    }
    if (any(loud)) hush(a, y, r1, r2, loud);
  }

 private:
  // Lanes of linear programs in which derivatives by A, which are -(z a' + y x'), may multiply the rounding of a by large
  // multipliers.
  M large_multipliers() const {
    V size = V{};
    if (plan_.P.nnz() == 0) each<V>(plan_.m, maxima(size), [&](Index i) { size = max(size, abs(rows_.z[i])); });
    return size > 1e4;
  }

  // One more step without the residual of the columns: there is rounding of A'y left, of which each step takes δ into a.
  void hush(V* a, V* y, const V* r1, const V* r2, M lanes) {
    residual(a, y, r1, r2);
    each<V>(plan_.n, [&](Index j) { room_.t1[j] = V{}; });
    kkt_.solve(program_.A, room_.t1, room_.t2, room_.c1, room_.c2);
    each<V>(plan_.n, [&](Index j) { a[j] = select(lanes, a[j] + room_.c1[j], a[j]); });
    each<V>(plan_.m, [&](Index i) { y[i] = select(lanes, y[i] + room_.c2[i], y[i]); });
  }

  // (t1, t2) = r - K_E (a, y); returns the largest entry.
  V residual(const V* a, const V* y, const V* r1, const V* r2) {
    const auto& [t1, l1, c1, t2, c2] = room_;
    cones_.products(program_, a, y, t1, t2, l1);
    each<V>(plan_.n, [&](Index j) { t1[j] = r1[j] - (t1[j] + l1[j]); });
    each<V>(plan_.m, [&](Index i) { t2[i] = select(rows_.active[i], r2[i] - (t2[i] - rows_.H[i] * y[i]), V{}); });
    return largest();
  }

  V largest() const {
    V size = V{};
    each<V>(plan_.n, maxima(size), [&](Index j) { size = max(size, abs(room_.t1[j])); });
    each<V>(plan_.m, maxima(size), [&](Index i) { size = max(size, abs(room_.t2[i])); });
    return size;
  }

  static constexpr double vanished = 2e-8;  // of a pseudo-random vector of size 1
  static constexpr int passes = 20;
  static constexpr int applications = 4;

  const PlanView& plan_;
  const ProgramPack<V>& program_;
  const Cones<V>& cones_;
  const ActiveRows<V>& rows_;
  const Room<V>& room_;
  // Refinement contracts by δ/(δ + σ²), without P by δ²/(δ² + σ²), σ the singular values of the active rows, while rounding is
  // amplified by 1/δ². Linear programs can afford the larger one.
  const double regularization_;
  Kkt<V> kkt_;
};

}  // namespace cvxl::CVXL_ISA
