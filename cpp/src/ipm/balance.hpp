#pragma once
// κ of a polish (ipm/conic_polish.hpp): units in which s and z of a block, or of an inequality, are of one size.

#include "ipm/embedding.hpp"

namespace cvxl::CVXL_ISA {

// |s|², |z|² and s'z of a block.
template <class V>
struct Sides {
  V s2{}, z2{}, product{};

  // Whether s and z are all but orthogonal, and neither is zero: then both are on the boundary, whatever their sizes. Where a block
  // tends to its apex, or its multiplier to zero, the one is as far inside as the other.
  CVXL_HD MaskOf<V> are_apart() const { return (product * product < apart * s2 * z2) & (s2 > 0.0) & (z2 > 0.0); }

  CVXL_HD V ratio() const {
    const V tiny = splat<V>(1e-100);
    return sqrt(max(s2, tiny) / max(z2, tiny));
  }
};

// Flatness, and κ = |s|/|z| on blocks that end on the boundary: those that are `settled`(block, sides) and, in a polish that is the
// last resort, those that are apart. Units of blocks are chosen in lanes that start. Returns the lanes in which κ of a block has
// changed much.
template <class V, class Settled>
CVXL_HD MaskOf<V> choose_balance(Embedding<V>& st, MaskOf<V> lanes, MaskOf<V> starting, Settled&& settled) {
  const V one = splat<V>(1.0);
  V flattest = one;
  MaskOf<V> changed{};
  for (std::size_t k = 0; k < st.plan.cones.size(); ++k) {
    const ConeBlock& cone = st.plan.cones[k];
    Sides<V> sides;
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      sides.s2 += st.s[i] * st.s[i];
      sides.z2 += st.z[i] * st.z[i];
      sides.product += st.s[i] * st.z[i];
    }
    const MaskOf<V> is_settled = settled(cone, sides);
    const bool has_units = st.cones.choose_units(k, st.s, st.z, most_unbalanced, is_settled, starting);
    const V ratio = sides.ratio(), before = st.balance[cone.first];
    flattest = max(flattest, select((is_settled | st.last) & (ratio > most_unbalanced), ratio, one));
    if (has_units) continue;
    const MaskOf<V> ends = is_settled | (st.last & sides.are_apart());
    const V kappa = select(ends & ((ratio < 1.0 / most_unbalanced) | (ratio > most_unbalanced)), ratio, one);
    changed |= lanes & ((kappa > most_unbalanced * before) | (most_unbalanced * kappa < before));
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) st.balance[i] = select(lanes, kappa, st.balance[i]);
  }
  st.flatness = select(lanes, min(sqrt(flattest), splat<V>(most_flat)), st.flatness);
  st.refine |= lanes & (st.flatness > 1.0);
  return changed;
}

// Of these lanes, which hold a better point than ever: the inequalities that are active by the rates of the step to it.
template <class V>
CVXL_HD void note_active(Embedding<V>& st, MaskOf<V> lanes) {
  if (!any(lanes)) return;
  each_in<V>(st.plan.zero, st.plan.orthant_end,
             [&](Index i) { st.active[i] = (st.active[i] & ~lanes) | (lanes & (st.ds[i] * st.z[i] < st.dz[i] * st.s[i])); });
}

// κ of inequalities in a polish that is the last resort: where s < z says otherwise than `active`, such that κz tells it.
template <class V>
CVXL_HD void balance_inequalities(Embedding<V>& st, MaskOf<V> lanes) {
  if (!any(lanes)) return;
  each_in<V>(st.plan.zero, st.plan.orthant_end, [&](Index i) {
    const MaskOf<V> differs = (st.active[i] ^ (st.s[i] < st.z[i])) & (st.s[i] > 0.0) & (st.z[i] > 0.0);
    const V kappa = st.s[i] / st.z[i] * select(st.active[i], splat<V>(2.0), splat<V>(0.5));
    st.balance[i] = select(lanes & differs, kappa, st.balance[i]);
  });
}

// At the start of a polish: blocks are settled of which the last step has moved neither s nor z much, relative to its size. `scale`
// is what s and z have been multiplied with since.
template <class V>
CVXL_SEAM void balance_at_start(Embedding<V>& st, V scale, MaskOf<V> lanes) {
  each<V>(st.plan.m, [&](Index i) { st.balance[i] = select(lanes, splat<V>(1.0), st.balance[i]); });
  balance_inequalities(st, lanes & st.last);
  choose_balance(st, lanes, lanes, [&](const ConeBlock& cone, const Sides<V>& sides) {
    V moved_s = V{}, moved_z = V{};
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      moved_s += st.s[i] * st.ds[i];
      moved_z += st.z[i] * st.dz[i];
    }
    return (abs(moved_s) * scale < settled_within * sides.s2) & (abs(moved_z) * scale < settled_within * sides.z2);
  });
}

// Of these lanes, whose steps are short: where the objective is flat, what is left of their residuals is rounding of unlike s and z
// of a block. Returns those in which other κ may help.
template <class V>
CVXL_HD MaskOf<V> balance_again(Embedding<V>& st, MaskOf<V> lanes) {
  lanes &= st.flatness > 1.0;
  if (!any(lanes)) return lanes;
  return choose_balance(st, lanes, MaskOf<V>{}, [](const ConeBlock&, const Sides<V>&) { return MaskOf<V>{}; });
}

// Of these lanes, whose polish would end with a long step: those in which a block has ended on a flat boundary that did not seem to
// be there when the polish started. Such a step leaves more than rounding.
template <class V>
CVXL_HD MaskOf<V> turns_out_flat(Embedding<V>& st, MaskOf<V> lanes) {
  lanes &= ~(st.flatness > 1.0);
  if (!any(lanes)) return lanes;
  choose_balance(st, lanes, MaskOf<V>{}, [](const ConeBlock&, const Sides<V>& sides) { return sides.are_apart(); });
  lanes &= st.flatness > 1.0;
  st.misses = select(lanes, V{}, st.misses);
  return lanes;
}

}  // namespace cvxl::CVXL_ISA
