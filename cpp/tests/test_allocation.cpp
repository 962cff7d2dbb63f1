// No allocation in the loop: a call allocates as often for many instances as for few. Counts every operator new of the process.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "engine_tools.hpp"
#include "test.hpp"

namespace {

std::atomic<long> allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
#if defined(_WIN32)
  void* p = _aligned_malloc(rounded ? rounded : alignment, alignment);
#else
  void* p = std::aligned_alloc(alignment, rounded ? rounded : alignment);
#endif
  return p ? p : throw std::bad_alloc();
}

void release(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

}  // namespace

// The array forms too: the sanitizers bring their own. What is left out is defined in terms of these.
void* operator new(std::size_t bytes) { return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t bytes) { return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { release(p); }

using namespace cvxl;
using namespace cvxl::testing;

namespace {

// Calls of new during f.
template <class F>
long count(F&& f) {
  const long before = allocations;
  f();
  return allocations - before;
}

}  // namespace

TEST(the_counter_counts) {
  CHECK(count([] { std::vector<double>(3).swap(*std::make_unique<std::vector<double>>()); }) == 2);
  CHECK(count([] { ::operator delete[](::operator new[](64, std::align_val_t{64}), std::align_val_t{64}); }) == 1);
}

TEST(no_allocation_per_instance_or_iteration) {
  const Index few = 64, many = 512;
  for (const auto& [name, s] : all_structures(5)) {
    const Engine engine(mixed_problem(s));
    const Index size = s.values();
    const std::vector<double> rows = solvable_rows(s, many, 70);
    const std::vector<double> cotangent(static_cast<std::size_t>(3 * many), 1.0);
    const long before = failures;
    for (int threads : {1, 3}) {
      const auto measure = [&](Index B) {
        const BatchView batch = batch_of(B, {{rows.data(), size}, {rows.data(), 0}});
        Answer answer(engine, B);
        const SolveRequest request = answer.request();
        std::vector<double> row_gradient(static_cast<std::size_t>(B) * static_cast<std::size_t>(size)), sum(size), outputs(3 * B);
        std::vector<std::uint8_t> degenerate(B);
        const VjpRequest pull{answer.tape, 1, {cotangent.data(), static_cast<std::size_t>(3 * B)}, {row_gradient, sum}, degenerate};
        const JvpRequest push{answer.tape, one_direction(batch), outputs, degenerate};
        const HvpRequest bend{pull, one_direction(batch)};
        const Settings settings = with_threads(threads);
        // The least of several calls: a thread's first one brings its working memory into being.
        std::array<long, 5> least{1000, 1000, 1000, 1000, 1000};
        for (int repeat = 0; repeat < 8; ++repeat) {
          least[0] = std::min(least[0], count([&] { engine.solve(batch, settings, request); }));
          least[1] = std::min(least[1], count([&] { engine.vjp(batch, pull, threads); }));
          least[2] = std::min(least[2], count([&] { engine.jvp(batch, push, threads); }));
          least[3] = std::min(least[3], count([&] { engine.hvp(batch, bend, threads); }));
          least[4] = std::min(least[4], count([&] { engine.centre(batch, answer.tape, 1e-3, threads); }));
        }
        return least;
      };
      measure(many);
      // What the first loop leaves unresolved is solved again: a fixed number of allocations more, where there is any.
      const auto least = measure(few), most = measure(many);
      CHECK(most[0] <= least[0] + 16 && std::equal(least.begin() + 1, least.end(), most.begin() + 1));
    }
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}
