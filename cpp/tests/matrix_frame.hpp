// Frames of cones that leave K as a whole, for tests of K.
#pragma once

#include <utility>
#include <vector>

#include "lanes/dense.hpp"
#include "random_programs.hpp"

namespace cvxl::CVXL_ISA {

// B = I + uv' of order k, T r = svec(B'RB), and B⁻ᵀ = I - vu'/(1 + u'v), by columns.
struct Frame {
  Index k;
  std::vector<double> B, inverse;

  Frame(Index order, testing::Random& random) : k(order) {
    std::vector<double> u, v;
    double inner = 1.0;
    for (Index i = 0; i < k; ++i) {
      u.push_back(random.uniform(0.0, 0.6));
      v.push_back(random.uniform(0.0, 0.6));
      inner += u[i] * v[i];
    }
    for (Index j = 0; j < k; ++j)
      for (Index i = 0; i < k; ++i) {
        B.push_back((i == j) + u[i] * v[j]);
        inverse.push_back((i == j) - v[i] * u[j] / inner);
      }
  }

  // Entry of T, rows and columns in svec form.
  double turn(Index row, Index column) const {
    const auto place = [](Index r) {
      Index j = 0;
      while (svec_place(0, j + 1) <= r) ++j;
      return std::pair(r - svec_place(0, j), j);
    };
    const auto [i, j] = place(row);
    const auto [p, q] = place(column);
    const double straight = B[i * k + p] * B[j * k + q], crossed = B[i * k + q] * B[j * k + p];
    return (p == q ? straight : sqrt_half<double> * (straight + crossed)) * (i == j ? 1.0 : sqrt_two<double>);
  }
};

}  // namespace cvxl::CVXL_ISA
