#pragma once
// A small number known when the code is compiled, chosen when it runs: register blocks and their remainders.

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

template <int N>
struct Constant {
  static constexpr int value = N;
};

// Calls f(Constant<count>) for 1 ≤ count ≤ Max.
template <int Max, class F>
CVXL_INLINE void with_constant(int count, F&& f) {
  if constexpr (Max > 1) {
    if (count < Max) {
      with_constant<Max - 1>(count, f);
      return;
    }
  }
  f(Constant<Max>{});
}

}  // namespace cvxl::CVXL_ISA
