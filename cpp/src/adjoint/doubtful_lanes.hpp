#pragma once
// Instances that are solved alone, by elimination, and which of their rows are at a kink.
//
// Rows at which slack and multiplier are both small are asked one by one: is the multiplier of an active one, or else the slack,
// more than it can be off by? An error of an optimality condition is felt in that number as a change of the data would be, by its
// adjoint (a, y). Where neither stands, the row is left out, and is at a kink if anything moves its slack.

#include <algorithm>
#include <cmath>

#include "adjoint/active_rows.hpp"
#include "adjoint/elimination.hpp"
#include "adjoint/noise.hpp"
#include "cones/cones.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class DoubtfulLanes {
 public:
  using M = MaskOf<V>;

  Uncertainty<V> uncertainty;  // of the optimality conditions, where rows are tied

  CVXL_HD DoubtfulLanes(const PlanView& plan, const ProgramPack<V>& program, const Cones<V>& cones, ActiveRows<V>& rows,
                        Arena& arena)
      : uncertainty(plan, arena), plan_(plan), program_(program), cones_(cones), rows_(rows) {
    if constexpr (Team<V>::alone)  // elimination is one thread's work: a team leaves it to the host
      if (plan.whole.empty()) make_slots(arena);
  }

  CVXL_HD bool has_room() const { return slots_ > 0; }

  // Forgets what was eliminated: rows have changed.
  CVXL_HD void reset() {
    for (int& lane : held_) lane = -1;
  }

  // The elimination of a lane, factored. Where there is no room for one of each lane, they are kept of as many neighbours as fit:
  // whoever asks for several things looks at one such group after the other.
  Elimination& operator[](int lane) {
    const int slot = lane % slots_;
    if (held_[slot] != lane) eliminate(lane, elimination_[slot]);
    held_[slot] = lane;
    return elimination_[slot];
  }
  template <class F>
  void for_each_group(M lanes, F&& f) const {
    for (int first = 0; first < lanes_of<V>; first += slots_) {
      M group{};
      for (int lane = first; lane < std::min(first + slots_, lanes_of<V>); ++lane) group[lane] = lanes[lane];
      if (any(group)) f(group);
    }
  }

  // Of lanes with tied rows those with rows at a kink, which are left out; rows that are none are tied no longer. Where a number is
  // not determined, the rows stay as they are, and the lane is degenerate.
  M settle_ties(M lanes, M& degenerate) {
    if (!any(lanes)) return lanes;
    count_complementarity();
    M kinked{};
    for (int lane = 0; lane < lanes_of<V>; ++lane)
      if (lanes[lane] && !settle(lane, kinked)) degenerate[lane] = -1;
    return kinked;
  }

  // What the multiplier of row i, if it is active, or else its slack may be off by; the adjoint of that number is left in the
  // elimination. Infinite where it is not determined.
  double error(int lane, Index i) {
    Elimination& own = (*this)[lane];
    own.clear();
    const bool active = rows_.active[i][lane];
    if (active)
      own.r2[i] = 1.0;
    else
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) own.r1[plan_.A.indices[k]] = -program_.A[k][lane];
    if (!own.solve()) return HUGE_VAL;
    double sum = nothing + (active ? 0.0 : uncertainty.rows[i][lane]);
    for (Index j = 0; j < plan_.n; ++j) sum += std::abs(own.r1[j]) * uncertainty.columns[j][lane];
    for (Index k = 0; k < plan_.m; ++k) sum += std::abs(own.r2[k]) * uncertainty.rows[k][lane];
    return sum;
  }

  // Puts a row back that was left out, if it was active: the choice that is made where a kink matters.
  void count_as_active(Index i, int lane) { set_active(i, lane, cones_.rest[i][lane] > least_rest); }

  static constexpr double least_rest = 1e-18;  // of 1 - D in rows that count

 private:
  void make_slots(Arena& arena) {
    Arena measured;
    const Elimination sized(plan_, measured);
    const std::size_t bytes = measured.used();
    slots_ = static_cast<int>(std::min(room / bytes, std::size_t{lanes_of<V>}));
    for (int slot = 0; slot < slots_; ++slot) elimination_[slot] = Elimination(plan_, arena);
  }

  // Since Π(w) = DΠ(w) w, what s is off Π(s - z) by is (1 - D) s + D z in the frames: an error of active rows, and of z in others.
  void count_complementarity() {
    for (Index i = 0; i < plan_.m; ++i) {
      const V off = abs(cones_.rest[i] * rows_.s[i] + cones_.h[i] * rows_.z[i]);
      uncertainty.rows[i] += select(rows_.active[i], off * rows_.weight[i], V{});
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        uncertainty.columns[plan_.A.indices[k]] += select(rows_.active[i], V{}, abs(program_.A[k]) * off);
    }
  }

  bool settle(int lane, M& kinked) {
    const auto each_tie = [&](auto&& f) {
      for (Index i = plan_.zero; i < plan_.m; ++i)
        if (rows_.tied[i][lane]) f(i);
    };
    bool known = true;
    const auto vanishes = [&](Index i, double value) {
      const double off_by = error(lane, i);
      known &= std::isfinite(off_by);
      return std::abs(value) <= off_by;
    };
    each_tie([&](Index i) {
      if (rows_.active[i][lane] && !vanishes(i, rows_.z[i][lane])) rows_.tied[i][lane] = 0;
    });
    if (known) {
      each_tie([&](Index i) { set_active(i, lane, false); });
      each_tie([&](Index i) {
        if (!vanishes(i, rows_.s[i][lane])) rows_.tied[i][lane] = 0;
      });
    }
    each_tie([&](Index i) {
      if (known)
        kinked[lane] = -1;
      else
        count_as_active(i, lane);
    });
    return known;
  }

  // Of a row in which D is 0 or 1.
  void set_active(Index i, int lane, bool active) {
    if ((rows_.active[i][lane] != 0) == active) return;
    rows_.active[i][lane] = active ? -1 : 0;
    rows_.H[i][lane] = 0.0;
    rows_.weight[i][lane] = 1.0;
    held_[lane % slots_] = -1;
  }

  // Hands the system of one lane over and factors it. A row of a cone block in which the multiplier moves by itself, along the ray
  // of z, is an inequality for that ray.
  void eliminate(int lane, Elimination& to) {
    for (Index k = 0; k < plan_.P.nnz(); ++k) to.P[k] = program_.P[k][lane];
    for (Index i = 0; i < plan_.m; ++i) {
      to.kind[i] = Elimination::off;
      if (!rows_.active[i][lane]) continue;
      const double rest = 1.0 / rows_.weight[i][lane];
      to.kind[i] = i < plan_.zero ? Elimination::equality : i < plan_.orthant_end ? Elimination::inequality : Elimination::curved;
      to.e[i] = std::sqrt(rest);
      to.root[i] = std::sqrt(rows_.H[i][lane] * rest);
      to.z[i] = rows_.z[i][lane];
    }
    for (const ConeBlock& cone : plan_.cones) {
      Index rays = 0, ray = 0;
      for (Index i = cone.first; i < cone.first + cone.rows(); ++i)
        if (to.kind[i] != Elimination::off && to.root[i] == 0.0) ++rays, ray = i;
      if (rays != 1) continue;
      to.kind[ray] = Elimination::inequality;
      if (to.z[ray] < 0.0) to.e[ray] = -to.e[ray];
      to.z[ray] = std::abs(to.z[ray]);
    }
    for (Index i = 0; i < plan_.m; ++i)
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        to.A[k] = rows_.active[i][lane] ? to.e[i] * program_.A[k][lane] : 0.0;
    to.factor();
  }

  static constexpr std::size_t room = std::size_t{64} << 20;  // in bytes; where one does not fit, instances are marked

  const PlanView& plan_;
  const ProgramPack<V>& program_;
  const Cones<V>& cones_;
  ActiveRows<V>& rows_;
  Elimination elimination_[lanes_of<V>];
  int slots_ = 0, held_[lanes_of<V>] = {};  // eliminations there is room for, and whose they hold
};

}  // namespace cvxl::CVXL_ISA
