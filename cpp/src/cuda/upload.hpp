#pragma once
// Spans of the host as spans of one block of device memory.

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "cuda/driver.hpp"
#include "cuda/payload.hpp"

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
    move(to);
  }

  // The same by a kernel that has the bytes among its arguments, which a graph keeps: of memory of the host it would keep the address.
  void write(const Driver& driver, Function kernel, Pointer to, Stream stream) {
    for (std::size_t at = 0; at < bytes_.size(); at += sizeof(Payload)) {
      Payload payload;
      auto count = static_cast<unsigned>(std::min(sizeof(Payload), bytes_.size() - at));
      std::memcpy(payload.bytes, bytes_.data() + at, count);
      Pointer place = to + at;
      void* arguments[] = {&payload, &place, &count};
      driver.launch(kernel, 1, 128, 1, 0, stream, arguments);
    }
    move(to);
  }

 private:
  void move(Pointer to) {
    for (const Move& m : moves_) m.apply(m.span, to + m.at);
  }

  struct Move {
    void* span;
    std::size_t at;
    std::function<void(void*, Pointer)> apply;
  };
  std::vector<std::byte> bytes_;
  std::vector<Move> moves_;
};

}  // namespace cvxl::cuda
