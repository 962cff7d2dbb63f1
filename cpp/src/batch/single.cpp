// The entry points of one instruction set for single instances of large quadratic programs.

#include "batch/entries.hpp"

namespace cvxl::CVXL_ISA {
namespace {
std::size_t arena(const Compiled& compiled, bool) { return arena_of<Number, QuadraticLoop<Number>>(compiled); }
constexpr Kernels single_{own_name,
                          1,
                          evaluate,
                          arena,
                          adjoint_arena<Number>,
                          centre_arena<Number>,
                          solve_by<Number, QuadraticLoop<Number>>,
                          vjp<Number>,
                          jvp<Number>,
                          nullptr,  // second derivatives are those of the structure's pack
                          centre<Number>};
}  // namespace

const Kernels& single() { return single_; }

}  // namespace cvxl::CVXL_ISA
