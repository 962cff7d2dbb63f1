// Lanes and the arena, compiled once per instruction set with the flags of the kernels, as test_kkt.cpp is.

#include <algorithm>
#include <cmath>

#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"
#include "lanes/processor.hpp"
#include "poisoned.hpp"
#include "test.hpp"

namespace cvxl::CVXL_ISA {
namespace {

using namespace cvxl::testing;

template <int W>
void check_lane_functions() {
  using V = Real<W>;
  V a, b;
  for (int lane = 0; lane < W; ++lane) {
    a[lane] = lane % 3 - 1.0;
    b[lane] = 0.5 * lane;
  }
  a[W - 1] = std::nan("");
  b[0] = __builtin_inf();
  const V low = min(a, b), high = max(a, b), size = abs(a), root = sqrt(b), chosen = select(a < 0.0, a, b);
  const auto is_finite_a = finite(a), is_finite_b = finite(b);
  for (int lane = 0; lane < W; ++lane) {
    CHECK((is_finite_a[lane] != 0) == (lane != W - 1));
    CHECK((is_finite_b[lane] != 0) == (lane != 0));
    CHECK(root[lane] == std::sqrt(b[lane]));
    if (lane == W - 1) continue;
    CHECK(low[lane] == std::min(a[lane], b[lane]) && high[lane] == std::max(a[lane], b[lane]));
    CHECK(size[lane] == std::abs(a[lane]) && chosen[lane] == (a[lane] < 0.0 ? a[lane] : b[lane]));
  }
  const Mask<W> none{}, everywhere = ~none;
  Mask<W> one{};
  one[W - 1] = -1;
  CHECK(!any(none) && any(one) && all(everywhere) && !all(one));
}

void check_arena_alignment() {
  Block64 block(4096);
  Arena measure, arena(block.data());
  std::byte* last = block.data();
  for (std::size_t count : {1, 3, 0, 8, 5}) {
    measure.take<double>(count);
    double* p = arena.take<double>(count);
    CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0 && reinterpret_cast<std::byte*>(p) >= last);
    last = reinterpret_cast<std::byte*>(p + count);
    const Real<8>* v = arena.take<Real<8>>(count);
    measure.take<Real<8>>(count);
    CHECK(reinterpret_cast<std::uintptr_t>(v) % alignof(Real<8>) == 0);
  }
  CHECK(measure.used() == arena.used());
}

void check_denormals() {
  if constexpr (Rounding::flush == 0) return;
  const Rounding::Word before = Rounding::read();
  volatile double tiny = 1e-308;
  {
    const FlushDenormals flush;
    CHECK(tiny * 0.01 == 0.0);
    { const FlushDenormals nested; }
    CHECK(tiny * 0.01 == 0.0);
  }
  CHECK((Rounding::read() & Rounding::flush) == (before & Rounding::flush));
  CHECK(tiny * 0.01 != 0.0);
}

}  // namespace

void check_lanes() {
  check_lane_functions<4>();
  check_lane_functions<8>();
  check_arena_alignment();
  check_denormals();
}

}  // namespace cvxl::CVXL_ISA
