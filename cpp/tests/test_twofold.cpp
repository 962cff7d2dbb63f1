// The lane type of twice the precision, compiled as batch/precise.cpp is.

#include <cmath>
#include <limits>

#include "lanes/twofold.hpp"
#include "test.hpp"

namespace cvxl::CVXL_ISA {
namespace {

// Whether a and b, of size 1 to 10, are the same to 31 digits.
bool same(Twofold a, Twofold b) { return static_cast<bool>(abs(a - b) <= 1e-31 * max(abs(b), Twofold(1.0))); }

TEST(twofold_arithmetic) {
  const Twofold small = 1e-25, third = Twofold(1.0) / 3.0;
  CHECK(static_cast<bool>((1.0 + small) - 1.0 == small));
  CHECK(same(third * 3.0, 1.0) && same(third + third, 1.0 - third) && same(third * third, Twofold(1.0) / 9.0));
  CHECK(same(sqrt(Twofold(2.0)), sqrt_two<Twofold>) && same(sqrt_two<Twofold> * sqrt_half<Twofold>, 1.0));
  Twofold sum = 0.0;  // Σ 1/k!
  Twofold term = 1.0;
  for (int k = 1; k < 40; ++k) {
    sum += term;
    term /= static_cast<double>(k);
  }
  CHECK(same(exp(Twofold(1.0)), sum) && same(log(sum), 1.0));
  for (const double x : {1e-12, 0.3, 1.0, 7.0, 650.0}) {
    CHECK(same(exp(Twofold(-x)) * exp(Twofold(x)), 1.0));
    CHECK(same(log(exp(Twofold(x))) / x, 1.0));
  }
}

TEST(twofold_order) {
  const Twofold above = 1.0 + Twofold(1e-25);
  CHECK(static_cast<bool>(above > 1.0) && static_cast<bool>(above != 1.0) && !static_cast<bool>(above <= 1.0));
  CHECK(static_cast<bool>(max(Twofold(1.0), above) == above) && static_cast<bool>(min(Twofold(1.0), above) == 1.0));
}

// As doubles do: there is no lower part that would make NaN of it.
TEST(twofold_what_is_not_finite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Twofold large = 1e300;
  CHECK(static_cast<bool>(Twofold(infinity) + 1.0 == infinity) && static_cast<bool>(Twofold(infinity) * 2.0 == infinity));
  CHECK(static_cast<bool>(large * large == infinity) && static_cast<bool>(Twofold(1.0) / infinity == 0.0));
  CHECK(static_cast<bool>(Twofold(1.0) / 0.0 == infinity) && static_cast<bool>(sqrt(Twofold(infinity)) == infinity));
  CHECK(!static_cast<bool>(finite(Twofold(infinity))) && !static_cast<bool>(finite(Twofold(infinity) - infinity)));
  CHECK(static_cast<bool>(sqrt(Twofold(0.0)) == 0.0) && static_cast<bool>(max(Twofold(1.0), Twofold(infinity)) == infinity));
}

}  // namespace

}  // namespace cvxl::CVXL_ISA
