#pragma once
// The product cone K of a problem, for a pack of lanes: zero rows, the orthant, then the blocks of the plan.
//
// At a point (s, z) every block gives a scaling H, symmetric and positive definite, with which the linearized complementarity reads
// ds + H dz = -c, and a frame T in which H is diagonal (rotation.hpp). c = s for the affine direction; `complement` adds centring
// and second-order terms. On zero rows H = 0 and c = 0.

#include <tuple>

#include "cones/backtrack.hpp"
#include "cones/cone.hpp"
#include "cones/kinds.hpp"
#include "lanes/check.hpp"
#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Cones {
 public:
  using M = MaskOf<V>;
  V* h;     // per row: eigenvalues of H in the frames
  V* rest;  // of `differentiate`: 1 - h, without cancellation

  CVXL_HD Cones(const PlanView& plan, Arena& arena)
      : h(arena.take<V>(plan.m)),
        rest(arena.take<V>(plan.m)),
        plan_(plan),
        degree_(plan.orthant_end - plan.zero),
        t_(arena.take<V>(plan.m)),
        u_(arena.take<V>(plan.m)),
        sums_(arena.take<V>(plan.n + 1)) {
    if constexpr (has_cones<V>) make_blocks(arena);
  }

  CVXL_HD bool symmetric() const { return symmetric_; }  // no exponential or power cone
  CVXL_HD double degree() const { return degree_; }

  // s = z = the point of the central path of K alone, in the given lanes.
  CVXL_HD void begin(V* s, V* z, M lanes) const {
    each<V>(plan_.m, [&](Index i) { t_[i] = i < plan_.zero ? V{} : splat<V>(1.0); });
    for_each([&](const ConeBlock& c, const auto& block) { block.central(t_ + c.first); });
    each<V>(plan_.m, [&](Index i) {
      s[i] = select(lanes, t_[i], s[i]);
      z[i] = select(lanes, t_[i], z[i]);
    });
  }

  // The scalings at (s, z) in the given lanes; exponential and power cones use μ∇²f* in the `dual` lanes.
  CVXL_HD void scale(const V* s, const V* z, V mu, M dual, M lanes, Frames frames) {
    rotated_ = false;
    each<V>(plan_.zero, [&](Index i) { h[i] = V{}; });
    each_in<V>(plan_.zero, plan_.orthant_end, [&](Index i) { h[i] = s[i] / z[i]; });
    for_each([&](const ConeBlock& c, auto& block) { block.scale(s + c.first, z + c.first, mu, dual, lanes, frames, h + c.first); });
  }

  // Instead of a scaling, the derivative DΠ(w) of the projection on K at w = s - z: h holds its eigenvalues, in [0, 1], in the
  // frames that the blocks now have. Writes the given lanes. `tie(i, lanes)` gets the lanes in which Π has no derivative where w
  // lies, as slack and multiplier of row i of the frame both vanish within `noise(i)`, a Noise, or do not tell which of them does;
  // returned are those of any row.
  template <class NoiseOf, class Tie>
  CVXL_SEAM M differentiate(const V* s, const V* z, NoiseOf&& noise, Tie&& tie, M lanes) {
    const V one = splat<V>(1.0);
    M some{};
    rotated_ = false;
    each<V>(plan_.zero, [&](Index i) {
      h[i] = V{};
      rest[i] = one;
    });
    each_in<V>(plan_.zero, plan_.orthant_end, any_of(some), [&](Index i) {
      const M inside = s[i] > z[i];
      h[i] = select(lanes, select(inside, one, V{}), h[i]);
      rest[i] = select(lanes, select(inside, V{}, one), rest[i]);
      const V least = min(s[i], z[i]), most = max(s[i], z[i]);
      const M tied = noise(i).hides(s[i] - z[i]) | ((least > undecided * most) & (most < undecided));
      tie(i, tied);
      some |= tied;
    });
    for_each([&](const ConeBlock& c, auto& block) {
      const auto tie_row = [&](Index i, M tied) {
        tie(c.first + i, tied);
        some |= tied;
      };
      block.differentiate(s + c.first, z + c.first, h + c.first, rest + c.first, noise(c.first), tie_row, lanes);
    });
    return some;
  }
  // Lanes in which s and z of a block are so little complementary that they do not tell where w lies.
  CVXL_HD M unclear(const V* s, const V* z) const {
    M lanes{};
    for_each(
        [&](const ConeBlock& c, const auto& block) { lanes |= block.cosine2(s + c.first, z + c.first) > undecided * undecided; });
    return lanes;
  }

  // g = D²Π(w)[h, k], in the frames of `differentiate`; and μ∇³f*(z)[h, k] at a point of the central path, in those of `scale`.
  // Both are symmetric in h and k.
  CVXL_HD void projection_second_derivative(const V* w, const V* h_, const V* k, V* g) const {
    each<V>(plan_.orthant_end, [&](Index i) { g[i] = V{}; });
    for_each([&](const ConeBlock& c, const auto& block) {
      block.projection_second_derivative(w + c.first, h_ + c.first, k + c.first, g + c.first);
    });
  }
  CVXL_HD void barrier_third_derivative(const V* s, const V* z, const V* h_, const V* k, V* g) const {
    for (Index i = 0; i < plan_.zero; ++i) g[i] = V{};
    for (Index i = plan_.zero; i < plan_.orthant_end; ++i) g[i] = -2.0 * s[i] / (z[i] * z[i]) * h_[i] * k[i];
    for_each([&](const ConeBlock& c, const auto& block) {
      block.barrier_third_derivative(s + c.first, z + c.first, h_ + c.first, k + c.first, g + c.first);
    });
  }

  // Units of block k in which (s, z) is polished, in lanes that are not `settled` the user's; whether it has any.
  CVXL_HD bool choose_units(std::size_t k, const V* s, const V* z, double most, M settled, M lanes) {
    bool has_units = false;
    with_block(k, [&](const ConeBlock& c, auto& block) {
      has_units = block.choose_units(s + c.first, z + c.first, most, settled, lanes);
    });
    return has_units;
  }
  // In the given lanes w = u - v, in those units.
  CVXL_HD void difference(const V* u, const V* v, V* w, M lanes) const {
    each<V>(plan_.orthant_end, [&](Index i) { t_[i] = u[i] - v[i]; });
    for_each([&](const ConeBlock& c, const auto& block) { block.difference(u + c.first, v + c.first, t_ + c.first); });
    each<V>(plan_.m, [&](Index i) { w[i] = select(lanes, t_[i], w[i]); });
  }

  // In the given lanes, s = Π(w) and z = s - w, where (s, z) is close to that; for μ > 0 a point of the central path, z = -μ∇f(s),
  // with s - z = w (exponential and power cones: to a few digits).
  CVXL_HD void project(const V* w, V mu, V* s, V* z, M lanes) const {
    copy<V>(s, plan_.m, t_);
    copy<V>(z, plan_.m, u_);
    each<V>(plan_.zero, [&](Index i) { u_[i] = -w[i]; });
    each_in<V>(plan_.zero, plan_.orthant_end, [&](Index i) { std::tie(t_[i], u_[i]) = parts(w[i], mu); });
    for_each([&](const ConeBlock& c, const auto& block) { block.project(w + c.first, mu, t_ + c.first, u_ + c.first, lanes); });
    each<V>(plan_.m, [&](Index i) {
      s[i] = select(lanes, t_[i], s[i]);
      z[i] = select(lanes, u_[i], z[i]);
    });
  }

  // Into frames, v ← T v, and out of them, multipliers ṽ ← T'ṽ and slacks v ← T⁻¹v; the matrix A by rows of the plan's pattern.
  CVXL_HD void forward(V* v) const {
    for_each([&](const ConeBlock& c, const auto& block) { block.forward(v + c.first, 1, sums_); });
  }
  CVXL_HD void back(V* v) const {
    for_each([&](const ConeBlock& c, const auto& block) { block.back(v + c.first, 1, sums_); });
  }
  CVXL_HD void inverse(V* v) const {
    for_each([&](const ConeBlock& c, const auto& block) { block.inverse(v + c.first, sums_); });
  }
  // That in two parts: rows that are in no cone stay what they are while frames change.
  CVXL_HD void copy_plain_rows(const V* A, V* rotated) const { copy<V>(A, plan_.A.indptr[plan_.orthant_end], rotated); }
  CVXL_HD void rotate_rows_of_cones(const V* A, V* rotated) {
    const Index begin = plan_.A.indptr[plan_.orthant_end];
    copy<V>(A + begin, plan_.A.nnz() - begin, rotated + begin);
    rotate_in_place(rotated);
  }
  CVXL_HD void rotate_in_place(V* A) {
    for_each([&](const ConeBlock& c, const auto& block) {
      const Index begin = plan_.A.indptr[c.first], columns = plan_.A.indptr[c.first + 1] - begin;
      if (columns > 0 && !c.whole()) block.forward(A + begin, columns, sums_);
    });
    if constexpr (has_cones<V>)
      plan_.for_rotating_faces([&](const WholeBlock& whole, const FaceEntry* entries) {
        with_block(whole.cone, [&](const ConeBlock& c, const auto& block) {
          for (Index i = 0; i < c.rows(); ++i) t_[i] = A[entries[i].source];
          block.forward(t_, 1, sums_);
          for (Index i = 0; i < c.rows(); ++i) A[entries[i].source] = t_[i];
        });
      });
    rotated_ = true;
  }
  // Products as of `ProgramPack`, with z and Ax in the frames, where cones that leave K as a whole have no rows: K is lent theirs.
  template <class Program>
  CVXL_HD void products(const Program& rotated, const V* x, const V* z, V* Px, V* Ax, V* Atz) const {
    if (plan_.whole.empty()) return rotated.products(x, z, Px, Ax, Atz);
    if constexpr (has_cones<V>) {
      copy<V>(z, plan_.m, t_);
      for_each([&](const ConeBlock& c, const auto& block) { c.whole() ? block.back(t_ + c.first, 1, sums_) : void(); });
      rotated.products(x, t_, Px, Ax, Atz);
      // Columns that are in the frames already (kkt/whole_blocks.hpp) meet z there, and are no part of what is rotated.
      plan_.for_rotating_entries([&](Index i, Index j, Index k) {
        Atz[j] += rotated.A[k] * (z[i] - t_[i]);
        Ax[i] -= rotated.A[k] * x[j];
      });
      for_each([&](const ConeBlock& c, const auto& block) { c.whole() ? block.forward(Ax + c.first, 1, sums_) : void(); });
      plan_.for_rotating_entries([&](Index i, Index j, Index k) { Ax[i] += rotated.A[k] * x[j]; });
    }
  }
  template <class K>
  CVXL_HD void lend_frames(K& kkt) const {
    if constexpr (has_cones<V>) {
      const auto* own = std::get<LargeSemidefinite<V>*>(blocks_);
      for (std::size_t k = 0; own && k < plan_.whole.size(); ++k) kkt.whole.frame[k] = own[k].frame(plan_.whole[k].of_variables);
    }
  }
  CVXL_HD void check_frames() const { check(rotated_, "the matrix that was rotated last is in the frames of now"); }

  // c for the direction that follows the affine one (ds, dz).
  CVXL_HD void complement(const V* s, const V* z, const V* ds, const V* dz, V m, V sigma_mu, V* c) const {
    each<V>(plan_.zero, [&](Index i) { c[i] = V{}; });
    each_in<V>(plan_.zero, plan_.orthant_end, [&](Index i) { c[i] = s[i] + (m * ds[i] * dz[i] - sigma_mu) / z[i]; });
    for_each([&](const ConeBlock& k, const auto& block) {
      block.complement(s + k.first, z + k.first, ds + k.first, dz + k.first, m, sigma_mu, c + k.first);
    });
  }

  // 1/α for the largest α that keeps s + α ds and z + α dz in the orthant and the symmetric cones.
  CVXL_HD V reach(const V* s, const V* ds, const V* z, const V* dz) const {
    V worst = V{};
    each_in<V>(plan_.zero, plan_.orthant_end, maxima(worst),
               [&](Index i) { worst = max(worst, max(-ds[i] / s[i], -dz[i] / z[i])); });
    for_each([&](const ConeBlock& c, const auto& block) {
      worst = max(worst, block.reach(s + c.first, ds + c.first, z + c.first, dz + c.first));
    });
    return worst;
  }

  // Shortens α until the exponential and power cones contain the moved points too; 0 where that takes too long.
  CVXL_HD V backtrack(const V* s, const V* ds, const V* z, const V* dz, V alpha, M lanes) const {
    return shortened(alpha, lanes, [&](V step) {
      M inside = ~M{};
      for_each([&](const ConeBlock& c, const auto& block) {
        inside &= block.contains(s + c.first, ds + c.first, z + c.first, dz + c.first, step);
      });
      return ~inside;
    });
  }

  // The barrier f(s) + f*(z) of K at the moved points.
  CVXL_HD V barrier(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    V sum = V{};
    each_in<V>(plan_.zero, plan_.orthant_end, sums(sum),
               [&](Index i) { sum -= log(max((s[i] + alpha * ds[i]) * (z[i] + alpha * dz[i]), splat<V>(1e-300))); });
    for_each([&](const ConeBlock& c, const auto& block) {
      sum += block.barrier(s + c.first, ds + c.first, z + c.first, dz + c.first, alpha);
    });
    return sum;
  }

  // Shifts u, in the given lanes, into a product of symmetric cones: its least eigenvalue becomes at least max(1, a tenth of the
  // mean).
  CVXL_HD void lift_inside(V* u, M lanes) const {
    V margin = splat<V>(__builtin_inf()), positive = V{};
    const auto meet = [&](V value, double degree) { margin = min(margin, value), positive += degree * max(value, V{}); };
    each_in<V>(plan_.zero, plan_.orthant_end, sums(positive), minima(margin), [&](Index i) { meet(u[i], 1.0); });
    for_each([&]<class Block>(const ConeBlock& c, const Block& block) {
      if constexpr (Block::symmetric) meet(block.least_eigenvalue(u + c.first), Block::degree(c));
    });
    const V target = max(splat<V>(1.0), 0.1 / std::max(degree_, 1.0) * positive);
    const V by = select(lanes & (margin < target), target - margin, V{});
    each_in<V>(plan_.zero, plan_.orthant_end, [&](Index i) { u[i] += by; });
    for_each([&]<class Block>(const ConeBlock& c, const Block& block) {
      if constexpr (Block::symmetric) block.lift(u + c.first, by);
    });
  }

 private:
  static constexpr double undecided = 1e-4;  // cosine of s and z; of a row, also their size

  CVXL_HD void make_blocks(Arena& arena) {
    std::size_t count[Cone::kinds] = {};
    for (const ConeBlock& c : plan_.cones) ++count[c.kind];
    for (const ConeBlock& c : plan_.cones)
      with_kind<V>(c.kind, [&]<class Block>(std::type_identity<Block>) {
        static_assert(ConeContract<Block, V>);
        Block*& blocks = std::get<Block*>(blocks_);
        if (c.number == 0) blocks = arena.take<Block>(count[c.kind]);
        const Block made(c, arena);
        if (blocks) blocks[c.number] = made;
        degree_ += Block::degree(c);
        symmetric_ &= Block::symmetric;
      });
  }

  template <class F>
  CVXL_INLINE void for_each(F&& f) const {
    for (std::size_t k = 0; k < plan_.cones.size(); ++k) with_block(k, f);
  }

  template <class F>
  CVXL_INLINE void with_block(std::size_t k, F&& f) const {
    const ConeBlock& c = plan_.cones[k];
    if constexpr (has_cones<V>)
      with_kind<V>(c.kind, [&]<class Block>(std::type_identity<Block>) { f(c, std::get<Block*>(blocks_)[c.number]); });
  }

  template <class... Block>
  using Arrays = std::tuple<Block*...>;

  const PlanView& plan_;
  double degree_;
  bool symmetric_ = true, rotated_ = false;
  V *t_, *u_, *sums_;
  Kinds<V, Arrays> blocks_{};  // one array per kind
};

}  // namespace cvxl::CVXL_ISA
