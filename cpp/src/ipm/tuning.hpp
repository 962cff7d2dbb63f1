#pragma once
// Every threshold of the loops that users do not set (cvxl/settings.hpp has those that they do), by what it decides. Lengths and
// residuals are in equilibrated units, merits relative (ipm/relative.hpp). Where no source is named the value is this project's
// own: `python -m benchmarks.truth`, `.conic_truth` and `.edges` tell what a change of it does.

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// ---- both loops ----

inline constexpr double progress = 0.5;           // of the merit: less is progress; of residuals in refinements: less goes on
inline constexpr double least_margin = 0.1;       // of the mean: what slacks and multipliers are lifted to, or to 1 (Clarabel)
inline constexpr double behind_twice = 2.0;       // a residual that shrinks less than half as far as its step should, …
inline constexpr double behind = 1e-3;            // … and is more than this part of the one before, calls for refined directions
inline constexpr double unseen = 1e-3;            // … unless it is so small a part of the merit
inline constexpr double polish_regularization =
    1e-7;  // active rows are equalities there: condensed, they add 1/δ, whose rounding must
                                                       // stay below ρ = δ where P leaves it alone
inline constexpr double loosest = 1e-14;          // proximal terms of a second attempt
inline constexpr double most_flat = 3e3, flatter = 30.0;  // of a polish (ipm/relative.hpp), and what it is raised by at a time
inline constexpr double one_rate = 1e-6;          // steps of a polish below it shrink at one rate
inline constexpr double far_away = 1e4;           // times all other data: bounds that stay out of the starting point
inline constexpr double far_below = 1e-9;         // of the largest multiplier: what a cone's own multipliers count against
inline constexpr double rounding_of_terms = 1e-14;  // of the largest column: residuals below it are none
inline constexpr double rounding_of_gain = 1e-12;   // of its terms: a certificate's gain below it is none

// ---- the quadratic loop ----

inline constexpr double short_step = 0.3;         // affine steps below it weigh the second-order term
inline constexpr double longest_fraction = 0.9999;  // of the way to the boundary, which 1 - μ tends to
inline constexpr double sign_tolerance = 1e-11;   // of slacks and multipliers in a polish
inline constexpr double clearly_wrong = 1e-6;     // of them, in an opening: such a solution is not refined
inline constexpr double polish_accept = 1e-10;    // of its merit
inline constexpr double refined = 1e-14;          // of the sizes of its terms: residual at which a polish is solved
inline constexpr int polish_refinements = 4, most_polish_refinements = 16;  // of a polish, and of one with a gap
inline constexpr double most_tries = 8.0;         // of active sets in one polish
inline constexpr double softness = 10.0;          // of inequalities in a start whose multipliers guess the active set, …
inline constexpr double patience = 2.0;           // … which may come out with no fewer wrong signs so often in a row, …
inline constexpr double most_opening_tries = 12.0;  // … and be changed so often
inline constexpr double rates_tell = 1e-2;        // merit from which on rates of s and z say which of them tends to zero
inline constexpr double first_wait = 2.0;         // passes after a polish that failed; each doubles it
inline constexpr double most_repeats = 20.0;      // of the proximal step, without inequalities
inline constexpr double quadratic_idle = 3.0;     // passes without progress that end a lane that is solved, …
inline constexpr double quadratic_lost = 25.0;    // … and one that is not
inline constexpr double quadratic_suspects = 2.0;  // passes without progress after which rounding of the data is suspected
inline constexpr double quadratic_stuck = 1e-9;   // a step that gets nowhere

// ---- the homogeneous loop ----

inline constexpr int refinements = 3;             // of a direction, down to …
inline constexpr double refined_direction = 1e-13, refined_least = 1e-15;  // … the one times its right-hand side and the other τ
inline constexpr double stagnant = 1e-9;  // of the right-hand side: what refinement must not leave, or conjugate residuals …
inline constexpr double sharp_direction = 1e-10;  // … take over, down to this part of x
inline constexpr double tightest = 1e-7;  // proximal terms where smaller ones leave the factor to rounding
inline constexpr double tightened = 10.0;  // what they are raised by at a time
inline constexpr double nearly_whole = 1.0 - 1.5e-8;  // step: the longest that is searched for cones without a formula
inline constexpr double kept_away = 0.95;  // fraction of the way to a curved boundary, far from the solution
inline constexpr double off_centre = 1.0;  // barrier beyond the least possible that a step may end with; it is shortened …
inline constexpr double recentring = 0.8;  // … by this factor, …
inline constexpr int recentrings = 50;  // … this often
inline constexpr double conic_idle = 2.0, conic_lost = 30.0, conic_suspects = 3.0;  // as for the quadratic loop
inline constexpr double conic_stuck = 1e-4;  // as there; with exponential or power cones steps below …
inline constexpr double conic_slow = 0.1;  // … this one already turn to the more robust scaling
inline constexpr double first_polish = 5e-2;  // merit at which a polish is tried, …
inline constexpr double later_polish = 1e-2;  // … and how much smaller it must be after one that failed
inline constexpr double polish_helps = 0.3;  // of the merit before a step of a polish
inline constexpr double polish_converges = 1e-6;  // merit from which on it should do so quadratically
inline constexpr double polish_diverges = 1e3;  // merit
inline constexpr double polished_enough = 1e-13;  // merit
inline constexpr int sharpenings = 8;  // of a step of a polish where the objective is flat, …
inline constexpr double sharp = 1e-6;  // … until this part of it is left
inline constexpr double most_misses = 2.0;  // steps of a polish that do not help
inline constexpr double on_boundary = 1e-13;  // of 1 - D: multipliers of such rows are zero
inline constexpr double most_unbalanced = 1e3;  // ratio of s and z from which on a block is balanced
inline constexpr double apart = 1e-2;  // of cos² of the angle between s and z of a block: both are on the boundary
inline constexpr double settled_within = 0.2;  // of its size: what the last step may have moved a block that is balanced

// ---- data in single precision (ipm/rounding.hpp) ----

inline constexpr double most_moves = 3.0;  // of b
inline constexpr double suspicious = 1e-4;  // distance from a certificate that calls for a look at the equalities

}  // namespace cvxl::CVXL_ISA
