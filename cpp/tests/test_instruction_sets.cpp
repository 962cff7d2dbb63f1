// Runs test_lanes.cpp, test_kkt.cpp, test_cones.cpp and test_elimination.cpp as compiled for every instruction set that this machine
// has, which is what the compiler's runtime says too.

#include <algorithm>
#include <string>

#include "cvxl/engine.hpp"
#include "lanes/processor.hpp"
#include "test.hpp"

#define CVXL_CHECK(isa)                                                             \
  namespace cvxl::isa {                                                             \
  void check_lanes();                                                               \
  void check_kkt();                                                                 \
  void check_cones();                                                               \
  void check_elimination();                                                         \
  }                                                                                 \
  TEST(elimination_##isa) { run_if_available(#isa, cvxl::isa::check_elimination); } \
  TEST(cones_##isa) { run_if_available(#isa, cvxl::isa::check_cones); }             \
  TEST(lanes_##isa) { run_if_available(#isa, cvxl::isa::check_lanes); }             \
  TEST(kkt_##isa) { run_if_available(#isa, cvxl::isa::check_kkt); }

namespace {

void run_if_available(const std::string& isa, void (*check)()) {
  const auto available = cvxl::available_instruction_sets();
  if (std::find(available.begin(), available.end(), isa) != available.end()) check();
}

}  // namespace

#if defined(__x86_64__) && !defined(_WIN32) && (__clang_major__ >= 18 || (__GNUC__ >= 12 && !defined(__clang__)))
TEST(levels_are_those_of_the_compiler) {
  CHECK(cvxl::runs_level(3) == (__builtin_cpu_supports("x86-64-v3") != 0));
  CHECK(cvxl::runs_level(4) == (__builtin_cpu_supports("x86-64-v4") != 0));
}
#endif

#if CVXL_BASELINE
CVXL_CHECK(baseline)
#endif
#if CVXL_AVX2
CVXL_CHECK(avx2)
#endif
#if CVXL_AVX512
CVXL_CHECK(avx512)
#endif
