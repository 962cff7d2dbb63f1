// Runs test_kkt.cpp and test_cones.cpp as compiled for every instruction set that this machine has.

#include <algorithm>
#include <string>

#include "cvxl/engine.hpp"
#include "test.hpp"

namespace cvxl {
namespace baseline {
void check_all();
void check_cones();
}  // namespace baseline
#if CVXL_X86
namespace avx2 {
void check_all();
void check_cones();
}  // namespace avx2
namespace avx512 {
void check_all();
void check_cones();
}  // namespace avx512
#endif
}  // namespace cvxl

namespace {

void run_if_available(const std::string& isa, void (*check_all)()) {
  const auto available = cvxl::available_instruction_sets();
  if (std::find(available.begin(), available.end(), isa) != available.end()) check_all();
}

}  // namespace

TEST(cones_baseline) { run_if_available("baseline", cvxl::baseline::check_cones); }
TEST(kkt_baseline) { run_if_available("baseline", cvxl::baseline::check_all); }
#if CVXL_X86
TEST(cones_avx2) { run_if_available("avx2", cvxl::avx2::check_cones); }
TEST(cones_avx512) { run_if_available("avx512", cvxl::avx512::check_cones); }
TEST(kkt_avx2) { run_if_available("avx2", cvxl::avx2::check_all); }
TEST(kkt_avx512) { run_if_available("avx512", cvxl::avx512::check_all); }
#endif
