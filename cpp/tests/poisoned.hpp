#pragma once
// Memory that a test lends to an arena.

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace cvxl::testing {

// A block of exactly the size asked for, filled with NaN: what is read before it is written shows in the results.
class Block64 {
 public:
  explicit Block64(std::size_t bytes) : bytes_(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{64}))) {
    std::memset(bytes_.get(), 0xff, bytes);
  }
  std::byte* data() { return bytes_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
};

}  // namespace cvxl::testing
