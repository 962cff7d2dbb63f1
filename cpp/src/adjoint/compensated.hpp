#pragma once
// Sums of products in twice the working precision (Ogita, Rump, Oishi 2005, "Accurate sum and dot product"): every rounding error
// is computed and carried along. Residuals formed so let iterative refinement reach full accuracy in ill-conditioned systems.

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// a·b - p where p is a·b rounded; exact.
CVXL_INLINE double product_error(double a, double b, double p) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, -p);
#else
  const auto high = [](double v) {  // the upper half of the digits (Veltkamp)
    const double c = 134217729.0 * v;
    return c - (c - v);
  };
  const double a1 = high(a), b1 = high(b), a2 = a - a1, b2 = b - b1;
  return a2 * b2 - (((p - a1 * b1) - a2 * b1) - a1 * b2);
#endif
}

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
