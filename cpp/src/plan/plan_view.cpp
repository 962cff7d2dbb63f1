#include "plan/plan_view.hpp"

namespace cvxl {
namespace {

PatternView view(const Pattern& p) { return {p.indptr, p.indices}; }

}  // namespace

PlanView::PlanView(const Plan& p)
    : n(p.n),
      m(p.m),
      zero(p.zero),
      orthant_end(p.orthant_end),
      nodes(p.nodes),
      factor_size(p.factor_size),
      widest(p.widest),
      guessable(p.guessable),
      cones(p.cones),
      variable_of(p.variable_of),
      P(view(p.P)),
      A(view(p.A)),
      P_source(p.P_source),
      A_source(p.A_source),
      variable_position(p.variable_position),
      row_position(p.row_position),
      loose(p.loose),
      pivot_sign(p.pivot_sign),
      diagonal(p.diagonal),
      P_target(p.P_target),
      A_target(p.A_target),
      runs(p.runs),
      condensed_runs(p.condensed_runs),
      kept_rows(p.kept_rows),
      singletons(p.singletons),
      groups(p.groups),
      whole(p.whole),
      supernodes(p.supernodes),
      bundles(p.bundles),
      offsets(p.offsets),
      positions(p.positions),
      relative(p.relative),
      group_rows(p.group_rows),
      bundle_columns(p.bundle_columns),
      segments(p.segments),
      faces(p.faces),
      face_entries(p.face_entries),
      face_order(p.face_order) {}

}  // namespace cvxl
