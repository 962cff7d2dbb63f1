#pragma once
// The homogeneous loop: every cone, and certificates of infeasibility. One factorization and three solves a pass, W instances at a
// time:
//
//   scaling      H and its frames at (s, z): Nesterov-Todd for symmetric cones, primal-dual or barrier for the others
//   constant     K (x₂, z₂) = (-q, b), solved together with
//   affine       K (x₁, z₁) = (-r_x, s - r_z);   direction (x₁ + dτ x₂, z₁ + dτ z₂, …)
//   combined     the same with centring σ = (1 - α)³ and second-order terms (Mehrotra 1992; Dahl, Andersen 2022)
//
// The algorithm is that of Clarabel (arXiv 2405.12762); lanes, masks and refill are as in ipm/solve.hpp. Multipliers of the solves
// are in the frames of the cones (cones/rotation.hpp), where H is diagonal.
//
// It leads close to a solution; Newton's method ends there (ipm/conic_polish.hpp).

#include "cvxl/status.hpp"
#include "ipm/conic_polish.hpp"
#include "ipm/direction.hpp"
#include "ipm/far.hpp"
#include "ipm/load_lanes.hpp"
#include "ipm/outcomes.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class Loader>
class HomogeneousSolver {
 public:
  static constexpr int W = lanes_of<V>;
  using M = MaskOf<V>;

  CVXL_HD HomogeneousSolver(const PlanView& plan, const Settings& settings, bool check_convexity, Arena& arena)
      : st_(plan, settings, arena), check_convexity_(check_convexity) {}

  CVXL_HD Embedding<V>& state() { return st_; }

  // `shared_matrices`: P and A are already in every lane, scaled, and no load touches them.
  CVXL_HD void run(Loader& loader, bool shared_matrices) {
    while (true) {
      admit(loader, shared_matrices);
      if (!any(st_.live()) || loader.stopped()) return;
      st_.check_stages();
      const M broken = factorize();
      affine_and_constant_system(st_);
      step(broken);
      evaluate(st_);
      judge(loader);
    }
  }

 private:
  CVXL_SEAM void admit(Loader& loader, bool shared_matrices) {
    const M loaded = load_idle(st_, loader, shared_matrices, exhausted_);
    if (!any(loaded)) return;
    st_.cones.copy_plain_rows(st_.program.A, st_.rotated.A);
    reset(loaded);
    if (check_convexity_)
      st_.convexity |= loaded;
    else
      begin(loaded);
    evaluate(st_);
  }

  CVXL_HD void reset(M lanes) {
    const V one = splat<V>(1.0);
    st_.cones.begin(st_.s, st_.z, lanes);
    st_.tau = select(lanes, one, st_.tau);
    st_.kappa = select(lanes, one, st_.kappa);
    st_.residual = select(lanes, splat<V>(__builtin_inf()), st_.residual);
    st_.polish_at = select(lanes, splat<V>(st_.settings.polish ? first_polish : 0.0), st_.polish_at);
    st_.flatness = select(lanes, one, st_.flatness);
    each_in<V>(st_.plan.zero, st_.plan.orthant_end, [&](Index i) { st_.active[i] &= ~lanes; });
    st_.dual &= ~lanes;
    st_.last &= ~lanes;
    st_.stiff &= ~lanes;
    if (keeps_far_apart()) find_far(st_, lanes);
    if (keeps_far_apart() && !st_.cones.symmetric()) join_far(st_, lanes, one);
  }

  // As in ipm/solve.hpp.
  CVXL_HD void start_again(M& lanes) {
    const M which = reconcile(st_, st_.z, lanes & (st_.best_merit > st_.settings.target), st_.stalled >= conic_suspects);
    if (!any(which)) return;
    lanes &= ~which;
    go_back(which);
  }

  CVXL_HD void go_back(M lanes) {
    withdraw(st_, lanes);
    reset(lanes);
    begin(lanes);
    evaluate(st_);
  }

  // A bound that is far and yet active, as in linear programs without another, is found sooner from the common start; so are
  // programs without cones that the other loop, whose start keeps far bounds apart, has left unresolved.
  CVXL_HD bool keeps_far_apart() const { return st_.plan.P.nnz() > 0 && !st_.plan.cones.empty(); }
  CVXL_HD M is_far_row(Index i) const {
    return keeps_far_apart() && i >= st_.plan.zero && i < st_.plan.orthant_end ? is_far<V>(st_, i) : M{};
  }

  // Symmetric cones have a good starting point, the solution of one linear system.
  CVXL_HD void begin(M lanes) { (st_.cones.symmetric() ? st_.start : st_.interior) |= lanes; }

  CVXL_SEAM M factorize() {
    st_.cones.scale(st_.s, st_.z, st_.mu, st_.dual, st_.live() & ~st_.polish, Frames::any);
    if (any(st_.polish)) {
      each<V>(st_.plan.m, [&](Index i) { st_.t2[i] = st_.balance[i] * st_.z[i]; });
      st_.cones.differentiate(st_.s, st_.t2, [](Index) { return Noise<V>{}; }, [](Index, M) {}, st_.polish);
    }
    st_.cones.rotate_rows_of_cones(st_.program.A, st_.rotated.A);
    const V one = splat<V>(1.0), flatness = select(st_.polish, st_.flatness, one);
    const V regularization = select(st_.polish, splat<V>(polish_regularization * unit<V>), st_.regularization);
    const V rho = regularization / flatness, delta = regularization * flatness;
    each<V>(st_.plan.m, [&](Index i) {
      // Polish: D of the projection instead of H, H = D/(1 - D); where that is infinite z stays zero.
      const V h = st_.cones.h[i];
      st_.off[i] = st_.convexity | (st_.polish & (st_.cones.rest[i] < on_boundary * unit<V>)) | (st_.start & is_far_row(i));
      st_.H[i] = select(st_.off[i], V{}, select(st_.polish, st_.balance[i] * h / st_.cones.rest[i], h));
      const V regularized = st_.H[i] + delta;
      // A kept row is scaled by e = (1 + H)^(-1/2), which bounds its pivot; a condensed one only needs e²/Δ = 1/H.
      const V e2 = !st_.plan.is_kept(i) || st_.is_equality(i) ? one : 1.0 / (1.0 + regularized);
      st_.kkt.e[i] = select(st_.off[i], V{}, sqrt(e2));
      st_.kkt.delta[i] = select(st_.off[i], one, regularized * e2);
    });
    return st_.kkt.factorize(st_.rotated.P, st_.rotated.A, rho, ~st_.convexity);
  }

  CVXL_SEAM void step(M broken) {
    const M moved = st_.interior, polished = st_.polish;
    unfit_ = tighten(moved & broken);
    V dtau, dkappa;
    const V keep = direct(dtau, dkappa);
    move(keep, dtau, dkappa);
    st_.outcome.iterations += select(moved | polished, splat<V>(1.0), V{});
    change_stages(broken);
    // The merit shrinks as the residuals do: lanes whose point will be close enough need not wait for its evaluation.
    enter_polish(st_, M(moved & (st_.merit * st_.shrinks < st_.polish_at)));
    if (any(st_.polish)) project_polish(st_, st_.polish);
  }

  // The combined direction, of which residuals keep 1 - α keep; the affine one, whose solution it replaces, is the step of
  // polishing lanes and half of the point of starting ones.
  CVXL_SEAM V direct(V& dtau, V& dkappa) {
    const V one = splat<V>(1.0);
    assemble(st_, st_.s, one, V(st_.tau * st_.kappa), dtau, dkappa);
    const V affine = longest(st_, dtau, dkappa), keep = 1.0 - (1.0 - affine) * (1.0 - affine) * (1.0 - affine);
    const V sigma = 1.0 - keep;
    // Where a lane starts it may be far from centred: then second-order terms count as much as the affine step was possible
    // (Clarabel).
    const V second = select(st_.outcome.iterations == 0.0, affine, one);
    st_.cones.complement(st_.s, st_.z, st_.ds, st_.dz, second, sigma * st_.mu, st_.c);
    const V d_kappa = st_.tau * st_.kappa + second * dtau * dkappa - sigma * st_.mu;
    if (any(st_.start)) keep_start(st_);
    const M polished = st_.polish;
    if (any(polished)) polish_step(st_);
    each<V>(st_.plan.n, [&](Index j) { st_.r1[j] = select(polished, V{}, -keep * st_.rx[j]); });
    each<V>(st_.plan.m, [&](Index i) { st_.r2[i] = select(polished, V{}, st_.c[i] - keep * st_.rz[i]); });
    st_.cones.forward(st_.r2);
    combined_system(st_);
    assemble(st_, st_.c, keep, d_kappa, dtau, dkappa);
    return keep;
  }

  // Moves interior lanes along the direction.
  CVXL_SEAM void move(V keep, V dtau, V dkappa) {
    // Far from the solution a point too close to a curved boundary of an exponential or power cone takes many passes to get away
    // from it.
    V fraction = splat<V>(st_.settings.step_fraction);
    if (!st_.cones.symmetric()) fraction = min(fraction, max(splat<V>(kept_away), 1.0 - st_.mu));
    V alpha = longest(st_, dtau, dkappa) * fraction;
    if constexpr (has_cones<V>)
      if (!st_.cones.symmetric()) alpha = centred(st_, alpha, dtau, dkappa);
    alpha = select(unfit_, V{}, alpha);
    st_.alpha = alpha;
    st_.shrinks = 1.0 - alpha * keep;
    const M moved = st_.interior & (alpha > 0.0);  // where the factor is of no use directions may be NaN
    const auto shift = [&](V& value, V by) { value = select(moved, value + alpha * by, value); };
    each<V>(st_.plan.n, [&](Index j) { shift(st_.x[j], st_.dx[j]); });
    each<V>(st_.plan.m, [&](Index i) {
      shift(st_.z[i], st_.dz[i]);
      shift(st_.s[i], st_.ds[i]);
    });
    shift(st_.tau, dtau);
    shift(st_.kappa, dkappa);
  }

  // Lanes that have started go on in the interior, those whose P can be factored start.
  CVXL_SEAM void change_stages(M broken) {
    if (any(st_.start)) {
      st_.cones.lift_inside(st_.s, st_.start);
      st_.cones.lift_inside(st_.z, st_.start);
      if (keeps_far_apart()) join_far(st_, st_.start, splat<V>(1.0));
    }
    st_.fresh = st_.start | st_.convexity;
    st_.interior |= st_.start;
    st_.start = M{};
    st_.not_convex = st_.convexity & broken;
    begin(st_.convexity & ~broken);
    st_.convexity = M{};
  }

  CVXL_SEAM void judge(Loader& loader) {
    st_.convexity |= lift(st_, st_.not_convex);
    finish(st_, loader, st_.not_convex & ~st_.convexity, Status::invalid_input);
    M lanes = st_.interior & ~st_.fresh;
    const M polished = st_.polish;
    watch(lanes);
    const M done = any(polished) ? watch_polish(st_, polished) : M{};
    const M seems = polished & ~st_.last & (st_.merit <= st_.settings.tolerance);
    const M astray = seems & ~is_stationary(st_, M(seems & done), st_.settings.tolerance);
    keep_best(st_, lanes | (polished & ~astray & is_certain(st_)));
    if (any(done)) end_polish(loader, done, astray);

    finish_infeasible(st_, loader, lanes, st_.best_merit);
    start_again(lanes);
    const M limit = st_.out_of_iterations();
    const M good = st_.best_merit <= st_.settings.tolerance;
    // A step that gets nowhere: first the more robust scaling, then the end.
    const M stuck = lanes & (st_.alpha < (st_.cones.symmetric() ? conic_stuck : conic_slow)) & ~good;
    const M lost = (st_.alpha < conic_stuck) & (st_.cones.symmetric() ? ~M{} : st_.dual) & ~unfit_;
    const M hopeless = lost & ~tighten(lanes & lost & ~good);
    st_.dual |= stuck;
    const V close = min(st_.polish_at, splat<V>(st_.settings.target));
    const M met = is_stationary(st_, M(lanes & (st_.merit <= close)), st_.settings.tolerance);
    const M over = lanes & (met | limit | hopeless | ~(st_.merit < __builtin_inf()) | (good & (st_.stalled >= conic_idle)) |
                            (st_.stalled >= conic_lost));
    if (!any(over)) return;
    restore_best(over);
    const M polishable = over & (st_.polish_at > 0.0) & (st_.best_merit <= first_polish);
    st_.last |= polishable & ~met;
    if (any(polishable)) {
      enter_polish(st_, polishable);
      project_polish(st_, polishable);
      evaluate(st_);
    }
    conclude(loader, over & ~polishable, limit);
  }

  // Of these lanes, whose factor or steps are of no use: those that go on with larger proximal terms. Where columns all but depend
  // on each other smaller ones leave pivots to rounding.
  CVXL_HD M tighten(M lanes) {
    lanes &= (st_.regularization < tightest * unit<V>)&(st_.regularization > loosest * unit<V>);
    st_.regularization = select(lanes, min(tightened * st_.regularization, splat<V>(tightest * unit<V>)), st_.regularization);
    st_.refine |= lanes;
    return lanes;
  }

  // Exact directions shrink the residuals of an interior point by a known factor. Those of lanes that fall behind are refined from
  // now on, unless what is left is nothing, in the gap too, where a large x meets it; and those of lanes that a polish should have
  // ended.
  CVXL_HD void watch(M lanes) {
    const V residual = max(st_.outcome.primal_residual, st_.outcome.dual_residual);
    const V target = splat<V>(st_.settings.target), rounding = select(st_.of_columns <= target, target, V{});
    const V bound = max(rounding, (behind_twice * st_.shrinks + behind) * st_.residual);
    const M overdue = (st_.merit <= st_.settings.reduced_tolerance) & (st_.polish_at < first_polish);
    st_.refine |= lanes & (~(residual <= bound) | overdue);
    st_.residual = select(st_.interior, residual, st_.residual);
  }

  // A polish has succeeded when the target is met and x is certain, and nearly so where it was the last resort; lanes that go astray
  // seem to be solved, but some column is not stationary.
  CVXL_SEAM void end_polish(Loader& loader, M done, M astray) {
    const M certain = is_certain(st_);
    M end = done & ~astray & ((certain & (st_.merit <= st_.settings.target)) | st_.last);
    const M flat = turns_out_flat(st_, M(end & (st_.step > st_.settings.tolerance)));
    done &= ~flat;
    end &= ~flat;
    leave_polish(st_, M(done & ~end));
    if (!any(end)) return;
    restore_best(end);
    conclude(loader, end, M{});
  }

  // Ends lanes that hold their best point. One whose residuals and gap are small but whose x is uncertain is almost solved.
  CVXL_SEAM void conclude(Loader& loader, M over, M limit) {
    const V doubt = min(uncertainty(st_), splat<V>(st_.settings.reduced_tolerance));
    V worst = max(max(st_.best_merit, doubt), worst_component(st_, over, st_.settings.tolerance));
    if constexpr (unit<V> < 1.0) worst = max(worst, st_.outcome.gap = max(st_.outcome.gap, error_of_data(st_)));
    const M left = st_.plan.cones.empty() ? over & ~limit & (worst > st_.settings.tolerance) : M{};  // cones gain nothing by it
    const M once_more = loosen(st_, left);
    if (any(once_more)) go_back(once_more);
    CVXL_ISA::conclude(st_, loader, over & ~once_more, worst, limit);
  }

  // The best iterate, with τ = 1.
  CVXL_SEAM void restore_best(M lanes) {
    st_.take(lanes, st_.best_x, st_.best_z, st_.best_s);
    st_.tau = select(lanes, splat<V>(1.0), st_.tau);
    st_.kappa = select(lanes, V{}, st_.kappa);
    evaluate(st_);
  }

  Embedding<V> st_;
  const bool check_convexity_;
  bool exhausted_ = false;
  M unfit_{};  // lanes in which a pivot was rounding: they stay where they are, and are factored again
};

}  // namespace cvxl::CVXL_ISA
