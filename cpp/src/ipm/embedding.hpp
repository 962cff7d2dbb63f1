#pragma once
// What the homogeneous loop keeps of the W instances in its lanes, and how far their points are from solutions and certificates.
//
// Homogeneous embedding with quadratic objective (Goulart and Chen, "Clarabel", arXiv 2405.12762): τ, κ ≥ 0 and
//
//     Px + A'z + qτ = 0,   Ax + s - bτ = 0,   q'x + b'z + κ + x'Px/τ = 0,   s ∈ K, z ∈ K*, s'z = τκ = 0.
//
// τ > 0: (x, z, s)/τ is a solution; κ > 0: z or x is a certificate of infeasibility.

#include "cones/cones.hpp"
#include "ipm/merit.hpp"

namespace cvxl::CVXL_ISA {

// Room for what is left of a system, a direction, and its image (ipm/sharpen.hpp).
template <class V>
struct Conjugates {
  V *left_x, *left_z, *p_x, *p_z, *image_x, *image_z;
};

template <class V>
struct Embedding : Iterate<V> {
  using M = MaskOf<V>;
  static constexpr bool takes_points = false;

  Cones<V> cones;
  ProgramPack<V> rotated;           // the program with the rows of A in the frames of the cones

  V tau{}, kappa{};                 // of the iterate; best points are divided by their τ
  V rtau{};                         // residual of the third equation
  V* ds;                            // of the direction
  V *x1, *z1, *x2, *z2;             // solutions of the two systems it is made of, multipliers in the frames
  V* c;                             // complementarity
  V* b;                             // of the program, in the frames
  V *t3, *image;                    // scratch, as t1
  V* H;                             // per row, in the frames: of the system being solved
  M* off;                           // rows that it leaves out
  M* active;                        // per inequality: s shrank faster than z on the way to the best point
  Conjugates<V> room;               // of directions that are sharpened
  V* w;                             // s - κz after a step of the polish
  V* balance;                       // κ of the polish, per row and the same within a block
  V saved_tau{}, saved_kappa{};

  M dual{};                         // lanes that have given up the primal-dual scaling
  M last{};                         // lanes that end with their polish, whatever it brings
  V shrinks{}, residual{};          // what the last step leaves of the residuals if it is exact; the largest before it
  M stiff{};                        // lanes in which refinement does not undo proximal terms
  V of_columns{};                   // the part of the relative gap that residuals of columns make
  V polish_at{};                    // merit at which the next polish is tried
  Moved<V> moved;
  V last_merit{}, misses{};         // of a polish: the merit before its last step, steps that did not help
  V flatness{}, step{};             // of a polish: √κ of its flattest block, at least 1; the length of its last step
  V left{};                         // by how much the best point may be off where that is more
  M shortens{};                     // lanes in which that was much shorter than the one before

  CVXL_HD Embedding(const PlanView& p, const Settings& options, Arena& arena)
      : Iterate<V>(p, options, arena), cones(p, arena), rotated(this->program) {
    if constexpr (has_cones<V>) rotated.A = arena.take<V>(p.A.indices.size());
    for (V** v : {&x1, &x2, &t3, &image}) *v = arena.take<V>(p.n);
    for (V** v : {&ds, &z1, &z2, &c, &b, &H, &w, &balance}) *v = arena.take<V>(p.m);
    for (V** v : {&room.left_x, &room.p_x, &room.image_x}) *v = arena.take<V>(p.n);
    for (V** v : {&room.left_z, &room.p_z, &room.image_z}) *v = arena.take<V>(p.m);
    for (M** v : {&off, &active}) *v = arena.take<M>(p.m);
    cones.lend_frames(this->kkt);
  }
};

// What the data are multiplied by at the iterate.
template <class V>
CVXL_HD V homogenized(const Embedding<V>& st) {
  return st.tau;
}

// The largest |s'z| of a block relative to its own s and z, and to what is far below the largest multiplier; `scale` = 1/(c τ).
template <class V>
CVXL_INLINE V complementarity_of_blocks(const Embedding<V>& st, V weight, V scale) {
  const V one = splat<V>(1.0), tau_inverse = 1.0 / st.tau;
  V complement = V{};
  for (const ConeBlock& cone : st.plan.cones) {
    V product = V{}, size = V{}, own = far_below * weight;
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      product += st.s[i] * st.z[i];
      size = max(size, abs(st.s[i]) * st.scaling.E_inverse[i]);
      own = max(own, abs(st.z[i]) * st.scaling.E[i]);
    }
    complement = max(complement, abs(product) * scale * tau_inverse / (max(one, size * tau_inverse) * max(one, own * scale)));
  }
  return complement;
}

// Residuals, merit and certificates of every lane, in the user's units; the tests are those of ipm/residuals.hpp at the point
// divided by τ. Rows of a cone are taken together, since it turns them into each other.
template <class V>
CVXL_SEAM void evaluate(Embedding<V>& st) {
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  const V one = splat<V>(1.0), c_inverse = 1.0 / st.scaling.c, tau_inverse = 1.0 / st.tau;
  Proofs<V> proofs;
  const Columns<V> columns = assess_columns(st, proofs);
  V error = columns.error;
  V sz = V{}, primal = V{}, absolute = V{}, of_cones = V{}, s_norm = V{}, z_norm = V{}, weight = V{}, complement = V{};
  const V scale = c_inverse * tau_inverse;
  each<V>(st.plan.m, sums(error, sz), maxima(primal, absolute, of_cones, s_norm, z_norm, weight, complement),
          proofs.primal.gaining(), proofs.dual.violating(), [&](Index i) {
            const V slack = st.is_equality(i) ? V{} : st.s[i];
            const V r = st.Ax[i] + slack - st.program.b[i] * st.tau;
            st.rz[i] = r;
            sz += slack * st.z[i];
            const V unscale = st.scaling.E_inverse[i], z = abs(st.z[i]) * st.scaling.E[i];
            error += abs(r * st.z[i]);
            proofs.primal.gain(st.program.b[i], st.z[i]);
            proofs.dual.violate(st.Ax[i] + slack, unscale);
            z_norm = max(z_norm, z);
            if (!st.is_equality(i)) weight = max(weight, z);
            const V residual = abs(r) * unscale * tau_inverse;
            absolute = max(absolute, residual);
            if (i < st.plan.orthant_end) {
              primal = max(primal, residual / max(one, abs(st.program.b[i]) * unscale +
                                                           (abs(slack) * unscale + columns.x_norm) * tau_inverse));
              complement = max(complement, min(slack * unscale * tau_inverse, one) * z * scale);
            } else {
              of_cones = max(of_cones, residual);
              s_norm = max(s_norm, abs(slack) * unscale);
            }
          });
  primal = max(primal, of_cones / max(one, st.b_norm + (columns.x_norm + s_norm) * tau_inverse));
  complement /= max(one, weight * scale);
  complement = max(complement, complementarity_of_blocks(st, weight, scale));
  const V linear = -proofs.dual.gained, bz = -proofs.primal.gained;
  st.rtau = linear + bz + st.kappa + columns.quadratic * tau_inverse;
  st.mu = (sz + st.tau * st.kappa) / (st.cones.degree() + 1.0);

  const V half = 0.5 * columns.quadratic * tau_inverse * tau_inverse;
  const V primal_objective = (half + linear * tau_inverse) * c_inverse, dual_objective = -(half + bz * tau_inverse) * c_inverse;
  st.absolute = max(absolute, columns.residual * tau_inverse);
  st.outcome.primal_residual = primal;
  st.outcome.dual_residual =
      columns.residual * tau_inverse / max(one, st.q_norm + (columns.x_norm + z_norm * c_inverse) * tau_inverse);
  st.of_columns = relative_gap(columns.error * scale * tau_inverse, primal_objective, dual_objective, V{});
  st.outcome.gap = relative_gap((error + abs(sz)) * scale * tau_inverse, primal_objective, dual_objective, complement);
  st.outcome.objective = primal_objective;
  set_merit(st, proofs);
}

}  // namespace cvxl::CVXL_ISA
