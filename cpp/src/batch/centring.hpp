#pragma once
// Takes solutions to the central path, W consecutive instances at a time.

#include <cmath>

#include "adjoint/centre.hpp"
#include "batch/instance.hpp"
#include "cvxl/status.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct CentringMemory {
  Centre<V> centre;
  InstanceScratch scratch;

  CentringMemory(const Compiled& compiled, Arena& arena) : centre(compiled.view, arena), scratch(compiled, arena) {}
};

template <class V>
class Centring {
 public:
  static constexpr int W = lanes_of<V>;

  Centring(const CentreJob& job, Arena& arena) : job_(job), plan_(job.compiled.view), memory_(job.compiled, arena) {}

  // Instances first … first + count - 1, in place; padding lanes repeat the last.
  void run(std::int64_t first, int count) {
    MaskOf<V> solved{};
    for (int lane = 0; lane < W; ++lane) {
      const std::int64_t i = first + std::min(lane, count - 1);
      solved[lane] = TapeRow(job_.tape, plan_, i).missing() ? 0 : -1;
      load(lane, i);
    }
    if (!any(solved)) return;
    centre_.run(job_.smoothing, solved);
    for (int lane = 0; lane < count; ++lane)
      if (solved[lane]) store(lane, first + lane);
  }

 private:
  void load(int lane, std::int64_t i) {
    const Structure& structure = job_.compiled.problem.structure;
    const TapeRow at(job_.tape, plan_, i);
    job_.locator.locate(i, memory_.scratch.parameters);
    const auto value = [&](Index v) { return job_.compiled.values(v, memory_.scratch.parameters); };
    load_matrices(centre_.program, lane, value);
    load_q(centre_.program, structure, lane, value);
    load_point(plan_, at, lane, centre_.x, centre_.z, centre_.s);
    for (Index r = 0; r < plan_.m; ++r) {
      lane_of(centre_.program.b, r, lane) = value(structure.b_offset() + r);
      if (std::isinf(at.s[r])) {  // off: on the path are s = 1, z = μ
        switch_off(plan_, centre_.program.A, centre_.program.b, r, lane);
        lane_of(centre_.s, r, lane) = 1.0;
      }
    }
  }

  void store(int lane, std::int64_t i) {
    const TapeRow to(job_.tape, plan_, i);
    for (Index j = 0; j < plan_.n; ++j) to.x[plan_.variable_of[j]] = lane_of(centre_.x, j, lane);
    for (Index r = 0; r < plan_.m; ++r) {
      to.z[r] = lane_of(centre_.z, r, lane);
      if (!std::isinf(to.s[r])) to.s[r] = lane_of(centre_.s, r, lane);
    }
  }

  const CentreJob& job_;
  const PlanView& plan_;
  CentringMemory<V> memory_;
  Centre<V>& centre_ = memory_.centre;
};

}  // namespace cvxl::CVXL_ISA
