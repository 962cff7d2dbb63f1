#pragma once
// Elementary functions of lanes, to about two units in the last place for normal numbers. Logarithms of numbers that are not
// positive and exponentials beyond ±700 are not defined; masks keep such lanes out.

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// log(a): a = 2ᵉ m with m in [√½, √2), and log m = 2 artanh(t), t = (m - 1)/(m + 1), |t| < 0.172, by its series.
template <class V>
CVXL_INLINE V log(V a) {
  using I = MaskOf<V>;
  using U = Bits<lanes_of<V>>;
  const U bits = (U)a;
  // Exponent of a/√½: the subtraction moves the fraction's split from 1 to √½.
  const I exponent = (I)(bits - std::uint64_t{0x3fe6a09e667f3bcd}) >> 52;
  const V m = (V)(bits - ((U)exponent << 52));
  const V e = __builtin_convertvector(exponent, V);
  const V f = m - 1.0, t = f / (2.0 + f), t2 = t * t;
  V p = splat<V>(1.0 / 23.0);
  for (int k = 21; k >= 3; k -= 2) p = p * t2 + 1.0 / static_cast<double>(k);
  // log m = f - f²/2 + … loses nothing for m near 1 when written as 2t + 2t³p.
  return e * 0.693147180369123816490 + (2.0 * t + (2.0 * t * t2 * p + e * 1.90821492927058770002e-10));
}

// log(1 + a), a > -1: the rounding of 1 + a is divided out again.
template <class V>
CVXL_INLINE V log1p(V a) {
  const V u = 1.0 + a, d = u - 1.0;
  return select(d == 0.0, a, log(u) * (a / select(d == 0.0, splat<V>(1.0), d)));
}

// exp(a): a = n log 2 + r, |r| ≤ ½ log 2, Taylor's polynomial of degree 14.
template <class V>
CVXL_INLINE V exp(V a) {
  using I = MaskOf<V>;
  constexpr double round = 0x1.8p52;
  const V clipped = min(max(a, splat<V>(-700.0)), splat<V>(700.0));
  const V n = (clipped * 1.44269504088896340736 + round) - round;
  const V r = (clipped - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  V p = splat<V>(1.0 / 87178291200.0);
  constexpr double factorial[] = {6227020800.0, 479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0,
                                  720.0,        120.0,       24.0,       6.0,       2.0,      1.0,     1.0};
  for (const double f : factorial) p = p * r + 1.0 / f;
  const I power = (__builtin_convertvector(n, I) + 1023) << 52;
  return p * (V)power;
}

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

}  // namespace cvxl::CVXL_ISA
