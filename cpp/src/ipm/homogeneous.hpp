#pragma once
// The homogeneous loop: every cone, and certificates of infeasibility. One factorization and three solves a pass, W instances at a time:
//
//   scaling      H and its frames at (s, z): Nesterov-Todd for symmetric cones, primal-dual or barrier for the others
//   constant     K (x₂, z₂) = (-q, b)
//   affine       K (x₁, z₁) = (-r_x, s - r_z);   direction (x₁ + dτ x₂, z₁ + dτ z₂, …)
//   combined     the same with centring σ = (1 - α)³ and second-order terms (Mehrotra 1992; Dahl, Andersen 2022)
//
// The algorithm is that of Clarabel (arXiv 2405.12762); lanes, masks and refill are as in ipm/solve.hpp. Multipliers of the solves are
// in the frames of the cones (cones/rotation.hpp), where H is diagonal.
//
// It leads close to a solution; Newton's method ends there (ipm/conic_polish.hpp).

#include "cvxl/status.hpp"
#include "ipm/admit.hpp"
#include "ipm/conic_polish.hpp"
#include "ipm/far.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class Feed>
class HomogeneousSolver {
 public:
  static constexpr int W = lanes_of<V>;
  using M = Mask<W>;

  HomogeneousSolver(const Plan& plan, const Settings& settings, bool check_convexity, Arena& arena)
      : st_(plan, settings, arena), check_convexity_(check_convexity) {}

  Embedding<V>& state() { return st_; }

  // `shared_matrices`: P and A are already in every lane, scaled, and no load touches them.
  void run(Feed& feed, bool shared_matrices) {
    while (true) {
      admit(feed, shared_matrices);
      if (!any(st_.live()) || feed.stopped()) return;
      const M broken = factorize();
      constant_system();
      affine_system();
      step(broken);
      evaluate(st_);
      judge(feed);
    }
  }

 private:
  void admit(Feed& feed, bool shared_matrices) {
    const M loaded = load_idle(st_, feed, shared_matrices, exhausted_);
    if (!any(loaded)) return;
    reset(loaded);
    if (check_convexity_) st_.convexity |= loaded;
    else begin(loaded);
    evaluate(st_);
  }

  void reset(M lanes) {
    const V one = splat<V>(1.0);
    st_.cones.begin(st_.s, st_.z, lanes);
    st_.tau = select(lanes, one, st_.tau);
    st_.kappa = select(lanes, one, st_.kappa);
    st_.residual = select(lanes, splat<V>(__builtin_inf()), st_.residual);
    st_.polish_at = select(lanes, splat<V>(st_.settings.polish ? first_polish : 0.0), st_.polish_at);
    st_.flatness = select(lanes, one, st_.flatness);
    st_.dual &= ~lanes;
    st_.last &= ~lanes;
    if (keeps_far_apart()) find_far(st_, lanes);
    if (keeps_far_apart() && !st_.cones.symmetric()) join_far(st_, lanes, one);
  }

  // As in ipm/solve.hpp.
  void start_again(M& lanes) {
    const M which = reconcile(st_, st_.z, lanes & (st_.best_merit > st_.settings.target), st_.stalled >= 3.0);
    if (!any(which)) return;
    lanes &= ~which;
    st_.interior &= ~which;
    st_.refine &= ~which;
    forget_point(st_, which);
    reset(which);
    begin(which);
    evaluate(st_);
  }

  // A bound that is far and yet active, as in linear programs without another, is found sooner from the common start; so are programs
  // without cones that the other loop, whose start keeps far bounds apart, has left unresolved.
  bool keeps_far_apart() const { return st_.plan.P.nnz() > 0 && !st_.plan.cones.empty(); }
  M is_far_row(Index i) const {
    return keeps_far_apart() && i >= st_.plan.zero && i < st_.plan.orthant_end ? is_far<V>(st_, i) : M{};
  }

  // Symmetric cones have a good starting point, the solution of one linear system.
  void begin(M lanes) { (st_.cones.symmetric() ? st_.start : st_.interior) |= lanes; }

  M factorize() {
    st_.cones.scale(st_.s, st_.z, st_.mu, st_.dual);
    if (any(st_.polish)) {
      for (Index i = 0; i < st_.plan.m; ++i) st_.t2[i] = st_.balance[i] * st_.z[i];
      st_.cones.differentiate(st_.s, st_.t2, [](Index) { return Noise<V>{}; }, [](Index, M) {}, st_.polish);
    }
    st_.cones.rotate_matrix(st_.program.A, st_.rotated.A);
    const V one = splat<V>(1.0), flatness = select(st_.polish, st_.flatness, one);
    const V regularization = select(st_.polish, splat<V>(polish_regularization), splat<V>(st_.settings.regularization));
    const V rho = regularization / flatness, delta = regularization * flatness;
    for (Index i = 0; i < st_.plan.m; ++i) {
      // Polish: D of the projection instead of H, H = D/(1 - D); where that is infinite z stays zero.
      const V h = st_.cones.h[i];
      st_.off[i] = st_.convexity | (st_.polish & (st_.cones.rest[i] < 1e-13)) | (st_.start & is_far_row(i));
      st_.H[i] = select(st_.off[i], V{}, select(st_.polish, st_.balance[i] * h / st_.cones.rest[i], h));
      const V regularized = st_.H[i] + delta;
      // A kept row is scaled by e = (1 + H)^(-1/2), which bounds its pivot; a condensed one only needs e²/Δ = 1/H.
      const V e2 = st_.plan.is_condensed(i) || st_.is_equality(i) ? one : 1.0 / (1.0 + regularized);
      st_.kkt.e[i] = select(st_.off[i], V{}, sqrt(e2));
      st_.kkt.delta[i] = select(st_.off[i], one, regularized * e2);
    }
    return st_.kkt.factorize(st_.rotated.P, st_.rotated.A, rho, ~st_.convexity);
  }

  // K (x, z) = (r1, r2); r2 and z in the frames. In lanes that call for it, refined until regularization has no part in it.
  void solve(V* x, V* z) {
    st_.kkt.solve(st_.rotated.A, st_.r1, st_.r2, x, z);
    if (!any(st_.refine)) return;
    V before = splat<V>(__builtin_inf());
    for (int pass = 0;; ++pass) {
      st_.rotated.products(x, z, st_.t1, st_.t2, st_.t3);
      V size = V{}, scale = V{};
      for (Index j = 0; j < st_.plan.n; ++j) {
        st_.t1[j] = st_.r1[j] - (st_.t1[j] + st_.t3[j]);
        size = max(size, abs(st_.t1[j]));
        scale = max(scale, abs(st_.r1[j]));
      }
      for (Index i = 0; i < st_.plan.m; ++i) {
        st_.t2[i] = select(st_.off[i], V{}, st_.r2[i] - (st_.t2[i] - st_.H[i] * z[i]));
        size = max(size, abs(st_.t2[i]));
        scale = max(scale, abs(st_.r2[i]));
      }
      if (pass > 0) {  // take back what made it worse
        const M worse = ~(size <= before);
        for (Index j = 0; j < st_.plan.n; ++j) x[j] -= select(worse, st_.cx[j], V{});
        for (Index i = 0; i < st_.plan.m; ++i) z[i] -= select(worse, st_.cz[i], V{});
        size = select(worse, V{}, size);
      }
      const M busy = st_.refine & (size > 1e-13 * scale + 1e-15) & (size < 0.5 * before);
      if (pass == refinements || !any(busy)) return;
      before = select(busy, size, V{});
      st_.kkt.solve(st_.rotated.A, st_.t1, st_.t2, st_.cx, st_.cz);
      for (Index j = 0; j < st_.plan.n; ++j) x[j] += st_.cx[j] = select(busy, st_.cx[j], V{});
      for (Index i = 0; i < st_.plan.m; ++i) z[i] += st_.cz[i] = select(busy, st_.cz[i], V{});
    }
  }

  // (x₂, z₂). In starting lanes of linear programs (0, b), which gives the primal half of the starting point.
  void constant_system() {
    const M primal_only = st_.plan.P.nnz() == 0 ? st_.start : M{};
    for (Index j = 0; j < st_.plan.n; ++j) st_.r1[j] = select(primal_only | st_.polish, V{}, -st_.program.q[j]);
    std::copy(st_.program.b, st_.program.b + st_.plan.m, st_.b);
    st_.cones.forward(st_.b);
    for (Index i = 0; i < st_.plan.m; ++i) st_.r2[i] = select(st_.polish, V{}, st_.b[i]);
    solve(st_.x2, st_.z2);
  }

  // (x₁, z₁) of the affine direction; in starting lanes (-q, 0), the dual half; in polishing ones the step.
  void affine_system() {
    for (Index j = 0; j < st_.plan.n; ++j) st_.r1[j] = select(st_.start, -st_.program.q[j], -st_.rx[j]);
    for (Index i = 0; i < st_.plan.m; ++i)
      st_.r2[i] = select(st_.start, V{}, (st_.is_equality(i) ? V{} : select(st_.polish, V{}, st_.s[i])) - st_.rz[i]);
    st_.cones.forward(st_.r2);
    solve(st_.x1, st_.z1);
  }

  // (dx, dz, ds, dτ, dκ) from the two solutions; c in `slack`, (1 - σ) in `keep`.
  void assemble(const V* slack, V keep, V d_kappa, V& dtau, V& dkappa) {
    const V xi = 1.0 / st_.tau;
    V linear1 = V{}, linear2 = V{}, cross1 = V{}, cross2 = V{}, norm2 = V{};
    for (Index j = 0; j < st_.plan.n; ++j) {
      linear1 += st_.program.q[j] * st_.x1[j];
      linear2 += st_.program.q[j] * st_.x2[j];
      cross1 += st_.Px[j] * st_.x1[j];
      cross2 += st_.Px[j] * st_.x2[j];
      norm2 += st_.x[j] * st_.Px[j];
    }
    for (Index i = 0; i < st_.plan.m; ++i) {
      linear1 += st_.b[i] * st_.z1[i];
      linear2 += st_.b[i] * st_.z2[i];
    }
    const V numerator = keep * st_.rtau - d_kappa * xi + linear1 + 2.0 * xi * cross1;
    const V denominator = st_.kappa * xi - linear2 - 2.0 * xi * cross2 + xi * xi * norm2;
    dtau = numerator / denominator;
    dkappa = -(d_kappa + st_.kappa * dtau) * xi;
    for (Index j = 0; j < st_.plan.n; ++j) st_.dx[j] = st_.x1[j] + dtau * st_.x2[j];
    for (Index i = 0; i < st_.plan.m; ++i) {
      st_.dz[i] = st_.z1[i] + dtau * st_.z2[i];
      st_.ds[i] = st_.H[i] * st_.dz[i];
    }
    st_.cones.back(st_.dz);
    st_.cones.back(st_.ds);
    for (Index i = 0; i < st_.plan.zero; ++i) st_.ds[i] = V{};
    for (Index i = st_.plan.zero; i < st_.plan.m; ++i) st_.ds[i] = -(slack[i] + st_.ds[i]);
  }

  // The step to the boundary, at most 1.
  V longest(V dtau, V dkappa) {
    const V reach = max(max(st_.cones.reach(st_.s, st_.ds, st_.z, st_.dz), splat<V>(1.0)), max(-dtau / st_.tau, -dkappa / st_.kappa));
    V alpha = 1.0 / reach;
    alpha = select(finite(alpha), alpha, V{});
    if (!st_.cones.symmetric()) alpha = st_.cones.backtrack(st_.s, st_.ds, st_.z, st_.dz, min(alpha, splat<V>(1.0 - 1.5e-8)), st_.interior);
    return alpha;
  }

  void step(M broken) {
    const V one = splat<V>(1.0);
    V dtau, dkappa;
    assemble(st_.s, one, st_.tau * st_.kappa, dtau, dkappa);
    const V affine = longest(dtau, dkappa), keep = 1.0 - (1.0 - affine) * (1.0 - affine) * (1.0 - affine);
    const V sigma = 1.0 - keep;
    // Where a lane starts it may be far from centred: then second-order terms count as much as the affine step was possible (Clarabel).
    const V second = select(st_.outcome.iterations == 0.0, affine, one);
    st_.cones.complement(st_.s, st_.z, st_.ds, st_.dz, second, sigma * st_.mu, st_.c);
    const V d_kappa = st_.tau * st_.kappa + second * dtau * dkappa - sigma * st_.mu;
    if (any(st_.start)) keep_start();
    const M polished = st_.polish;
    if (any(polished)) polish_step(st_);
    for (Index j = 0; j < st_.plan.n; ++j) st_.r1[j] = select(polished, V{}, -keep * st_.rx[j]);
    for (Index i = 0; i < st_.plan.m; ++i) st_.r2[i] = select(polished, V{}, st_.c[i] - keep * st_.rz[i]);
    st_.cones.forward(st_.r2);
    solve(st_.x1, st_.z1);
    assemble(st_.c, keep, d_kappa, dtau, dkappa);

    // Far from the solution a point too close to a curved boundary of an exponential or power cone takes many passes to get away from it.
    V fraction = splat<V>(st_.settings.step_fraction);
    if (!st_.cones.symmetric()) fraction = min(fraction, max(splat<V>(0.95), 1.0 - st_.mu));
    V alpha = longest(dtau, dkappa) * fraction;
    if (!st_.cones.symmetric()) alpha = centred(alpha, dtau, dkappa);
    st_.alpha = alpha;
    st_.shrinks = 1.0 - alpha * keep;
    alpha = select(st_.interior, alpha, V{});
    const auto move = [&](V& value, V by) { value = select(st_.interior, value + alpha * by, value); };
    for (Index j = 0; j < st_.plan.n; ++j) move(st_.x[j], st_.dx[j]);
    for (Index i = 0; i < st_.plan.m; ++i) {
      move(st_.z[i], st_.dz[i]);
      move(st_.s[i], st_.ds[i]);
    }
    move(st_.tau, dtau);
    move(st_.kappa, dkappa);
    const M moved = st_.interior;
    st_.outcome.iterations += select(moved | polished, one, V{});
    if (any(st_.start)) {
      st_.cones.lift_inside(st_.s, st_.start);
      st_.cones.lift_inside(st_.z, st_.start);
      if (keeps_far_apart()) join_far(st_, st_.start, one);
    }
    st_.fresh = st_.start | st_.convexity;
    st_.interior |= st_.start;
    st_.start = M{};
    st_.not_convex = st_.convexity & broken;
    begin(st_.convexity & ~broken);
    st_.convexity = M{};

    // The merit shrinks as the residuals do: lanes whose point will be close enough need not wait for its evaluation.
    enter_polish(st_, M(moved & (st_.merit * st_.shrinks < st_.polish_at)));
    if (any(st_.polish)) project_polish(st_, st_.polish);
  }

  // In the `dual` lanes, shortens the step until the new point is close to the central path: its barrier exceeds the least possible by
  // less than one.
  V centred(V alpha, V dtau, V dkappa) {
    M off = st_.dual & st_.interior;
    for (int trial = 0; trial < 50 && any(off); ++trial) {
      V sz = V{};
      for (Index i = st_.plan.zero; i < st_.plan.m; ++i) sz += (st_.s[i] + alpha * st_.ds[i]) * (st_.z[i] + alpha * st_.dz[i]);
      const V tau = st_.tau + alpha * dtau, kappa = st_.kappa + alpha * dkappa;
      const double degree = st_.cones.degree() + 1.0;
      const V tiny = splat<V>(1e-300), mu = (sz + tau * kappa) / degree;
      const V barrier = degree * log(max(mu, tiny)) - log(max(tau, tiny)) - log(max(kappa, tiny)) +
                        st_.cones.barrier(st_.s, st_.ds, st_.z, st_.dz, alpha);
      off &= ~(barrier < 1.0);
      alpha *= select(off, splat<V>(0.8), splat<V>(1.0));
    }
    return select(off, V{}, alpha);
  }

  // The starting point: x and s from the first system, z from the second (both from the first where there is a quadratic term).
  void keep_start() {
    const bool lp = st_.plan.P.nnz() == 0;
    std::copy(st_.z2, st_.z2 + st_.plan.m, st_.t2);
    std::copy(lp ? st_.z1 : st_.z2, (lp ? st_.z1 : st_.z2) + st_.plan.m, st_.cz);
    st_.cones.back(st_.t2);
    st_.cones.back(st_.cz);
    for (Index j = 0; j < st_.plan.n; ++j) st_.x[j] = select(st_.start, st_.x2[j], st_.x[j]);
    for (Index i = 0; i < st_.plan.m; ++i) {
      st_.s[i] = select(st_.start, i < st_.plan.zero ? V{} : -st_.t2[i], st_.s[i]);
      st_.z[i] = select(st_.start, st_.cz[i], st_.z[i]);
    }
  }

  void judge(Feed& feed) {
    st_.convexity |= lift(st_, st_.not_convex);
    finish(feed, st_.not_convex & ~st_.convexity, Status::invalid_input);
    M lanes = st_.interior & ~st_.fresh;
    const M polished = st_.polish;
    watch(lanes);
    const M seems = polished & ~st_.last & (st_.merit <= st_.settings.tolerance);
    const M astray = seems & ~is_stationary(st_, seems, st_.settings.tolerance);
    keep_best(lanes | (polished & ~astray));
    if (any(polished)) judge_polish(feed, polished, astray);

    finish_infeasible(feed, lanes);
    start_again(lanes);
    const M limit = st_.outcome.iterations >= static_cast<double>(st_.settings.max_iterations);
    const M good = st_.best_merit <= st_.settings.tolerance;
    // A step that gets nowhere: first the more robust scaling, then the end.
    const M stuck = lanes & (st_.alpha < (st_.cones.symmetric() ? 1e-4 : 0.1)) & ~good;
    const M hopeless = (st_.alpha < 1e-4) & (st_.cones.symmetric() ? ~M{} : st_.dual);
    st_.dual |= stuck;
    const V close = min(st_.polish_at, splat<V>(st_.settings.target));
    const M met = is_stationary(st_, M(lanes & (st_.merit <= close)), st_.settings.tolerance);
    const M over = lanes & (met | limit | hopeless | ~(st_.merit < __builtin_inf()) |
                            (good & (st_.stalled >= 2.0)) | (st_.stalled >= 30.0));
    if (!any(over)) return;
    restore_best(over);
    const M polishable = over & (st_.polish_at > 0.0) & (st_.best_merit <= st_.settings.reduced_tolerance);
    st_.last |= polishable & ~met;
    if (any(polishable)) {
      enter_polish(st_, polishable);
      project_polish(st_, polishable);
      evaluate(st_);
    }
    conclude(feed, over & ~polishable, limit);
  }

  // Exact directions shrink the residuals of an interior point by a known factor. Those of lanes that fall behind are refined from now on.
  void watch(M lanes) {
    const V residual = max(st_.outcome.primal_residual, st_.outcome.dual_residual);
    const V bound = max(splat<V>(st_.settings.target), (2.0 * st_.shrinks + 1e-3) * st_.residual);
    st_.refine |= lanes & ~(residual <= bound);
    st_.residual = select(st_.interior, residual, st_.residual);
  }

  // Remembers the point of lanes that are better than ever.
  void keep_best(M lanes) {
    // An interior point may have a smaller gap than a solution found on a flat boundary.
    const M found = st_.polish & (st_.flatness > 1.0) & is_certain(st_) & (st_.merit <= st_.settings.target);
    const M better = lanes & ((st_.merit < st_.best_merit) | found), progress = better & (st_.merit < 0.5 * st_.best_merit);
    st_.stalled = select(progress, V{}, st_.stalled + select(st_.polish, V{}, splat<V>(1.0)));
    if (!any(better)) return;
    st_.best_merit = select(better, st_.merit, st_.best_merit);
    const V tau_inverse = 1.0 / st_.tau;
    for (Index j = 0; j < st_.plan.n; ++j) st_.best_x[j] = select(better, st_.x[j] * tau_inverse, st_.best_x[j]);
    for (Index i = 0; i < st_.plan.m; ++i) {
      st_.best_z[i] = select(better, st_.z[i] * tau_inverse, st_.best_z[i]);
      st_.best_s[i] = select(better, st_.s[i] * tau_inverse, st_.best_s[i]);
    }
  }

  // A polish goes on while it helps. It has succeeded when the target is met and x is certain, and nearly so where it was the last resort;
  // lanes that go astray seem to be solved, but some column is not stationary.
  void judge_polish(Feed& feed, M polished, M astray) {
    M helps = (st_.merit < 0.3 * st_.last_merit) | (st_.shortens & (st_.flatness > 1.0));
    const M slow = polished & ~helps & (st_.merit < 1e-6);  // where convergence should be quadratic
    st_.refine |= slow;
    const M held = slow & (st_.step > st_.settings.tolerance);
    helps |= weaken(st_, held & ~is_rounded(st_, held));
    st_.misses += select(helps, V{}, splat<V>(1.0));
    const M certain = is_certain(st_);
    st_.last_merit = select(polished, min(st_.last_merit, st_.merit), st_.last_merit);
    const M done = polished & ((certain & (st_.merit <= polished_enough)) | (st_.misses >= 2.0) | ~(st_.merit < 1e3) |
                               (certain & (st_.best_merit <= st_.settings.target) & ~helps));
    if (!any(done)) return;
    const M end = done & ~astray & ((certain & (st_.merit <= st_.settings.target)) | st_.last);
    leave_polish(st_, M(done & ~end));
    if (!any(end)) return;
    restore_best(end);
    conclude(feed, end, M{});
  }

  // Ends lanes that hold their best point.
  void conclude(Feed& feed, M over, M limit) {
    const auto drop = [&](M which, Status status) {
      finish(feed, over & which, status);
      over &= ~which;
    };
    const V worst = max(max(st_.best_merit, uncertainty(st_)), worst_component(st_, over, st_.settings.tolerance));
    drop(worst <= st_.settings.tolerance, Status::solved);
    drop(worst <= st_.settings.reduced_tolerance, Status::almost_solved);
    drop(limit, Status::max_iterations);
    drop(~(st_.best_merit < __builtin_inf()), Status::numerical_error);
    drop(~M{}, Status::insufficient_progress);
  }

  void finish_infeasible(Feed& feed, M& lanes) {
    const M open = st_.best_merit > st_.settings.tolerance;
    const auto drop = [&](M which, Status status) {
      which &= lanes & open;
      finish(feed, which, status);
      lanes &= ~which;
    };
    drop(st_.no_primal < st_.settings.infeasibility_tolerance, Status::primal_infeasible);
    drop(st_.no_dual < st_.settings.infeasibility_tolerance, Status::dual_infeasible);
  }

  void finish(Feed& feed, M lanes, Status status) {
    if (!any(lanes)) return;
    for (int lane = 0; lane < W; ++lane)
      if (lanes[lane]) feed.store(lane, outcome_of(st_, lane, status));
    st_.interior &= ~lanes;
    st_.polish &= ~lanes;
    st_.refine &= ~lanes;
  }

  // The best iterate, with τ = 1.
  void restore_best(M lanes) {
    for (Index j = 0; j < st_.plan.n; ++j) st_.x[j] = select(lanes, st_.best_x[j], st_.x[j]);
    for (Index i = 0; i < st_.plan.m; ++i) {
      st_.z[i] = select(lanes, st_.best_z[i], st_.z[i]);
      st_.s[i] = select(lanes, st_.best_s[i], st_.s[i]);
    }
    st_.tau = select(lanes, splat<V>(1.0), st_.tau);
    st_.kappa = select(lanes, V{}, st_.kappa);
    evaluate(st_);
  }

  static constexpr int refinements = 3;
  // Active rows are exact equalities there: condensed, they add 1/δ, whose rounding must stay below ρ = δ where P leaves it alone.
  static constexpr double polish_regularization = 1e-7;
  static constexpr double first_polish = 2e-2;
  static constexpr double polished_enough = 1e-13;

  Embedding<V> st_;
  const bool check_convexity_;
  bool exhausted_ = false;
};

}  // namespace cvxl::CVXL_ISA
