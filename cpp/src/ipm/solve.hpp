#pragma once
// The loop: infeasible-start primal-dual path following for linear and quadratic programs, W instances at a time.
//
// Every lane is in one of four stages, and a pass of the loop serves them all with one factorization and two solves:
//
//   convexity   all rows switched off: the pivots of P + ρI tell whether P ⪰ 0
//   start       H = I: the least-norm point that Mehrotra's method is started from
//   interior    H = s/z: predictor (affine direction), then corrector with centring (Mehrotra 1992)
//   polish      H ∈ {0, ∞}: the guessed active set is solved as equalities, then refined. Where signs are wrong the set is
//               updated as in the primal-dual active set method (Hintermüller, Ito, Kunisch 2003) a few times.
//
// The proximal terms ρ, δ centred at the current iterate (Rockafellar 1976; PIQP) make K quasi-definite whatever the ranks of P
// and A, and vanish from the residuals at a fixed point. Termination, certificates and their scaling follow Clarabel
// (arXiv 2405.12762). Lanes never mix: every decision is a mask, every update a blend.

#include "cvxl/settings.hpp"
#include "cvxl/status.hpp"
#include "kkt/equilibrate.hpp"
#include "kkt/factor.hpp"

namespace cvxl::CVXL_ISA {

// What the loop knows of the lanes' outcomes; read by the feed when it stores a lane.
template <class V>
struct Outcome {
  V primal_residual{}, dual_residual{}, gap{}, objective{}, iterations{};
};

// Feed supplies and takes instances:
//   bool load(int lane)            fills P, A, q, b of the lane with the next instance; false if none is left
//   void store(int lane, Status)   writes the lane's result
//   bool stopped()                 whether to give up
template <class V, class Feed>
class Solver {
 public:
  static constexpr int W = lanes_of<V>;
  using M = Mask<W>;

  Solver(const Plan& plan, const Settings& settings, bool check_convexity, Arena& arena)
      : program(plan, arena),
        scaling(plan, arena, 4.0),
        x(arena.take<V>(plan.n)),
        z(arena.take<V>(plan.m)),
        s(arena.take<V>(plan.m)),
        plan_(plan),
        set_(settings),
        check_convexity_(check_convexity),
        kkt_(plan, arena),
        Px_(arena.take<V>(plan.n)),
        Atz_(arena.take<V>(plan.n)),
        rx_(arena.take<V>(plan.n)),
        r1_(arena.take<V>(plan.n)),
        dx_(arena.take<V>(plan.n)),
        best_x_(arena.take<V>(plan.n)),
        t1_(arena.take<V>(plan.n)),
        cx_(arena.take<V>(plan.n)),
        Ax_(arena.take<V>(plan.m)),
        rz_(arena.take<V>(plan.m)),
        r2_(arena.take<V>(plan.m)),
        dz_(arena.take<V>(plan.m)),
        h_(arena.take<V>(plan.m)),
        c_(arena.take<V>(plan.m)),
        best_z_(arena.take<V>(plan.m)),
        best_s_(arena.take<V>(plan.m)),
        t2_(arena.take<V>(plan.m)),
        cz_(arena.take<V>(plan.m)),
        saved_x_(arena.take<V>(plan.n)),
        saved_z_(arena.take<V>(plan.m)),
        saved_s_(arena.take<V>(plan.m)),
        active_(arena.take<M>(plan.m)) {}

  ProgramPack<V> program;
  Scaling<V> scaling;
  V *x, *z, *s;
  Outcome<V> outcome;

  // `shared_matrices`: P and A are already in every lane, scaled, and no load touches them.
  void run(Feed& feed, bool shared_matrices) {
    shared_matrices_ = shared_matrices;
    while (true) {
      admit(feed);
      if (!any(live()) || feed.stopped()) return;
      first_system();
      const M broken = kkt_.factorize(program.P, program.A, splat<V>(set_.regularization));
      solve(r1_, r2_);
      second_system();
      solve(r1_, r2_);
      advance(broken);
      settle_polish();
      evaluate(polish_ & ~fresh_);
      judge(feed);
    }
  }

 private:
  M live() const { return convexity_ | start_ | interior_ | polish_; }
  M out_of_iterations() const { return outcome.iterations >= static_cast<double>(set_.max_iterations); }
  bool is_equality(Index i) const { return i < plan_.zero; }

  // ---- admission -----------------------------------------------------------------------------------------------------------

  void admit(Feed& feed) {
    const M idle = ~live();
    if (!any(idle) || exhausted_) return;
    M loaded{};
    for (int lane = 0; lane < W; ++lane) {
      if (!idle[lane]) continue;
      if (!feed.load(lane)) {
        exhausted_ = true;
        break;
      }
      loaded[lane] = -1;
    }
    if (!any(loaded)) return;
    if (!shared_matrices_) scaling.scale_matrices(program, loaded, set_.equilibrate);
    // Norms of the user's q and b, for the termination test.
    V q = V{}, b = V{};
    for (Index j = 0; j < plan_.n; ++j) q = max(q, abs(program.q[j]));
    for (Index i = 0; i < plan_.m; ++i) b = max(b, abs(program.b[i]));
    q_norm_ = select(loaded, q, q_norm_);
    b_norm_ = select(loaded, b, b_norm_);
    scaling.scale_vectors(program, loaded, set_.equilibrate);

    const V zero = V{}, infinity = splat<V>(__builtin_inf());
    for (Index j = 0; j < plan_.n; ++j) x[j] = select(loaded, zero, x[j]);
    for (Index i = 0; i < plan_.m; ++i) {
      z[i] = select(loaded, zero, z[i]);
      s[i] = select(loaded, zero, s[i]);
      active_[i] &= ~loaded;
    }
    best_merit_ = select(loaded, infinity, best_merit_);
    outcome.iterations = select(loaded, zero, outcome.iterations);
    stable_ = select(loaded, zero, stable_);
    stalled_ = select(loaded, zero, stalled_);
    wait_ = select(loaded, zero, wait_);
    backoff_ = select(loaded, splat<V>(2.0), backoff_);
    convexity_ = check_convexity_ ? loaded : M{};
    begin(loaded & ~convexity_);
  }

  // ---- the two linear systems of a pass --------------------------------------------------------------------------------------

  void first_system() {
    const V delta = splat<V>(set_.regularization), one = splat<V>(1.0);
    const V polish_delta = splat<V>(polish_regularization);
    const bool lp = plan_.P.nnz() == 0;
    for (Index j = 0; j < plan_.n; ++j) {
      V r = -rx_[j];
      r = select(polish_, set_.regularization * x[j] - program.q[j], r);
      r = select(start_, lp ? V{} : -program.q[j], r);
      r1_[j] = r;
    }
    for (Index i = 0; i < plan_.m; ++i) {
      const V b = program.b[i];
      if (is_equality(i)) {
        h_[i] = select(polish_, polish_delta, delta);
        kkt_.e[i] = select(convexity_, V{}, one);
        kkt_.delta[i] = select(convexity_, one, h_[i]);
        r2_[i] = select(start_, b, select(polish_, b - polish_delta * z[i], -rz_[i]));
        continue;
      }
      V h = select(interior_, s[i] / z[i] + delta, one);
      h = select(polish_, polish_delta, h);
      h_[i] = h;
      const M off = convexity_ | (polish_ & ~active_[i]);
      // A kept row is scaled by e = (1 + h)^(-1/2), which bounds its pivot; a condensed one only needs e²/Δ = 1/h.
      V e2 = plan_.is_condensed(i) ? one : 1.0 / (1.0 + h);
      kkt_.e[i] = select(off, V{}, plan_.is_condensed(i) ? one : sqrt(e2));
      kkt_.delta[i] = select(off, one, h * e2);
      r2_[i] = select(start_, b, select(polish_, b - polish_delta * z[i], s[i] - rz_[i]));
    }
  }

  // Interior: centring and second-order terms from the affine direction in (dx_, dz_). Start: the dual half for linear programs.
  // Polish: the residual of the point just found.
  void second_system() {
    if (any(polish_ | start_)) keep_first_solution();
    if (any(interior_)) centre();
    const bool lp = plan_.P.nnz() == 0;
    for (Index j = 0; j < plan_.n; ++j) {
      V r = -rx_[j];
      r = select(polish_, -(Px_[j] + program.q[j] + Atz_[j]), r);
      r = select(start_, lp ? -program.q[j] : V{}, r);
      r1_[j] = r;
    }
    for (Index i = 0; i < plan_.m; ++i) {
      V r = -rz_[i];
      if (!is_equality(i)) r += c_[i];
      r = select(polish_, program.b[i] - Ax_[i], r);
      r2_[i] = select(start_, V{}, r);
    }
  }

  // Moves polishing lanes to the first solution, and starting lanes to the primal half of theirs.
  void keep_first_solution() {
    const M moved = polish_ | start_;
    for (Index j = 0; j < plan_.n; ++j) x[j] = select(moved, dx_[j], x[j]);
    for (Index i = 0; i < plan_.m; ++i) {
      z[i] = select(moved, dz_[i], z[i]);
      s[i] = select(start_, -dz_[i], s[i]);
    }
    if (any(polish_)) program.products(x, z, Px_, Ax_, Atz_);
  }

  // c = s + (ds_a dz_a - σμ e)/z with ds_a = -s - (s/z) dz_a; σ = (μ_aff/μ)³.
  void centre() {
    V primal = splat<V>(1.0), dual = splat<V>(1.0), cross = V{}, total = V{};
    for (Index i = plan_.zero; i < plan_.m; ++i) {
      const V ratio = dz_[i] / z[i];
      primal = max(primal, 1.0 + ratio);
      dual = max(dual, -ratio);
      c_[i] = -s[i] * (1.0 + ratio) * dz_[i];
      cross += c_[i];
      total += s[i] * z[i];
    }
    const V alpha = 1.0 / max(primal, dual);
    const double count = static_cast<double>(std::max<Index>(plan_.m - plan_.zero, 1));
    const V mu = total / count;
    const V mu_affine = (total * (1.0 - alpha) + alpha * alpha * cross) / count;
    const V ratio = min(max(mu_affine / mu, V{}), splat<V>(1.0));
    const V sigma = ratio * ratio * ratio;
    // The second-order term belongs to a full affine step. Where only a short one is possible, the iterate hugs the boundary and the
    // full term would keep it there; it is weighted by what a step of that length would see of it.
    const V second_order = select(alpha < short_step, alpha * alpha, splat<V>(1.0));
    mu_ = mu;
    for (Index i = plan_.zero; i < plan_.m; ++i) c_[i] = s[i] + (second_order * c_[i] - sigma * mu) / z[i];
  }

  // Solves for (dx_, dz_), refining once in lanes whose last directions were inaccurate.
  void solve(const V* r1, const V* r2) {
    kkt_.solve(program.A, r1, r2, dx_, dz_);
    if (!any(refine_)) return;
    program.products(dx_, dz_, t1_, t2_, cx_);
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = r1[j] - (t1_[j] + cx_[j] + set_.regularization * dx_[j]);
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = r2[i] - (t2_[i] - h_[i] * dz_[i]);
    kkt_.solve(program.A, t1_, t2_, cx_, cz_);
    for (Index j = 0; j < plan_.n; ++j) dx_[j] = select(refine_, dx_[j] + cx_[j], dx_[j]);
    for (Index i = 0; i < plan_.m; ++i) dz_[i] = select(refine_, dz_[i] + cz_[i], dz_[i]);
  }

  // ---- the step --------------------------------------------------------------------------------------------------------------

  void advance(M broken) {
    V primal = V{}, dual = V{};
    for (Index i = plan_.zero; i < plan_.m; ++i) {
      const V ds = -(c_[i] + (h_[i] - set_.regularization) * dz_[i]);
      c_[i] = ds;
      primal = max(primal, -ds / s[i]);
      dual = max(dual, -dz_[i] / z[i]);
    }
    const V one = splat<V>(1.0), tiny = splat<V>(1e-100);
    // Close to the solution the whole Newton step is wanted: the fraction to the boundary tends to 1 with μ.
    const V fraction = min(max(splat<V>(set_.step_fraction), 1.0 - mu_), splat<V>(0.9999));
    V alpha_primal = min(one, fraction / max(primal, tiny));
    V alpha_dual = min(one, fraction / max(dual, tiny));
    if (plan_.P.nnz() > 0) alpha_primal = alpha_dual = min(alpha_primal, alpha_dual);
    alpha_ = min(alpha_primal, alpha_dual);

    alpha_primal = select(interior_, alpha_primal, select(polish_, one, V{}));
    alpha_dual = select(interior_, alpha_dual, select(polish_, one, V{}));
    for (Index j = 0; j < plan_.n; ++j) x[j] += alpha_primal * select(interior_ | polish_, dx_[j], V{});
    for (Index i = 0; i < plan_.m; ++i) z[i] += alpha_dual * select(interior_ | polish_, dz_[i], V{});
    for (Index i = plan_.zero; i < plan_.m; ++i) s[i] += select(interior_, alpha_primal * c_[i], V{});
    if (any(start_)) begin_interior();
    outcome.iterations += select(interior_ | polish_, one, V{});
    fresh_ = start_ | convexity_;
    interior_ |= start_;
    start_ = M{};
    not_convex_ = convexity_ & broken;
    begin(convexity_ & ~broken);
    convexity_ = M{};
  }

  // Without inequalities there is nothing to guess: the problem is one linear system.
  void begin(M lanes) { (plan_.m == plan_.zero ? polish_ : start_) |= lanes; }

  // Refines polishing lanes until their linear systems are solved to rounding: the active rows may be almost dependent, and then the
  // proximal term leaves more than a factor of 1e-7 per solve. Leaves the products of (x, z).
  void settle_polish() {
    M busy = polish_ & ~fresh_;
    if (!any(busy)) return;
    program.products(x, z, Px_, Ax_, Atz_);
    V before = splat<V>(__builtin_inf());
    for (int pass = 0; pass < 4; ++pass) {
      V residual = V{}, size = V{};
      for (Index j = 0; j < plan_.n; ++j) {
        r1_[j] = -(Px_[j] + program.q[j] + Atz_[j]);
        residual = max(residual, abs(r1_[j]));
        size = max(size, abs(Px_[j]) + abs(program.q[j]) + abs(Atz_[j]));
      }
      for (Index i = 0; i < plan_.m; ++i) {
        r2_[i] = program.b[i] - Ax_[i];
        const V counted = is_equality(i) ? abs(r2_[i]) : select(active_[i], abs(r2_[i]), V{});
        residual = max(residual, counted);
        size = max(size, abs(program.b[i]) + abs(Ax_[i]));
      }
      busy &= (residual > 1e-14 * size) & (residual < 0.5 * before);
      if (!any(busy)) return;
      before = residual;
      kkt_.solve(program.A, r1_, r2_, dx_, dz_);
      for (Index j = 0; j < plan_.n; ++j) x[j] = select(busy, x[j] + dx_[j], x[j]);
      for (Index i = 0; i < plan_.m; ++i) z[i] = select(busy, z[i] + dz_[i], z[i]);
      program.products(x, z, Px_, Ax_, Atz_);
    }
  }

  // Shifts s and z of starting lanes into the interior (as Clarabel does: margin at least max(1, a tenth of the mean)).
  void begin_interior() {
    if (plan_.P.nnz() == 0)
      for (Index i = 0; i < plan_.m; ++i) z[i] = select(start_, dz_[i], z[i]);
    const auto shift = [&](V* v) {
      V margin = splat<V>(__builtin_inf()), positive = V{};
      for (Index i = plan_.zero; i < plan_.m; ++i) {
        margin = min(margin, v[i]);
        positive += max(v[i], V{});
      }
      const V target = max(splat<V>(1.0), 0.1 / static_cast<double>(plan_.m - plan_.zero) * positive);
      const V lift = select(start_ & (margin < target), target - margin, V{});
      for (Index i = plan_.zero; i < plan_.m; ++i) v[i] += lift;
    };
    shift(s);
    shift(z);
  }

  // ---- residuals -------------------------------------------------------------------------------------------------------------

  // Residuals, norms and tests of every lane; `polished` lanes have just been solved for and are projected on the cone first.
  void evaluate(M polished = M{}) {
    if (any(polished))
      project(polished);  // settle_polish has left the products of this point
    else
      program.products(x, z, Px_, Ax_, Atz_);
    const V c_inverse = 1.0 / scaling.c;
    V quadratic = V{}, linear = V{}, dual = V{}, x_norm = V{}, Px_norm = V{}, Atz_norm = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      const V r = Px_[j] + program.q[j] + Atz_[j];
      const V unscale = scaling.D_inverse[j] * c_inverse;
      rx_[j] = r;
      quadratic += x[j] * Px_[j];
      linear += program.q[j] * x[j];
      dual = max(dual, abs(r) * unscale);
      Px_norm = max(Px_norm, abs(Px_[j]) * unscale);
      Atz_norm = max(Atz_norm, abs(Atz_[j]) * unscale);
      x_norm = max(x_norm, abs(x[j]) * scaling.D[j]);
    }
    V bz = V{}, primal = V{}, s_norm = V{}, z_norm = V{}, ray = V{};
    for (Index i = 0; i < plan_.m; ++i) {
      const V slack = is_equality(i) ? V{} : s[i];
      const V r = Ax_[i] + slack - program.b[i];
      rz_[i] = r;
      bz += program.b[i] * z[i];
      primal = max(primal, abs(r) * scaling.E_inverse[i]);
      ray = max(ray, abs(Ax_[i] + slack) * scaling.E_inverse[i]);
      s_norm = max(s_norm, abs(slack) * scaling.E_inverse[i]);
      z_norm = max(z_norm, abs(z[i]) * scaling.E[i]);
    }
    const V one = splat<V>(1.0);
    z_norm *= c_inverse;
    const V primal_objective = (0.5 * quadratic + linear) * c_inverse;
    const V dual_objective = -(0.5 * quadratic + bz) * c_inverse;
    const V difference = abs(primal_objective - dual_objective);

    outcome.primal_residual = primal / max(one, b_norm_ + x_norm + s_norm);
    const V dual_before = outcome.dual_residual;
    outcome.dual_residual = dual / max(one, q_norm_ + x_norm + z_norm);
    outcome.gap = difference / max(one, min(abs(primal_objective), abs(dual_objective)));
    outcome.objective = primal_objective;
    merit_ = max(max(outcome.primal_residual, outcome.dual_residual), outcome.gap);
    // NaN compares false both ways: make it infinite so that every test below sees a bad point.
    merit_ = select(merit_ < splat<V>(1e300), merit_, splat<V>(__builtin_inf()));
    drift_ = outcome.dual_residual > max(splat<V>(set_.target), 2.0 * (1.0 - alpha_) * dual_before + 1e-3 * dual_before);

    certify(bz * c_inverse, Atz_norm, linear * c_inverse, max(Px_norm, ray));
  }

  // How far z is from a proof of primal infeasibility, b'z < 0 and A'z = 0 (Farkas), and x from one of dual infeasibility, q'x < 0
  // and Px = 0, Ax ∈ -K: the violation relative to the gain, in units of b or q.
  void certify(V bz, V Atz_norm, V qx, V ray_norm) {
    const V one = splat<V>(1.0), infinity = splat<V>(__builtin_inf());
    no_primal_ = select(bz < 0.0, Atz_norm * max(one, b_norm_) / -bz, infinity);
    no_dual_ = select(qx < 0.0, ray_norm * max(one, q_norm_) / -qx, infinity);
  }

  // Finishes lanes that are proven infeasible to the tolerance.
  void finish_infeasible(Feed& feed, M& lanes, double tolerance) {
    finish_and_drop(feed, lanes, (no_primal_ < tolerance) & (merit_ > set_.tolerance), Status::primal_infeasible);
    finish_and_drop(feed, lanes, (no_dual_ < tolerance) & (merit_ > set_.tolerance), Status::dual_infeasible);
  }

  // Polished lanes: s = b - Ax off the active set, z = 0 there. Signs that come out wrong are counted in wrong_ and the
  // active set becomes {z > 0} ∪ {s < 0}.
  void project(M polished) {
    wrong_ = V{};
    for (Index i = plan_.zero; i < plan_.m; ++i) {
      const V slack = program.b[i] - Ax_[i];
      const M active = active_[i];
      wrong_ += select(select(active, z[i], slack) < -polish_tolerance, splat<V>(1.0), V{});
      s[i] = select(polished, select(active, V{}, max(slack, V{})), s[i]);
      active_[i] = (active_[i] & ~polished) | (polished & ((active & (z[i] > 0.0)) | (~active & (slack < 0.0))));
      z[i] = select(polished, select(active, max(z[i], V{}), V{}), z[i]);
    }
  }

  // ---- decisions -------------------------------------------------------------------------------------------------------------

  void judge(Feed& feed) {
    finish(feed, not_convex_, Status::invalid_input);
    M inner = interior_ & ~fresh_;
    const M tried = polish_ & ~fresh_;
    const M better = inner & (merit_ < best_merit_);
    const M progress = better & (merit_ < 0.5 * best_merit_);
    if (any(better)) {
      for (Index j = 0; j < plan_.n; ++j) best_x_[j] = select(better, x[j], best_x_[j]);
      for (Index i = 0; i < plan_.m; ++i) {
        best_z_[i] = select(better, z[i], best_z_[i]);
        best_s_[i] = select(better, s[i], best_s_[i]);
      }
      best_merit_ = select(better, merit_, best_merit_);
    }
    stalled_ = select(inner, select(progress, V{}, stalled_ + 1.0), stalled_);
    refine_ = (refine_ | (inner & drift_)) & interior_;

    const M polished = tried & (wrong_ == 0.0) & (merit_ <= splat<V>(polish_accept));
    finish(feed, polished, Status::solved);
    if (plan_.m == plan_.zero)
      repeat_equalities(feed, tried & ~polished);
    else
      leave_polish(tried & ~polished);

    finish_infeasible(feed, inner, set_.infeasibility_tolerance);
    finish_and_drop(feed, inner, merit_ <= set_.target, Status::solved);

    if (set_.polish && plan_.m > plan_.zero) enter_polish(inner);
    inner &= interior_;

    // Solved, but no longer improving; or never going to.
    const M good = best_merit_ <= set_.tolerance;
    const M limit = out_of_iterations();
    const M hopeless = (stalled_ >= 25.0) | (alpha_ < 1e-9) | ~(merit_ < __builtin_inf());
    M over = inner & (limit | hopeless | (good & (stalled_ >= 3.0)));
    if (any(over)) {
      const M almost = best_merit_ <= set_.reduced_tolerance;
      M unsolved = over & ~almost;
      finish_infeasible(feed, unsolved, set_.reduced_tolerance);
      over &= unsolved | almost;
      restore_best(over);
      finish_and_drop(feed, inner, over & good, Status::solved);
      finish_and_drop(feed, inner, over & almost, Status::almost_solved);
      finish_and_drop(feed, inner, over & limit, Status::max_iterations);
      finish_and_drop(feed, inner, over & ~(best_merit_ < __builtin_inf()), Status::numerical_error);
      finish_and_drop(feed, inner, over, Status::insufficient_progress);
    }
  }

  void finish_and_drop(Feed& feed, M& lanes, M which, Status status) {
    which &= lanes;
    finish(feed, which, status);
    lanes &= ~which;
  }

  void finish(Feed& feed, M lanes, Status status) {
    if (!any(lanes)) return;
    for (int lane = 0; lane < W; ++lane)
      if (lanes[lane]) feed.store(lane, status);
    interior_ &= ~lanes;
    polish_ &= ~lanes;
    refine_ &= ~lanes;
  }

  // Guesses {s < z} once it has stopped changing, or at the latest when the iterate is a solution already.
  void enter_polish(M inner) {
    M same = ~M{};
    for (Index i = plan_.zero; i < plan_.m; ++i) {
      const M guess = s[i] < z[i];
      same &= ~(guess ^ active_[i]);
      active_[i] = select_mask(inner, guess, active_[i]);
    }
    stable_ = select(inner, select(same, stable_ + 1.0, V{}), stable_);
    wait_ = select(inner, max(wait_ - 1.0, V{}), wait_);
    const M ready = ((stable_ >= 1.0) & (wait_ <= 0.0)) | ((merit_ <= set_.tolerance) & (stalled_ == 2.0));
    const M enter = inner & ready & ~out_of_iterations();
    if (!any(enter)) return;
    for (Index j = 0; j < plan_.n; ++j) saved_x_[j] = select(enter, x[j], saved_x_[j]);
    for (Index i = 0; i < plan_.m; ++i) {
      saved_z_[i] = select(enter, z[i], saved_z_[i]);
      saved_s_[i] = select(enter, s[i], saved_s_[i]);
    }
    tries_ = select(enter, V{}, tries_);
    last_wrong_ = select(enter, splat<V>(__builtin_inf()), last_wrong_);
    polish_ |= enter;
    interior_ &= ~enter;
  }

  // Failed attempts try the updated set while fewer and fewer signs are wrong; then they go back to the interior iterate and wait longer.
  void leave_polish(M failed) {
    if (!any(failed)) return;
    tries_ = select(failed, tries_ + 1.0, tries_);
    const M again = failed & (wrong_ > 0.0) & (wrong_ < last_wrong_) & (tries_ < most_tries) & ~out_of_iterations();
    last_wrong_ = select(failed, wrong_, last_wrong_);
    const M back = failed & ~again;
    for (Index j = 0; j < plan_.n; ++j) x[j] = select(back, saved_x_[j], x[j]);
    for (Index i = 0; i < plan_.m; ++i) {
      z[i] = select(back, saved_z_[i], z[i]);
      s[i] = select(back, saved_s_[i], s[i]);
    }
    wait_ = select(back, backoff_, wait_);
    backoff_ = select(back, 2.0 * backoff_, backoff_);
    polish_ &= ~back;
    interior_ |= back;
    if (any(back)) evaluate();
  }

  // Equality-constrained instances that one proximal step did not settle take another, from where it led, until they are solved
  // or show that they cannot be: the steps (dx, dz) of the proximal point method tend to a certificate (Banjac et al. 2019).
  void repeat_equalities(Feed& feed, M lanes) {
    if (!any(lanes)) return;
    program.products(dx_, dz_, t1_, t2_, cx_);
    const V c_inverse = 1.0 / scaling.c;
    V bz = V{}, qx = V{}, Atz_norm = V{}, ray_norm = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      const V unscale = scaling.D_inverse[j] * c_inverse;
      qx += program.q[j] * dx_[j];
      ray_norm = max(ray_norm, abs(t1_[j]) * unscale);
      Atz_norm = max(Atz_norm, abs(cx_[j]) * unscale);
    }
    for (Index i = 0; i < plan_.m; ++i) {
      bz += program.b[i] * dz_[i];
      ray_norm = max(ray_norm, abs(t2_[i]) * scaling.E_inverse[i]);
    }
    certify(bz * c_inverse, Atz_norm, qx * c_inverse, ray_norm);
    finish_infeasible(feed, lanes, set_.infeasibility_tolerance);
    const M over = outcome.iterations >= 20.0;
    finish_and_drop(feed, lanes, over & (merit_ <= set_.tolerance), Status::solved);
    finish_and_drop(feed, lanes, over & (merit_ <= set_.reduced_tolerance), Status::almost_solved);
    finish_and_drop(feed, lanes, over, Status::insufficient_progress);
  }

  void restore_best(M lanes) {
    for (Index j = 0; j < plan_.n; ++j) x[j] = select(lanes, best_x_[j], x[j]);
    for (Index i = 0; i < plan_.m; ++i) {
      z[i] = select(lanes, best_z_[i], z[i]);
      s[i] = select(lanes, best_s_[i], s[i]);
    }
    evaluate();
  }

  static M select_mask(M mask, M a, M b) { return (mask & a) | (~mask & b); }

  static constexpr double polish_regularization = 1e-7;
  static constexpr double polish_tolerance = 1e-11;
  static constexpr double polish_accept = 1e-10;
  static constexpr double most_tries = 8.0;
  static constexpr double short_step = 0.3;

  const Plan& plan_;
  const Settings& set_;
  const bool check_convexity_;
  bool shared_matrices_ = false, exhausted_ = false;
  Kkt<V> kkt_;
  V *Px_, *Atz_, *rx_, *r1_, *dx_, *best_x_, *t1_, *cx_;
  V *Ax_, *rz_, *r2_, *dz_, *h_, *c_, *best_z_, *best_s_, *t2_, *cz_;
  V *saved_x_, *saved_z_, *saved_s_;
  M* active_;
  M convexity_{}, start_{}, interior_{}, polish_{}, fresh_{}, refine_{}, not_convex_{}, drift_{};
  V no_primal_{}, no_dual_{}, q_norm_{}, b_norm_{}, mu_{}, alpha_{}, merit_{}, best_merit_{}, wrong_{}, last_wrong_{};
  V stable_{}, stalled_{}, wait_{}, backoff_{}, tries_{};
};

}  // namespace cvxl::CVXL_ISA
