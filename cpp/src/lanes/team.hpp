#pragma once
// Loops that a team of threads shares. In each lane type an instance has the threads of `Team<V>`: one, the caller, for vectors,
// whose lanes are other instances; many for numbers on a device.
//
// All threads of a team run the same code on numbers of their own, which are equal in all of them, and on arrays, which they have in
// common. A loop says what it is:
//
//   each<V>(n, f)                       f(0), …, f(n - 1) are independent: none reads what another writes
//   each<V>(n, sums(a), maxima(b), f)   they add to a, and b becomes the largest of itself and what they have
//   once<V>(f)                          one thread's work
//   share<V>(n, f)                      as each, for loops that follow each other: none waits until wait<V>()
//
// What is written outside of these are the thread's own numbers, never an array. A loop ends when all threads have ended it, so that
// what follows may read everything. Numbers that a loop accumulates are named, or they would differ from thread to thread; they are
// accumulated by at most 32 threads and combined along a tree, so that teams of 32 and more have the same bits. For a team of one all
// of this is the loop itself.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cvxl/program.hpp"
#include "lanes/scalar.hpp"

namespace cvxl::CVXL_ISA {

// A team of one. Others have:
//   size(), rank()     the number of its threads, and of the calling one
//   sync()             waits for all of them
//   combine(v, f)      v of all threads, combined by f in a fixed order, which is the same in all of them; waits for them
//   ticket(counter)    the counter before it was raised by one, by whichever team; waits for them
//   raise(counter)     the same for one thread, which does not ask
template <class V>
struct Team {
  static constexpr bool alone = true;
};

// Whether a program may have cones beyond the orthant: those of teams have none, nor those of single instances (batch/single.cpp).
template <class V>
inline constexpr bool has_cones = Team<V>::alone && !std::is_same_v<V, Number>;

// The ways to combine; each knows what does not change the result.
struct Plus {
  template <class T>
  static CVXL_INLINE T of(const T& a, const T& b) {
    return a + b;
  }
};
struct Largest {
  template <class T>
  static CVXL_INLINE T of(const T& a, const T& b) {
    return max(a, b);
  }
};
struct Smallest {
  template <class T>
  static CVXL_INLINE T of(const T& a, const T& b) {
    return min(a, b);
  }
};
struct Either {
  template <class T>
  static CVXL_INLINE T of(const T& a, const T& b) {
    return a | b;
  }
};
struct Both {
  template <class T>
  static CVXL_INLINE T of(const T& a, const T& b) {
    return a & b;
  }
};

template <class How, class... T>
struct Accumulated;
template <class How>
struct Accumulated<How> {
  template <class Team>
  CVXL_INLINE void begin() const {}
  template <class Team>
  CVXL_INLINE void end() const {}
};
template <class How, class First, class... Rest>
struct Accumulated<How, First, Rest...> {
  First& first;
  Accumulated<How, Rest...> rest;

  // Sums begin in one thread only; everything else may be combined with itself.
  template <class Team>
  CVXL_INLINE void begin() const {
    if constexpr (std::is_same_v<How, Plus>)
      if (Team::rank() != 0) first = First{};
    rest.template begin<Team>();
  }
  template <class Team>
  CVXL_INLINE void end() const {
    first = Team::combine(first, [](const First& a, const First& b) { return How::of(a, b); });
    rest.template end<Team>();
  }
};
template <class How>
CVXL_INLINE Accumulated<How> accumulated() {
  return {};
}
template <class How, class First, class... Rest>
CVXL_INLINE Accumulated<How, First, Rest...> accumulated(First& first, Rest&... rest) {
  return {first, accumulated<How>(rest...)};
}

template <class... T>
CVXL_INLINE auto sums(T&... v) {
  return accumulated<Plus>(v...);
}
template <class... T>
CVXL_INLINE auto maxima(T&... v) {
  return accumulated<Largest>(v...);
}
template <class... T>
CVXL_INLINE auto minima(T&... v) {
  return accumulated<Smallest>(v...);
}
template <class... T>
CVXL_INLINE auto any_of(T&... v) {
  return accumulated<Either>(v...);
}
template <class... T>
CVXL_INLINE auto all_of(T&... v) {
  return accumulated<Both>(v...);
}

// Several of them.
template <class... Parts>
struct Together {
  template <class Team>
  CVXL_INLINE void begin() const {}
  template <class Team>
  CVXL_INLINE void end() const {}
};
template <class First, class Rest>
struct Together<First, Rest> {
  First first;
  Rest rest;

  template <class Team>
  CVXL_INLINE void begin() const {
    first.template begin<Team>();
    rest.template begin<Team>();
  }
  template <class Team>
  CVXL_INLINE void end() const {
    rest.template end<Team>();
    first.template end<Team>();
  }
};
template <class First, class Rest>
CVXL_INLINE Together<First, Rest> together(const First& first, const Rest& rest) {
  return {first, rest};
}

inline constexpr Index most_accumulating = 32;

template <class V, class How, class F>
CVXL_INLINE void run_loop(Index begin, Index end, const How& how, F&& f) {
  if constexpr (Team<V>::alone) {
    for (Index i = begin; i < end; ++i) f(i);
  } else if constexpr (std::is_same_v<How, Together<>>) {
    for (Index i = begin + Team<V>::rank(); i < end; i += Team<V>::size()) f(i);
    Team<V>::sync();
  } else {
    how.template begin<Team<V>>();
    const Index threads = Team<V>::size() < most_accumulating ? Team<V>::size() : most_accumulating;
    if (Team<V>::rank() < threads)
      for (Index i = begin + Team<V>::rank(); i < end; i += threads) f(i);
    how.template end<Team<V>>();
  }
}

// What comes before the last argument is what the loop accumulates.
template <class V, class How, class First, class... Rest>
CVXL_INLINE void collect_loop(Index begin, Index end, const How& how, First&& first, Rest&&... rest) {
  if constexpr (sizeof...(Rest) == 0)
    run_loop<V>(begin, end, how, first);
  else
    collect_loop<V>(begin, end, Together<First, How>{first, how}, rest...);
}

// each(count, …, f), and the same from `begin` on.
template <class V, class... Arguments>
CVXL_INLINE void each(Index count, Arguments&&... arguments) {
  collect_loop<V>(0, count, Together<>{}, arguments...);
}
template <class V, class... Arguments>
CVXL_INLINE void each_in(Index begin, Index end, Arguments&&... arguments) {
  collect_loop<V>(begin, end, Together<>{}, arguments...);
}

template <class V, class F>
CVXL_INLINE void share(Index count, F&& f) {
  if constexpr (Team<V>::alone)
    for (Index i = 0; i < count; ++i) f(i);
  else
    for (Index i = Team<V>::rank(); i < count; i += Team<V>::size()) f(i);
}
template <class V>
CVXL_INLINE void wait() {
  if constexpr (!Team<V>::alone) Team<V>::sync();
}

template <class V, class F>
CVXL_INLINE void once(F&& f) {
  if constexpr (Team<V>::alone) {
    f();
  } else {
    if (Team<V>::rank() == 0) f();
    Team<V>::sync();
  }
}

template <class V, class T>
CVXL_INLINE void copy(const T* from, Index count, T* to) {
  each<V>(count, [&](Index k) { to[k] = from[k]; });
}
template <class V, class T>
CVXL_INLINE void fill(T* to, Index count, const T& value) {
  each<V>(count, [&](Index k) { to[k] = value; });
}

}  // namespace cvxl::CVXL_ISA
