#pragma once
// Teams of a device: the threads of one y of a block. Teams of at most a warp share blocks, larger ones have one each.

#include "lanes/arena.hpp"
#include "lanes/scalar.hpp"
#include "lanes/team.hpp"

namespace cvxl::CVXL_ISA {

#if defined(__CUDA_ARCH__)
// The threads of the warp that belong to the calling thread's team, of at most a warp.
__device__ __forceinline__ unsigned team_mask() {
  const unsigned width = blockDim.x, first = (threadIdx.x + blockDim.x * threadIdx.y) % 32 / width * width;
  return (width == 32 ? ~0u : (1u << width) - 1) << first;
}

// What warps of a team leave for each other.
__device__ __forceinline__ unsigned long long* exchange() {
  __shared__ unsigned long long slots[32];
  return slots;
}
#endif

template <>
struct Team<Number> {
  static constexpr bool alone = false;

#if defined(__CUDA_ARCH__)
  static __device__ __forceinline__ Index size() { return static_cast<Index>(blockDim.x); }
  static __device__ __forceinline__ Index rank() { return static_cast<Index>(threadIdx.x); }
  static __device__ __forceinline__ void sync() {
    if (blockDim.x > 32)
      __syncthreads();
    else
      __syncwarp(team_mask());
  }

  // A butterfly within warps: sums of two do not depend on their order, so that all threads have the same. Then over warps, one by
  // one. Nobody writes to the slots before all have read them.
  template <class T, class F>
  static __device__ T combine(T v, F&& f) {
    const unsigned mask = blockDim.x > 32 ? ~0u : team_mask();
    const int width = blockDim.x > 32 ? 32 : static_cast<int>(blockDim.x);
    for (int step = width / 2; step > 0; step /= 2) v = f(v, unpack<T>(__shfl_xor_sync(mask, pack(v), step)));
    if (blockDim.x <= 32) {
      __syncwarp(mask);
      return v;
    }
    unsigned long long* slots = exchange();
    if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = pack(v);
    __syncthreads();
    v = unpack<T>(slots[0]);
    for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) v = f(v, unpack<T>(slots[warp]));
    __syncthreads();
    return v;
  }

  static __device__ std::int64_t ticket(std::int64_t& counter) {
    unsigned long long drawn = 0;
    if (rank() == 0) drawn = atomicAdd(reinterpret_cast<unsigned long long*>(&counter), 1ull);
    return static_cast<std::int64_t>(combine(drawn, [](unsigned long long a, unsigned long long b) { return a | b; }));
  }

  static __device__ void raise(std::int64_t& counter) { atomicAdd(reinterpret_cast<unsigned long long*>(&counter), 1ull); }

 private:
  template <class T>
  static __device__ __forceinline__ unsigned long long pack(const T& v) {
    unsigned long long bits = 0;
    memcpy(&bits, &v, sizeof(T));
    return bits;
  }
  template <class T>
  static __device__ __forceinline__ T unpack(unsigned long long bits) {
    T v;
    memcpy(&v, &bits, sizeof(T));
    return v;
  }
#else  // the host compiles kernels, too, and runs none
  static CVXL_HD Index size() { return 1; }
  static CVXL_HD Index rank() { return 0; }
  static CVXL_HD void sync() {}
  template <class T, class F>
  static CVXL_HD T combine(T v, F&&) {
    return v;
  }
  static CVXL_HD std::int64_t ticket(std::int64_t&) { return 0; }
  static CVXL_HD void raise(std::int64_t&) {}
#endif
};

#if defined(__CUDACC__)
// What lets a processor have 512 threads of a kernel, in blocks of at most 256: 128 registers each.
#define CVXL_RESIDENT __launch_bounds__(256, 2)

// The arena of the calling thread's team: of its slot of global memory, and of its part of the block's shared memory.
__device__ __forceinline__ Arena arena_of_team(std::byte* slots, std::size_t slot, std::size_t near_slot) {
  extern __shared__ std::byte near[];
  const std::size_t team = std::size_t{blockIdx.x} * blockDim.y + threadIdx.y;
  return Arena(slots + team * slot, near + threadIdx.y * near_slot, near_slot);
}
#endif

}  // namespace cvxl::CVXL_ISA
