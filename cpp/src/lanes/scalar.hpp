#pragma once
// The lane type of one instance: a number in a class, whose comparisons give a mask of one flag. It has the vocabulary of
// lanes.hpp, whose templates it is compiled with, where instances have threads instead of lanes (lanes/team.hpp). A `Cell` holds
// the number: a double, or, in tests, one that is watched.

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// One flag, all bits set where true. `Cell` holds a Truth.
template <class Cell>
struct Flag {
  Cell bits{};

  CVXL_INLINE explicit operator bool() const { return static_cast<Truth>(bits) != 0; }
  CVXL_INLINE Cell& operator[](int) { return bits; }
  CVXL_INLINE const Cell& operator[](int) const { return bits; }
  CVXL_INLINE Flag operator~() const { return of(~value()); }
  CVXL_INLINE friend Flag operator&(const Flag& a, const Flag& b) { return of(a.value() & b.value()); }
  CVXL_INLINE friend Flag operator|(const Flag& a, const Flag& b) { return of(a.value() | b.value()); }
  CVXL_INLINE friend Flag operator^(const Flag& a, const Flag& b) { return of(a.value() ^ b.value()); }
  CVXL_INLINE friend Flag operator==(const Flag& a, const Flag& b) { return ~(a ^ b); }
  CVXL_INLINE Flag& operator&=(const Flag& b) { return *this = *this & b; }
  CVXL_INLINE Flag& operator|=(const Flag& b) { return *this = *this | b; }

  CVXL_INLINE Truth value() const { return static_cast<Truth>(bits); }
  static CVXL_INLINE Flag of(Truth bits) {
    Flag flag;
    flag.bits = bits;
    return flag;
  }
  static CVXL_INLINE Flag of(bool holds) { return of(-static_cast<Truth>(holds)); }
};

// One number. `Cell` holds a double, `Bits` is what holds the flags of its comparisons.
template <class Cell, class Bits>
struct Scalar {
  using Mask = Flag<Bits>;
  Cell cell{};

  CVXL_INLINE double value() const { return static_cast<double>(cell); }
  static CVXL_INLINE Scalar of(double value) {
    Scalar scalar;
    scalar.cell = value;
    return scalar;
  }
  CVXL_INLINE Cell& operator[](int) { return cell; }
  CVXL_INLINE const Cell& operator[](int) const { return cell; }

  CVXL_INLINE Scalar operator-() const { return of(-value()); }
#define CVXL_ARITHMETIC(op)                                                                                      \
  CVXL_INLINE friend Scalar operator op(const Scalar& a, const Scalar& b) { return of(a.value() op b.value()); } \
  CVXL_INLINE friend Scalar operator op(const Scalar& a, double b) { return of(a.value() op b); }                \
  CVXL_INLINE friend Scalar operator op(double a, const Scalar& b) { return of(a op b.value()); }                \
  CVXL_INLINE Scalar& operator op## = (const Scalar& b) { return *this = *this op b; }                           \
  CVXL_INLINE Scalar& operator op## = (double b) { return *this = *this op b; }
  CVXL_ARITHMETIC(+)
  CVXL_ARITHMETIC(-)
  CVXL_ARITHMETIC(*)
  CVXL_ARITHMETIC(/)
#undef CVXL_ARITHMETIC
#define CVXL_COMPARISON(op)                                                                                          \
  CVXL_INLINE friend Mask operator op(const Scalar& a, const Scalar& b) { return Mask::of(a.value() op b.value()); } \
  CVXL_INLINE friend Mask operator op(const Scalar& a, double b) { return Mask::of(a.value() op b); }                \
  CVXL_INLINE friend Mask operator op(double a, const Scalar& b) { return Mask::of(a op b.value()); }
  CVXL_COMPARISON(<)
  CVXL_COMPARISON(<=)
  CVXL_COMPARISON(>)
  CVXL_COMPARISON(>=)
  CVXL_COMPARISON(==)
  CVXL_COMPARISON(!=)
#undef CVXL_COMPARISON
};

template <class Cell, class Bits>
struct LaneTraits<Scalar<Cell, Bits>> {
  using Mask = Flag<Bits>;
};

using Number = Scalar<double, Truth>;  // in memory, a double
CVXL_INLINE Number exp(Number a) { return Number::of(std::exp(a.value())); }
CVXL_INLINE Number log(Number a) { return Number::of(std::log(a.value())); }
static_assert(sizeof(Number) == sizeof(double) && sizeof(MaskOf<Number>) == 8 && std::is_trivially_copyable_v<Number>);

}  // namespace cvxl::CVXL_ISA
