#pragma once
// Thresholds of the factorization, whichever way it is done.

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr double smallest_pivot = 1e-14;
inline constexpr double least_curvature = 1e-6;  // in units of ρ

}  // namespace cvxl::CVXL_ISA
