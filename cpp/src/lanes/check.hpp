#pragma once
// Invariants of the loops that no type states. A build with -DCVXL_ASSERT=ON, as `make sanitize` makes one, stops where one is
// broken; in others they cost nothing.

#include <cstdio>
#include <cstdlib>

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

#if defined(CVXL_ASSERT) && !defined(__CUDACC__)
inline constexpr bool assertions = true;
#else
inline constexpr bool assertions = false;
#endif

CVXL_INLINE void check(bool holds, const char* invariant) {
  if constexpr (assertions)
    if (!holds) {
      std::fprintf(stderr, "broken invariant: %s\n", invariant);
      std::abort();
    }
}

}  // namespace cvxl::CVXL_ISA
