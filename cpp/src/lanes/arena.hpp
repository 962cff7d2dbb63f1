#pragma once
// Working memory of one thread, carved out of one block before the loop starts. A first pass over a null block measures it.

#include <cstddef>
#include <cstdint>

namespace cvxl {

class Arena {
 public:
  explicit Arena(std::byte* block = nullptr) : block_(block) {}

  // `count` objects of T, aligned to a cache line; a null arena only counts.
  template <class T>
  T* take(std::size_t count) {
    T* p = block_ ? reinterpret_cast<T*>(block_ + used_) : nullptr;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return p;
  }

  std::size_t used() const { return used_; }

 private:
  std::byte* block_;
  std::size_t used_ = 0;
};

}  // namespace cvxl
