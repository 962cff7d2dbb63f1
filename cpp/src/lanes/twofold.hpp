#pragma once
// The lane type of one instance in twice the precision: the unevaluated sum of two doubles, some 32 digits. It has the vocabulary of
// lanes.hpp, whose templates it is compiled with. Sums and products are those of Dekker (1971) and Knuth (TAOCP 2, 4.2.2), in the forms of
// Hida, Li, Bailey (2001): what rounding takes from an operation on doubles is a double again, and is kept. Needs -ffp-contract=off.

#include <cmath>

#include "lanes/dense.hpp"
#include "lanes/math.hpp"
#include "lanes/scalar.hpp"

namespace cvxl::CVXL_ISA {

class Twofold {
 public:
  using Mask = Flag<Truth>;

  Twofold() = default;
  CVXL_INLINE Twofold(double value) : high_(value) {}
  constexpr Twofold(double high, double low) : high_(high), low_(low) {}

  CVXL_INLINE explicit operator double() const { return high_; }
  CVXL_INLINE double low() const { return low_; }
  CVXL_INLINE Twofold& operator[](int) { return *this; }
  CVXL_INLINE const Twofold& operator[](int) const { return *this; }

  CVXL_INLINE Twofold operator-() const { return {-high_, -low_}; }
  friend Twofold operator+(Twofold a, Twofold b) {
    const Twofold high = sum(a.high_, b.high_), low = sum(a.low_, b.low_);
    const Twofold more = normal(high.high_, high.low_ + low.high_);
    return normal(more.high_, more.low_ + low.low_);
  }
  friend Twofold operator-(Twofold a, Twofold b) { return a + -b; }
  friend Twofold operator*(Twofold a, Twofold b) {
    const double p = a.high_ * b.high_;
    return normal(p, product_error(a.high_, b.high_, p) + (a.high_ * b.low_ + a.low_ * b.high_));
  }
  friend Twofold operator/(Twofold a, Twofold b) {
    const double first = a.high_ / b.high_;
    if (!(std::abs(first) > 0.0 && first - first == 0.0)) return first;
    Twofold left = a - b * first;
    const double second = left.high_ / b.high_;
    left -= b * second;
    return normal(first, second) + left.high_ / b.high_;
  }
#define CVXL_MIXED(op)                                                                    \
  CVXL_INLINE friend Twofold operator op(Twofold a, double b) { return a op Twofold(b); } \
  CVXL_INLINE friend Twofold operator op(double a, Twofold b) { return Twofold(a) op b; } \
  CVXL_INLINE Twofold& operator op## = (Twofold b) { return *this = *this op b; }         \
  CVXL_INLINE Twofold& operator op## = (double b) { return *this = *this op Twofold(b); }
  CVXL_MIXED(+)
  CVXL_MIXED(-)
  CVXL_MIXED(*)
  CVXL_MIXED(/)
#undef CVXL_MIXED
#define CVXL_COMPARISON(op)                                                            \
  CVXL_INLINE friend Mask operator op(Twofold a, Twofold b) {                          \
    return Mask::of(a.high_ == b.high_ ? a.low_ op b.low_ : a.high_ op b.high_);       \
  }                                                                                    \
  CVXL_INLINE friend Mask operator op(Twofold a, double b) { return a op Twofold(b); } \
  CVXL_INLINE friend Mask operator op(double a, Twofold b) { return Twofold(a) op b; }
  CVXL_COMPARISON(<)
  CVXL_COMPARISON(<=)
  CVXL_COMPARISON(>)
  CVXL_COMPARISON(>=)
  CVXL_COMPARISON(==)
  CVXL_COMPARISON(!=)
#undef CVXL_COMPARISON

 private:
  // a + b, exact.
  static CVXL_INLINE Twofold sum(double a, double b) {
    const double s = a + b, part = s - a, low = (a - (s - part)) + (b - part);
    return {s, low};
  }
  // The same where |a| ≥ |b|. What is not finite has no lower part.
  static CVXL_INLINE Twofold normal(double a, double b) {
    const double s = a + b, low = b - (s - a);
    if (!(low - low == 0.0)) return a;
    return {s, low};
  }

  double high_ = 0.0, low_ = 0.0;
};

template <>
inline constexpr int lanes_of<Twofold> = 1;
template <>
inline constexpr double unit<Twofold> = 0x1p-50;
template <>
inline constexpr Twofold sqrt_half<Twofold>{0.70710678118654752440, -4.833646656726456726e-17};
template <>
inline constexpr Twofold sqrt_two<Twofold>{1.41421356237309504880, -9.667293313452913451e-17};
template <>
struct LaneTraits<Twofold> {
  using Mask = Flag<Truth>;
};

CVXL_INLINE Twofold sqrt(Twofold a) {
  const double root = std::sqrt(static_cast<double>(a));
  if (!(root > 0.0 && root - root == 0.0)) return root;
  return root + (a - Twofold(root) * root) / (2.0 * root);
}

// exp(a): a = n log 2 + 512 r, Taylor's polynomial in r, squared nine times.
inline Twofold exp(Twofold a) {
  const Twofold clipped = min(max(a, Twofold(-700.0)), Twofold(700.0));
  const double n = std::nearbyint(static_cast<double>(clipped) * 1.44269504088896340736);
  const Twofold r = (clipped - Twofold(0.693147180559945286, 2.319046813846299558e-17) * n) * 0x1p-9;
  Twofold p = 1.0;
  for (double k = 12.0; k >= 2.0; k -= 1.0) p = 1.0 + r * p / k;
  p *= r;  // exp(r) - 1
  for (int k = 0; k < 9; ++k) p = 2.0 * p + p * p;
  return (1.0 + p) * std::ldexp(1.0, static_cast<int>(n));
}

// log(a): a step of Newton's method for exp(y) = a from the nearest double.
inline Twofold log(Twofold a) {
  const Twofold y = std::log(static_cast<double>(a));
  return y + (a * exp(-y) - 1.0);
}

}  // namespace cvxl::CVXL_ISA
