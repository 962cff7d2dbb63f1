#pragma once
// Spans of the host as spans of one block of device memory.

#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "cuda/driver.hpp"

namespace cvxl::cuda {

class Upload {
 public:
  // Adds what the span holds; it is a span of the device after `send`.
  template <class T>
  void add(std::span<const T>& span) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(at + span.size_bytes());
    if (!span.empty()) std::memcpy(bytes_.data() + at, span.data(), span.size_bytes());
    const std::size_t count = span.size();
    moves_.push_back({&span, at, [count](void* s, Pointer base) {
                        *static_cast<std::span<const T>*>(s) = {reinterpret_cast<const T*>(base), count};
                      }});
  }

  std::size_t bytes() const { return bytes_.size(); }

  void send(const Driver& driver, Pointer to, Stream stream) {
    if (!bytes_.empty()) driver.copy_to_device(to, bytes_.data(), bytes_.size(), stream);
    for (const Move& move : moves_) move.apply(move.span, to + move.at);
  }

 private:
  struct Move {
    void* span;
    std::size_t at;
    std::function<void(void*, Pointer)> apply;
  };
  std::vector<std::byte> bytes_;
  std::vector<Move> moves_;
};

}  // namespace cvxl::cuda
