// The kernels of derivatives, launched as that of solves.

#include "cuda/threads.hpp"
#include "team/adjoint.hpp"

using namespace cvxl;

extern "C" __global__ CVXL_RESIDENT void cvxl_vjp(const __grid_constant__ AdjointView job, std::byte* slots, std::size_t slot, std::size_t near_slot) {
  CVXL_ISA::team_vjp<CVXL_ISA::Number>(job, CVXL_ISA::arena_of_team(slots, slot, near_slot));
}

extern "C" __global__ CVXL_RESIDENT void cvxl_jvp(const __grid_constant__ AdjointView job, std::byte* slots, std::size_t slot, std::size_t near_slot) {
  CVXL_ISA::team_jvp<CVXL_ISA::Number>(job, CVXL_ISA::arena_of_team(slots, slot, near_slot));
}

// Sums over blocks of instances: gradient[k · entries + e] = Σ_b partial[(b · directions + k) · stride + e], in the order of b.
extern "C" __global__ void cvxl_sum_blocks(const double* partial, std::int64_t blocks, std::int64_t directions, std::int64_t stride,
                                           std::int64_t entries, double* gradient) {
  const std::int64_t at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= directions * entries) return;
  const std::int64_t k = at / entries, e = at % entries;
  double sum = 0.0;
  for (std::int64_t b = 0; b < blocks; ++b) sum += partial[(b * directions + k) * stride + e];
  gradient[at] = sum;
}
