#pragma once
// The loop: infeasible-start primal-dual path following for linear and quadratic programs, W instances at a time.
//
// Every lane is in one of four stages, and a pass of the loop serves them all with one factorization and two solves:
//
//   convexity   all rows switched off: the pivots of P + ρI tell whether P ⪰ 0
//   start       H = I: the least-norm point that Mehrotra's method is started from; where the plan says that active sets can be
//               guessed (plan/guessable.hpp) H is softer, and a polish of {z > 0} comes before the interior
//   interior    H = s/z: predictor (affine direction), then corrector with centring (Mehrotra 1992)
//   polish      H ∈ {0, ∞}: the guessed active set is solved as equalities, then refined. A warm start begins here, with the
//               active set of the point that was given. Where signs are wrong the set is
//               updated as in the primal-dual active set method (Hintermüller, Ito, Kunisch 2003) a few times.
//
// The proximal terms ρ, δ centred at the current iterate (Rockafellar 1976; PIQP) make K quasi-definite whatever the ranks of P
// and A, and vanish from the residuals at a fixed point. Termination, certificates and their scaling follow Clarabel
// (arXiv 2405.12762). Lanes never mix: every decision is a mask, every update a blend.

#include "cvxl/status.hpp"
#include "ipm/load_lanes.hpp"
#include "ipm/outcomes.hpp"
#include "ipm/polish.hpp"
#include "ipm/residuals.hpp"
#include "ipm/state.hpp"
#include "ipm/step.hpp"

namespace cvxl::CVXL_ISA {

// A loader supplies and takes instances:
//   bool load(int lane)            fills P, A, q, b of the lane with the next instance; false if none is left
//   equilibrates                   whether load has scaled P and A of those that do not share them
//   void store(int lane, Status)   writes the lane's result
//   bool stopped()                 whether to give up
template <class V, class Loader>
class Solver {
 public:
  static constexpr int W = lanes_of<V>;
  using M = MaskOf<V>;

  CVXL_HD Solver(const PlanView& plan, const Settings& settings, bool check_convexity, Arena& arena)
      : st_(plan, settings, arena), check_convexity_(check_convexity) {}

  CVXL_HD State<V>& state() { return st_; }

  // `shared_matrices`: P and A are already in every lane, scaled, and no load touches them.
  CVXL_HD void run(Loader& loader, bool shared_matrices) {
    while (true) {
      admit(loader, shared_matrices);
      if (!any(st_.live()) || loader.stopped()) return;
      st_.check_stages();
      first_system(st_);
      const M broken = st_.kkt.factorize(st_.program.P, st_.program.A, proximal(st_), ~st_.convexity);
      solve_refined(st_);
      second_system(st_);
      if (any(needs_second(st_))) solve_refined(st_);
      advance(st_, broken);
      const M polished = st_.polish & ~st_.fresh;
      if (any(polished)) {
        if (any(st_.live() & ~st_.astray)) refine_polish(st_, polished & ~st_.astray);
        project(st_, polished);
        assess(st_);
      } else {
        evaluate(st_);
      }
      judge(loader);
    }
  }

 private:
  CVXL_SEAM void admit(Loader& loader, bool shared_matrices) {
    const M loaded = load_idle(st_, loader, shared_matrices, exhausted_);
    if (!any(loaded)) return;
    reset(loaded);
    st_.warm = (st_.warm & ~loaded) | (loaded & st_.given);
    st_.given = M{};
    if (any(st_.warm & loaded)) take_given(st_, st_.warm & loaded);
    if (check_convexity_)
      st_.convexity |= loaded;
    else
      begin(st_, loaded);
  }

  CVXL_HD void reset(M lanes) {
    const V zero = V{};
    each<V>(st_.plan.m, [&](Index i) {
      st_.z[i] = select(lanes, zero, st_.z[i]);
      st_.s[i] = select(lanes, zero, st_.s[i]);
      st_.active[i] &= ~lanes;
      st_.smaller[i] &= ~lanes;
      st_.shrinking[i] &= ~lanes;
    });
    st_.last &= ~lanes;
    st_.opening &= ~lanes;
    st_.flatness = select(lanes, splat<V>(1.0), st_.flatness);
    st_.held &= ~lanes;
    st_.mark = select(lanes, splat<V>(__builtin_inf()), st_.mark);
    st_.wait = select(lanes, zero, st_.wait);
    st_.backoff = select(lanes, splat<V>(first_wait), st_.backoff);
    find_far(st_, lanes);
  }

  // Takes those of the lanes that rounding of their data keeps from a solution back to their start, with other data. `z`: their
  // certificates.
  CVXL_HD void start_again(M& lanes, const V* z) {
    const M which = reconcile(st_, z, lanes & (st_.merit > st_.settings.target), st_.stalled >= quadratic_suspects);
    if (!any(which)) return;
    lanes &= ~which;
    go_back(which);
  }

  CVXL_HD void go_back(M lanes) {
    st_.warm &= ~lanes;
    withdraw(st_, lanes);
    reset(lanes);
    begin(st_, lanes);
  }

  // Takes lanes that are done off the loop, and moves the others between interior and polish.
  CVXL_SEAM void judge(Loader& loader) {
    st_.convexity |= lift(st_, st_.not_convex);
    finish(st_, loader, st_.not_convex & ~st_.convexity, Status::invalid_input);
    M inner = st_.interior & ~st_.fresh;
    const M tried = st_.polish & ~st_.fresh;
    const M better = inner & (st_.merit < st_.best_merit);
    const M improved = better & (st_.merit < progress * st_.best_merit);
    st_.best_merit = select(better, st_.merit, st_.best_merit);
    const M useful = better & (st_.merit <= st_.settings.reduced_tolerance);
    if (any(useful)) st_.keep(useful, st_.best_x, st_.best_z, st_.best_s);
    st_.stalled = select(inner, select(improved, V{}, st_.stalled + 1.0), st_.stalled);
    st_.mark = select(improved, st_.best_merit, st_.mark);
    st_.refine = (st_.refine | (inner & st_.drift)) & st_.interior;

    st_.left = select(is_rounded(st_, M(tried & (st_.wrong == 0.0) & ~is_certain(st_))), V{}, st_.left);
    const M accepted = sound(tried & (st_.wrong == 0.0) & (st_.merit <= splat<V>(polish_accept)) & is_certain(st_));
    const M polished = (accepted & st_.last) | is_stationary(st_, M(accepted & ~st_.last), st_.settings.tolerance);
    finish(st_, loader, polished, Status::solved);
    if (st_.plan.m == st_.plan.zero)
      repeat_equalities(loader, tried & ~polished);
    else
      leave_polish(st_, tried & ~polished);

    finish_infeasible(st_, loader, inner, st_.merit);
    start_again(inner, st_.z);
    const M met = is_stationary(st_, M(inner & (st_.merit <= st_.settings.target)), st_.settings.tolerance);
    if (st_.settings.polish && st_.plan.m > st_.plan.zero) enter_polish(st_, inner, met);
    inner &= st_.interior;
    finish_some(st_, loader, inner, sound(inner & met & ~st_.held), Status::solved);

    // Solved, but no longer improving; or never going to.
    const M good = st_.best_merit <= st_.settings.tolerance;
    const M limit = st_.out_of_iterations();
    go_on_slowly(inner);
    const M hopeless = (st_.stalled >= quadratic_lost) | (st_.alpha < quadratic_stuck) | ~(st_.merit < __builtin_inf());
    const M over = inner & (limit | hopeless | (good & (st_.stalled >= quadratic_idle)));
    if (any(over)) {
      st_.take(over & (st_.best_merit <= st_.settings.reduced_tolerance), st_.best_x, st_.best_z, st_.best_s);
      evaluate(st_);
      const V worst = max(max(st_.best_merit, select(st_.held, st_.left, V{})), worst_component(st_, over, st_.settings.tolerance));
      const M once_more = loosen(st_, M(over & ~limit & (worst > st_.settings.tolerance)));
      if (any(once_more)) go_back(once_more);
      conclude(st_, loader, over & ~once_more, worst, limit);
    }
  }

  // Many small steps are progress, too.
  CVXL_HD void go_on_slowly(M inner) {
    const M slow = inner & (st_.stalled >= quadratic_lost) & (st_.best_merit < progress * st_.mark);
    st_.mark = select(slow, st_.best_merit, st_.mark);
    st_.stalled = select(slow, V{}, st_.stalled);
  }

  // Of lanes that seem to be solved, those where every row and column is.
  CVXL_HD M sound(M lanes) { return lanes & (worst_component(st_, lanes, st_.settings.tolerance) <= st_.settings.tolerance); }

  // Equality-constrained instances that one proximal step did not settle take another, from where it led, until they are solved
  // or show that they cannot be: the steps (dx, dz) of the proximal point method tend to a certificate (Banjac et al. 2019).
  CVXL_SEAM void repeat_equalities(Loader& loader, M lanes) {
    if (!any(lanes)) return;
    st_.program.products(st_.dx, st_.dz, st_.t1, st_.t2, st_.cx);
    const V c_inverse = 1.0 / st_.scaling.c;
    Certificate<V> primal, dual;
    each<V>(st_.plan.n, dual.gaining(), dual.violating(), primal.violating(), [&](Index j) {
      const V unscale = st_.scaling.D_inverse[j] * c_inverse;
      dual.gain(st_.program.q[j], st_.dx[j]);
      dual.violate(st_.t1[j], unscale);
      primal.violate(st_.cx[j], unscale);
    });
    each<V>(st_.plan.m, primal.gaining(), dual.violating(), [&](Index i) {
      primal.gain(st_.program.b[i], st_.dz[i]);
      dual.violate(st_.t2[i], st_.scaling.E_inverse[i]);
    });
    st_.no_primal = primal.distance(st_.b_norm, c_inverse);
    st_.no_dual = dual.distance(st_.q_norm, c_inverse);
    doubt(st_, st_.dz, -primal.gained * c_inverse);
    finish_infeasible(st_, loader, lanes, st_.merit);
    start_again(lanes, st_.dz);
    weaken(st_, lanes & ~is_certain(st_) & (st_.merit <= polish_accept));
    const M over = lanes & (st_.outcome.iterations >= most_repeats);
    if (!any(over)) return;
    const V worst = max(max(st_.merit, st_.left), worst_component(st_, over, st_.settings.tolerance));
    finish_some(st_, loader, lanes, over & (worst <= st_.settings.tolerance), Status::solved);
    finish_some(st_, loader, lanes, over & (worst <= st_.settings.reduced_tolerance), Status::almost_solved);
    finish_some(st_, loader, lanes, over, Status::insufficient_progress);
  }

  State<V> st_;
  const bool check_convexity_;
  bool exhausted_ = false;
};

}  // namespace cvxl::CVXL_ISA
