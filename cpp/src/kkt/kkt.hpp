#pragma once
// The KKT system of each lane type. Both have one contract: `e` and `delta`, then `factorize`, then `solve`, as factor.hpp states.

#include "kkt/factor.hpp"
#include "kkt/team_factor.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
using KktOf = std::conditional_t<Team<V>::alone, Kkt<V>, TeamKkt<V>>;

}  // namespace cvxl::CVXL_ISA
