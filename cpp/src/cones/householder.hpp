#pragma once
// A step of Householder's tridiagonalization (Golub and Van Loan, sec. 8.3.1).

#include "lanes/lanes.hpp"

#include "cvxl/program.hpp"

namespace cvxl::CVXL_ISA {

// The rows and columns after j of X (k × k, its lower triangle by columns) from both sides times I - inverse v v', v what column j
// holds in these rows. p holds k.
template <class V>
CVXL_INLINE void reflect_trailing(V* X, Index k, Index j, V inverse, V* p) {
  const V* v = X + j * k;
  for (Index i = j + 1; i < k; ++i) p[i] = V{};
  for (Index c = j + 1; c < k; ++c) {
    const V* x = X + c * k;
    V sum = x[c] * v[c];
    for (Index i = c + 1; i < k; ++i) {
      sum += x[i] * v[i];
      p[i] += x[i] * v[c];
    }
    p[c] += sum;
  }
  V inner = V{};
  for (Index i = j + 1; i < k; ++i) {
    p[i] *= inverse;
    inner += p[i] * v[i];
  }
  inner *= 0.5 * inverse;
  for (Index i = j + 1; i < k; ++i) p[i] -= inner * v[i];
  for (Index c = j + 1; c < k; ++c)
    for (Index i = c; i < k; ++i) X[c * k + i] -= v[i] * p[c] + p[i] * v[c];
}

}  // namespace cvxl::CVXL_ISA
