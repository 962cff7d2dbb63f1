#pragma once
// Gaussian elimination with pivoting in extended precision: what kernels are compared with.

#include <cmath>
#include <utility>
#include <vector>

namespace cvxl::testing {

// Solution of a dense system (rows of coefficients, right-hand side last).
inline std::vector<long double> solve_dense(std::vector<std::vector<long double>> a) {
  const std::size_t n = a.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k; i < n; ++i)
      if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
    std::swap(a[k], a[pivot]);
    for (std::size_t i = k + 1; i < n; ++i) {
      const long double f = a[i][k] / a[k][k];
      for (std::size_t j = k; f != 0.0L && j <= n; ++j) a[i][j] -= f * a[k][j];
    }
  }
  std::vector<long double> x(n);
  for (std::size_t k = n; k-- > 0;) {
    x[k] = a[k][n];
    for (std::size_t j = k + 1; j < n; ++j) x[k] -= a[k][j] * x[j];
    x[k] /= a[k][k];
  }
  return x;
}

}  // namespace cvxl::testing
