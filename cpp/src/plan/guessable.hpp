#pragma once
// Whether the primal-dual active set method may be expected to find the solution of a quadratic program from its starting point.

#include "cvxl/program.hpp"

namespace cvxl {

// True if P, with the equalities, can pin every variable down, and there are not many more inequalities than degrees of freedom, bounds
// of one variable counted once. Where rows outnumber them guessed sets hold rows that contradict each other, and the next set is no
// better.
bool is_guessable(const Structure& structure);

}  // namespace cvxl
