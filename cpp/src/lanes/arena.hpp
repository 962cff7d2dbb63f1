#pragma once
// Working memory of one thread or team, carved out of one block before the loop starts. A first pass over a null block measures it.
// A team may have a second block, which is near and small: arrays are taken from it as long as they fit.

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#if defined(__CUDACC__)
#define CVXL_ARENA __host__ __device__
#else
#define CVXL_ARENA
#endif

namespace cvxl {

class Arena {
 public:
  CVXL_ARENA explicit Arena(std::byte* block = nullptr) : block_(block) {}
  // `near` has `near_size` bytes, and may be null too.
  CVXL_ARENA Arena(std::byte* block, std::byte* near, std::size_t near_size) : block_(block), near_(near), near_size_(near_size) {}

  // `count` objects of T, aligned to a cache line; a null arena only counts.
  template <class T>
  CVXL_ARENA T* take(std::size_t count) {
    if (const std::size_t end = near_used_ + (count * sizeof(T) + 15) / 16 * 16; near_size_ > 0 && end <= near_size_) {
      T* p = near_ ? reinterpret_cast<T*>(near_ + near_used_) : nullptr;
      near_used_ = end;
      return p;
    }
    const std::size_t bytes = count * sizeof(T), taken = (bytes + 63) / 64 * 64 + guard;
    T* p = block_ ? reinterpret_cast<T*>(block_ + used_) : nullptr;
#if defined(__SANITIZE_ADDRESS__)
    if (block_) {
      __asan_unpoison_memory_region(block_ + used_, bytes);
      __asan_poison_memory_region(block_ + used_ + bytes, taken - bytes);
    }
#endif
    used_ += taken;
    return p;
  }

  CVXL_ARENA std::size_t used() const { return used_; }
  std::size_t near_used() const { return near_used_; }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t guard = 64;  // a gap that the address sanitizer watches
#else
  static constexpr std::size_t guard = 0;
#endif
  std::byte *block_, *near_ = nullptr;
  std::size_t used_ = 0, near_used_ = 0, near_size_ = 0;
};

}  // namespace cvxl
