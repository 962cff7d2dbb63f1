#pragma once
// Working memory of one thread, carved out of one block before the loop starts. A first pass over a null block measures it.

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cvxl {

class Arena {
 public:
  explicit Arena(std::byte* block = nullptr) : block_(block) {}

  // `count` objects of T, aligned to a cache line; a null arena only counts.
  template <class T>
  T* take(std::size_t count) {
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

  std::size_t used() const { return used_; }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t guard = 64;  // a gap that the address sanitizer watches
#else
  static constexpr std::size_t guard = 0;
#endif
  std::byte* block_;
  std::size_t used_ = 0;
};

}  // namespace cvxl
