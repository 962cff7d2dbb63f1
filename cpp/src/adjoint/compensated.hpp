#pragma once
// Sums of products in twice the working precision (Ogita, Rump, Oishi 2005, "Accurate sum and dot product"): every rounding error
// is computed and carried along. Residuals formed so let iterative refinement reach full accuracy in ill-conditioned systems.

#include "lanes/math.hpp"

namespace cvxl::CVXL_ISA {

struct Sum {
  double value = 0.0, error = 0.0;

  CVXL_INLINE void add(double a, double b) {
    const double p = a * b, total = value + p, part = total - value;
    error += ((value - (total - part)) + (p - part)) + product_error(a, b, p);
    value = total;
  }
  CVXL_INLINE double rounded() const { return value + error; }
};

}  // namespace cvxl::CVXL_ISA
