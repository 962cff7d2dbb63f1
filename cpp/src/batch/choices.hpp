#pragma once
// Whether gradients are determined where (a, y), the solution of the adjoint system, is not.

#include <cmath>

#include "adjoint/adjoint.hpp"
#include "batch/instance.hpp"

namespace cvxl::CVXL_ISA {

// The part of P and A in the cotangent of an entry of the value vector, bilinear in (a, y) and (x, z).
template <class V>
CVXL_INLINE V bilinear(const Place& where, const V* a, const V* y, const V* x, const V* z) {
  switch (where.kind) {
    case Place::P:
      return where.row == where.column ? -a[where.row] * x[where.row]
                                       : -(a[where.row] * x[where.column] + a[where.column] * x[where.row]);
    case Place::A: return -(z[where.row] * a[where.column] + y[where.row] * x[where.column]);
    default: return V{};
  }
}

// The cotangent of an entry of the value vector: linear in (a, y) for q and b, bilinear for P and A.
template <class V>
struct DataCotangent {
  const V *a, *y, *x, *z;

  CVXL_INLINE V cotangent(const Place& where) const {
    const V linear = where.kind == Place::q ? -a[where.row] : where.kind == Place::b ? y[where.row] : V{};
    return linear + bilinear(where, a, y, x, z);
  }
};

// A solution that is not unique jumps if a parameter can push it along a flat direction, a row at a kink matters if its slack moves
// with parameters, and so do multipliers to choose from if their rows do.
template <class V>
class Choices {
 public:
  static constexpr int W = lanes_of<V>;
  using M = MaskOf<V>;

  Choices(const AdjointJob& job, Adjoint<V>& adjoint, const DataCotangent<V>& data, InstanceScratch& scratch)
      : job_(job), adjoint_(adjoint), data_(data), scratch_(scratch) {}

  // After a factorization: flags lanes in which gradients are not determined. `instance`: lane → number in the batch.
  template <class Instance>
  void notice(Instance&& instance) {
    shifted_ = turned_ = M{};
    adjoint_.for_each_doubtful_group([&](M group) { notice(group, instance); });
  }

  // After a solve: flags lanes in which (a, y) would give another gradient with other multipliers, as rows move and are not always
  // followed, or rows turn, z changing with them.
  void flag() {
    if (!any(shifted_ | turned_)) return;
    M moves{};
    for (Index j = 0; j < job_.compiled.view.n; ++j) moves |= adjoint_.a[j] != 0.0;
    adjoint_.degenerate |= (shifted_ & adjoint_.leans) | (turned_ & moves);
  }

 private:
  template <class Instance>
  void notice(M group, Instance&& instance) {
    const PlanView& plan = job_.compiled.view;
    const auto cotangent = [&](const Place& where) { return data_.cotangent(where); };
    M lanes, kinks{};
    V noise{};
    for (Index i = plan.zero; i < plan.m; ++i)
      if (any(lanes = adjoint_.kink(i, noise, group))) kinks |= lanes & felt(cotangent, instance, noise);
    if (any(kinks)) adjoint_.count_kinks_as_active(kinks);
    adjoint_.degenerate |= kinks;
    for (Index k = 0; any(lanes = adjoint_.flat_direction(k, group)); ++k) adjoint_.degenerate |= lanes & felt(cotangent, instance);
    const M movable = adjoint_.movable(group);
    for (Index k = 0; any(lanes = adjoint_.choice(k, group)); ++k) {
      shifted_ |= lanes & felt(cotangent, instance);
      turned_ |=
          lanes & movable &
          felt(
              [&](const Place& where) {
                return where.kind == Place::A ? data_.y[where.row] * (1.0 + 0.618 * static_cast<double>(where.column % 97)) : V{};
              },
              instance);
    }
  }

  // Lanes in which some parameter has a gradient beyond what rounding leaves of its terms, and, changing by its own size or by 1,
  // moves more than `noise`.
  template <class Cotangent, class Instance>
  M felt(Cotangent&& cotangent, Instance&& instance, V noise = V{}) {
    const Transpose& Mt = job_.compiled.M_transpose;
    M lanes{};
    for (std::size_t e = 0; e + 1 < Mt.begin.size(); ++e) {
      V sum = V{}, size = V{};
      for (Index t = Mt.begin[e]; t < Mt.begin[e + 1]; ++t) {
        const V term = Mt.coefficient[t] * cotangent(job_.compiled.place[Mt.row[t]]);
        sum += term;
        size += abs(term);
      }
      const M moved = (abs(sum) > 1e-8 * size) & ~lanes;
      if (any(moved)) lanes |= any(noise > 0.0) ? moved & (abs(sum) * magnitude(e, instance) > noise) : moved;
    }
    return lanes;
  }

  // max(|θ_e|, 1)
  template <class Instance>
  V magnitude(std::size_t e, Instance&& instance) {
    const auto& begin = job_.compiled.parameter_begin;
    const std::size_t p =
        static_cast<std::size_t>(std::upper_bound(begin.begin(), begin.end(), static_cast<Index>(e)) - begin.begin()) - 1;
    V size{};
    for (int lane = 0; lane < W; ++lane) {
      job_.locator.locate(instance(lane), scratch_.parameters);
      size[lane] = std::max(1.0, std::abs(scratch_.parameters[p][static_cast<Index>(e) - begin[p]]));
    }
    return size;
  }

  const AdjointJob& job_;
  Adjoint<V>& adjoint_;
  const DataCotangent<V>& data_;
  InstanceScratch& scratch_;
  M shifted_{}, turned_{};  // lanes in which a choice of multipliers moves gradients through y, through z
};

}  // namespace cvxl::CVXL_ISA
