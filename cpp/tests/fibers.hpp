#pragma once
// A team on the host: its threads are fibers, which run one after the other, in pseudo-random order between barriers. Their arrays
// are watched: where, between two barriers, one writes what another reads or writes, a device would race. And all must meet at the
// same barriers.

#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "lanes/scalar.hpp"
#include "lanes/team.hpp"

namespace cvxl::testing {

// Who touched each word of a block of memory since the last barrier.
class Watch {
 public:
  static inline Watch* active = nullptr;

  Watch(const std::byte* block, std::size_t bytes) : block_(block), words_((bytes + 7) / 8) { active = this; }
  ~Watch() { active = nullptr; }
  Watch(const Watch&) = delete;

  int thread = 0;
  std::uint32_t phase = 1;
  long conflicts = 0;
  bool quiet = false;

  void read(const void* p) {
    if (Word* w = find(p)) {
      if (w->written == phase && w->writer != thread) report(p, "reads what was written by", w->writer);
      w->reader = w->read == phase && w->reader != thread ? several : thread;
      w->read = phase;
    }
  }
  void write(const void* p) {
    if (Word* w = find(p)) {
      if (w->written == phase && w->writer != thread) report(p, "writes what was written by", w->writer);
      if (w->read == phase && w->reader != thread) report(p, "writes what was read by", w->reader);
      w->written = phase;
      w->writer = thread;
    }
  }

 private:
  static constexpr int several = -1;
  struct Word {
    std::uint32_t written = 0, read = 0;
    int writer = 0, reader = 0;
  };

  Word* find(const void* p) {
    const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(p) - block_) / 8;
    return offset < words_.size() ? &words_[offset] : nullptr;
  }
  void report(const void* p, const char* what, int other) {
    if (conflicts++ == 0 && !quiet)
      std::fprintf(stderr, "  word %td: thread %d %s thread %d\n", (static_cast<const std::byte*>(p) - block_) / 8, thread, what,
                   other);
  }

  const std::byte* block_;
  std::vector<Word> words_;
};

// A number in memory that is watched.
template <class T>
class Watched {
 public:
  Watched() = default;
  Watched(T value) : value_(value) { written(); }
  Watched(const Watched& other) : value_(other) { written(); }
  Watched& operator=(const Watched& other) { return *this = static_cast<T>(other); }
  Watched& operator=(T value) {
    value_ = value;
    written();
    return *this;
  }
  operator T() const {
    if (Watch::active) Watch::active->read(this);
    return value_;
  }

 private:
  void written() {
    if (Watch::active) Watch::active->write(this);
  }
  T value_{};
};

class Fibers {
 public:
  static inline Fibers* active = nullptr;

  Fibers(int count, unsigned seed) : count_(count), random_(seed * 2 + 1), fibers_(static_cast<std::size_t>(count)) {}

  // Runs f in every thread of a team; whether all met at the same barriers.
  bool run(const std::function<void()>& f) {
    active = this;
    body_ = &f;
    for (Fiber& fiber : fibers_) {
      fiber.stack = std::make_unique<std::byte[]>(stack_bytes);
      fiber.barriers = 0;
      fiber.done = false;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = stack_bytes;
      fiber.context.uc_link = &home_;
      makecontext(&fiber.context, [] { active->begin(); }, 0);
    }
    bool together = true;
    while (together && !fibers_[0].done) {
      visit_in_any_order();
      for (const Fiber& fiber : fibers_) together &= fiber.done == fibers_[0].done && fiber.barriers == fibers_[0].barriers;
      if (Watch::active) ++Watch::active->phase;
    }
    active = nullptr;
    return together;
  }

  int count() const { return count_; }
  int rank() const { return rank_; }
  void barrier() {
    ++fibers_[static_cast<std::size_t>(rank_)].barriers;
    swapcontext(&fibers_[static_cast<std::size_t>(rank_)].context, &home_);
  }

  // v of all threads along a binary tree. What one of them leaves here is read before it is written again: two sets take turns.
  template <class T, class F>
  T combine(const T& v, F&& f) {
    const std::size_t own = static_cast<std::size_t>(rank_), all = fibers_.size();
    const std::size_t set = (fibers_[own].barriers % 2) * all;
    std::memcpy(slots_[set + own], static_cast<const void*>(&v), sizeof(T));
    barrier();
    T tree[most];
    for (std::size_t k = 0; k < all; ++k) std::memcpy(static_cast<void*>(&tree[k]), slots_[set + k], sizeof(T));
    for (std::size_t width = all / 2; width > 0; width /= 2)
      for (std::size_t k = 0; k < width; ++k) tree[k] = f(tree[k], tree[k + width]);
    return tree[0];
  }

 private:
  static constexpr std::size_t stack_bytes = 256 << 10, most = 64;
  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<std::byte[]> stack;
    std::size_t barriers = 0;
    bool done = false;
  };

  void begin() {
    (*body_)();
    fibers_[static_cast<std::size_t>(rank_)].done = true;
  }

  void visit_in_any_order() {
    std::vector<int> order(fibers_.size());
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int>(k);
    for (std::size_t left = order.size(); left > 0; --left) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      const std::size_t k = (random_ >> 33) % left;
      rank_ = order[k];
      order[k] = order[left - 1];
      if (Watch::active) Watch::active->thread = rank_;
      if (Fiber& fiber = fibers_[static_cast<std::size_t>(rank_)]; !fiber.done) swapcontext(&home_, &fiber.context);
    }
  }

  int count_, rank_ = 0;
  std::uint64_t random_;
  std::vector<Fiber> fibers_;
  std::byte slots_[2 * most][16];
  ucontext_t home_{};
  const std::function<void()>* body_ = nullptr;
};

}  // namespace cvxl::testing

namespace cvxl::CVXL_ISA {

using WatchedNumber = Scalar<testing::Watched<double>, testing::Watched<Truth>>;

template <>
struct Team<WatchedNumber> {
  static constexpr bool alone = false;
  static Index size() { return testing::Fibers::active->count(); }
  static Index rank() { return testing::Fibers::active->rank(); }
  static void sync() { testing::Fibers::active->barrier(); }
  template <class T, class F>
  static T combine(const T& v, F&& f) {
    return testing::Fibers::active->combine(v, f);
  }
  static void raise(std::int64_t& counter) { ++counter; }
  static std::int64_t ticket(std::int64_t& counter) {
    const std::int64_t drawn = rank() == 0 ? counter++ : 0;
    return combine(drawn, [](std::int64_t a, std::int64_t b) { return a + b; });
  }
};

}  // namespace cvxl::CVXL_ISA
