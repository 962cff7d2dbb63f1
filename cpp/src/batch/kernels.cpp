// The entry points of one instruction set, for packs of instances.

#include "batch/entries.hpp"

namespace cvxl::CVXL_ISA {
namespace {

template <int W>
constexpr Kernels entry() {
  using V = Real<W>;
  return {own_name, W, evaluate, solve_arena<V>, adjoint_arena<V>, centre_arena<V>, solve<V>, vjp<V>, jvp<V>, hvp<V>, centre<V>};
}

constexpr Kernels pair_ = entry<2>();
constexpr Kernels narrow_ = entry<4>();
constexpr Kernels wide_ = entry<most_lanes>();

}  // namespace

const Kernels& pair() { return pair_; }
const Kernels& narrow() { return narrow_; }
const Kernels& wide() { return wide_; }

}  // namespace cvxl::CVXL_ISA
