#pragma once
#include <functional>

#include "plan/plan.hpp"

namespace cvxl {

// Bundles supernodes of few columns whose rows below, all or those of some neighbouring segments, are the same. `make_update` tells
// where columns at these offsets in the factor, with rows at these positions, add to it.
void place_bundles(Plan& plan, const std::function<Update(const std::vector<Index>&, const std::vector<Index>&)>& make_update);

}  // namespace cvxl
