#pragma once
#include <functional>

#include "plan/plan.hpp"
#include "plan/whole_cone.hpp"

namespace cvxl {

// Adds a block for the cone to a plan whose other entries are placed: its faces, with their entries and the places of their products
// in the factor, which `make_update` finds for positions, ascending.
void place_whole_cone(Plan& plan, const WholeCone& cone, const std::function<Update(const std::vector<Index>&)>& make_update);

}  // namespace cvxl
