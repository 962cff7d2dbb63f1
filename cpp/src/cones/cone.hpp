#pragma once
// The contract of a cone block: what the product of cones (cones.hpp) asks of each. A block holds the scaling, the frame and the
// units of one cone of K in a pack of lanes; its arrays lie in the arena, so that it is copied as plain bytes.
//
// Vectors have one entry per row of the block. At a point (s, z) a block gives a scaling H, symmetric and positive definite, and at
// w = s - z the derivative DΠ(w) of the projection on the cone; each is diagonal in a frame T, T H T' = diag(h) (rotation.hpp). The
// frame is that of the last `scale` or `differentiate`; no other member changes it.

#include <algorithm>
#include <concepts>
#include <type_traits>

#include "cones/rotation.hpp"
#include "lanes/arena.hpp"

namespace cvxl::CVXL_ISA {

// A function of a tied row and its lanes, as `differentiate` takes it.
template <class V>
using TieLanes = void (*)(Index, MaskOf<V>);

template <class Block, class V>
concept ConeContract = std::is_trivially_copyable_v<Block> && std::constructible_from<Block, const Cone&, Arena&> &&
                       requires(Block block, const Block fixed, const Cone& cone, const V* in, V* out, V value, MaskOf<V> lanes,
                                const Noise<V>& noise, TieLanes<V> tie, Index count, const double* numbers, double* scratch) {
                         // Whether the scaling is Nesterov and Todd's, H z = s of one automorphism of the cone; then `Symmetric` holds too.
                         { Block::symmetric } -> std::convertible_to<bool>;
                         // ν of the barriers: f(λs) = f(s) - ν log λ.
                         { Block::degree(cone) } -> std::same_as<double>;

                         // central(u): u = -∇f*(u), the point s = z of the central path at μ = 1.
                         { fixed.central(out) } -> std::same_as<void>;
                         // scale(s, z, μ, dual, lanes, frames, h): in the given lanes H at the interior point (s, z), H z = s, a frame T and
                         // h, T H T' = diag(h); anything in the others. Blocks that are not symmetric take μ∇²f*(z) in the `dual` lanes; μ = 0: their
                         // own.
                         { block.scale(in, in, value, lanes, lanes, Frames::any, out) } -> std::same_as<void>;
                         // complement(s, z, ds, dz, m, σμ, c): with the scaling at (s, z), c of ds' + H dz' = -c, the direction that centres to σμ,
                         // with m times the second-order terms of the affine direction (ds, dz). c is no other argument.
                         { fixed.complement(in, in, in, in, value, value, out) } -> std::same_as<void>;

                         // reach(s, ds, z, dz): 1/α for the largest α that keeps s + α ds and z + α dz inside, with the scaling at (s, z); 0 if all
                         // do, or if only `contains`(s, ds, z, dz, α), whether they do at this α, can tell. One of both is exact, the other always
                         // content.
                         { fixed.reach(in, in, in, in) } -> std::same_as<V>;
                         { fixed.contains(in, in, in, in, value) } -> std::same_as<MaskOf<V>>;
                         // barrier(s, ds, z, dz, α): f(s + α ds) + f*(z + α dz), up to a constant.
                         { fixed.barrier(in, in, in, in, value) } -> std::same_as<V>;

                         // differentiate(s, z, d, rest, noise, tie, lanes): eigenvalues d of DΠ(w) and 1 - d, without cancellation, for complementary
                         // s and z; writes the given lanes. tie(i, lanes) gets those in which Π has no derivative: s and z of row i of the frame
                         // vanish within `noise`.
                         { block.differentiate(in, in, out, out, noise, tie, lanes) } -> std::same_as<void>;
                         // cosine2(s, z): cos² of the angle between s and z, where the block has units in them.
                         { fixed.cosine2(in, in) } -> std::same_as<V>;
                         // choose_units(s, z, most, settled, lanes): units in which s and z, and the entries of either, are of sizes within `most`, in
                         // lanes that are not settled the user's; whether the block has units at all.
                         { block.choose_units(in, in, 1.0, lanes, lanes) } -> std::same_as<bool>;
                         // difference(u, v, w): w = u - v in those units.
                         { fixed.difference(in, in, out) } -> std::same_as<void>;
                         // project(w, μ, s, z, lanes): μ = 0: s = Π(w), z = s - w for w in the block's units, from a pair that is close, in the given
                         // lanes. μ > 0: the point of the central path, s = -μ∇f*(z), with s - z = w.
                         { fixed.project(in, value, out, out, lanes) } -> std::same_as<void>;

                         // forward(A, columns, sums): A ← T A, rows × columns by rows; back: A ← T'A; inverse: a ← T⁻¹a, one column. `sums` has room
                         // for a number per column.
                         { fixed.forward(out, count, out) } -> std::same_as<void>;
                         { fixed.back(out, count, out) } -> std::same_as<void>;
                         { fixed.inverse(out, out) } -> std::same_as<void>;
                         // In the frame, all arguments too: D²Π(w)[h, k] at (w, h, k, ·) after `differentiate`; μ∇³f*(z)[h, k] at (s, z, h, k, ·) of
                         // the central path after `scale`.
                         { fixed.projection_second_derivative(in, in, in, out) } -> std::same_as<void>;
                         { fixed.barrier_third_derivative(in, in, in, in, out) } -> std::same_as<void>;

                         // One instance, of the solution (s, z): its distance from the nearest point where Π is not differentiable (margin.hpp).
                         { Block::margin(cone, numbers, numbers, scratch) } -> std::same_as<double>;
                         { Block::margin_scratch(cone) } -> std::same_as<std::size_t>;
                       } &&
                       (!Block::symmetric || requires(const Block fixed, const V* in, V* out, V value) {
                         // The least eigenvalue of u, or a bound below it; lift(u, by) adds `by` to all of them.
                         { fixed.least_eigenvalue(in) } -> std::same_as<V>;
                         { fixed.lift(out, value) } -> std::same_as<void>;
                       });

template <class V>
CVXL_INLINE void subtract(const V* u, const V* v, V* w, Index rows) {
  for (Index i = 0; i < rows; ++i) w[i] = u[i] - v[i];
}

// cos² of the angle between s and z.
template <class V>
V cosine2(const V* s, const V* z, Index rows) {
  V product = V{}, s2 = V{}, z2 = V{};
  for (Index i = 0; i < rows; ++i) {
    product += s[i] * z[i];
    s2 += s[i] * s[i];
    z2 += z[i] * z[i];
  }
  return product * product / max(s2 * z2, splat<V>(1e-300));
}

}  // namespace cvxl::CVXL_ISA
