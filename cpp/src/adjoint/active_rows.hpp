#pragma once
// The rows of K_E at the solutions of a pack, in equilibrated units and in the frames of the cones, and scratch that solves share.

#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"
#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct ActiveRows {
  using M = MaskOf<V>;

  V *H, *weight;        // D/(1 - D) and 1/(1 - D) of active rows, 0 and 1 of others
  M *active, *tied;     // D < 1; slack and multiplier all but vanish
  V *s, *z;             // where a lane is in doubt

  ActiveRows(const PlanView& plan, Arena& arena) {
    for (V** v : {&H, &weight, &s, &z}) *v = arena.take<V>(plan.m);
    for (M** v : {&active, &tied}) *v = arena.take<M>(plan.m);
  }
};

template <class V>
struct Room {
  V *t1, *l1, *c1;      // n
  V *t2, *c2;           // m

  Room(const PlanView& plan, Arena& arena) {
    for (V** v : {&t1, &l1, &c1}) *v = arena.take<V>(plan.n);
    for (V** v : {&t2, &c2}) *v = arena.take<V>(plan.m);
  }
};

}  // namespace cvxl::CVXL_ISA
