// Threads: the pool, the working memory of a thread, concurrent calls of one engine, fork. The target of the thread sanitizer.

#include <signal.h>
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "engine/pool.hpp"
#include "engine_tools.hpp"
#include "test.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

// Large enough that a batch is worth waking threads for.
const Structure& dense_structure() {
  static const Structure s{24, 30, 2, make_pattern(24, 24, [](Index i, Index j) { return j <= i; }),
                           make_pattern(30, 24, [](Index i, Index j) { return i < 6 || i - 6 == j; })};
  return s;
}

// Runs f on several threads at once.
template <class F>
void concurrently(int threads, F&& f) {
  std::vector<std::thread> crowd;
  for (int t = 0; t < threads; ++t) crowd.emplace_back([&f, t] { f(t); });
  for (std::thread& thread : crowd) thread.join();
}

// Starts counting when a job begins, and holds it until as many as are wanted have begun (two seconds at most).
struct Assembly {
  explicit Assembly(int wanted) : wanted_(wanted) {}
  void join() {
    ++begun_;
    for (int wait = 0; begun_ < wanted_ && wait < 2000; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  const int wanted_;
  std::atomic<int> begun_{0};
};

}  // namespace

// The caller runs always, a worker at most once: one that wakes up late has missed the round.
TEST(the_caller_runs_and_workers_run_once_at_most) {
  for (int round = 0; round < 200; ++round) {
    const int threads = 1 + round % 7;
    std::vector<std::atomic<int>> runs(threads);
    const auto caller = std::this_thread::get_id();
    run_parallel(threads, [&](int worker) {
      ++runs[worker];
      if (worker == 0) CHECK(std::this_thread::get_id() == caller);
    });
    CHECK(runs[0] == 1);
    for (const auto& count : runs) CHECK(count <= 1);
  }
}

TEST(all_workers_join_a_long_round) {
  for (int threads : {2, 3, 7}) {
    Assembly all(threads);
    std::atomic<int> ran{0};
    run_parallel(threads, [&](int) {
      all.join();
      ++ran;
    });
    CHECK(ran == threads);
  }
}

// A call that finds the pool taken, by another thread or by its own caller, does all the work alone.
TEST(calls_within_and_beside_calls_work_alone) {
  std::atomic<int> outer{0}, inner{0}, done{0};
  run_parallel(3, [&](int) {
    ++outer;
    run_parallel(3, [&](int) { ++inner; });
  });
  CHECK(inner == outer);
  concurrently(6, [&](int) {
    for (int round = 0; round < 100; ++round) {
      std::atomic<bool> first{false};
      run_parallel(4, [&](int worker) {
        if (worker == 0) first = true;
      });
      done += first;
    }
  });
  CHECK(done == 600);
}

TEST(exceptions_of_workers_reach_the_caller) {
  for (int thrower = 0; thrower < 3; ++thrower) {
    std::atomic<int> finished{0};
    Assembly all(3);
    bool caught = false;
    try {
      run_parallel(3, [&](int worker) {
        all.join();
        if (worker == thrower) throw std::runtime_error("as told");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        ++finished;
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught && finished == 2);  // nobody works on after the call
  }
  Assembly all(3);
  std::atomic<int> ran{0};
  run_parallel(3, [&](int) {
    all.join();
    ++ran;
  });
  CHECK(ran == 3);
}

TEST(leases_nest_and_are_aligned) {
  const ArenaLease outer(1000);
  std::memset(outer.data(), 1, 1000);
  for (std::size_t bytes : {std::size_t{64}, std::size_t{100000}}) {
    const ArenaLease inner(bytes), innermost(bytes);
    CHECK(inner.data() != outer.data() && inner.data() != innermost.data());
    for (const ArenaLease* lease : {&outer, &inner, &innermost}) CHECK(reinterpret_cast<std::uintptr_t>(lease->data()) % 64 == 0);
    std::memset(inner.data(), 2, bytes);
    std::memset(innermost.data(), 3, bytes);
  }
  for (std::size_t k = 0; k < 1000; ++k) CHECK(outer.data()[k] == std::byte{1});
  std::byte* kept = nullptr;
  { kept = ArenaLease(5000).data(); }
  CHECK(ArenaLease(4000).data() == kept);
}

// Several threads use two engines, whose working memories differ in size, each with a pool of threads of its own asking.
TEST(an_engine_serves_many_threads) {
  const Structure& large = dense_structure();
  const Structure small = structures(5)[1].structure;
  const Engine engines[] = {Engine(plain_problem(large)), Engine(plain_problem(small))};
  const Index B = 24;
  struct Expected {
    std::vector<double> rows, cotangent;
    std::optional<Answer> answer;
    Gradients gradients;
    Tangents tangents;
  } expected[2];
  const auto batch = [&](int k) { return batch_of(B, {{expected[k].rows.data(), engines[k].problem().structure.values()}}); };
  for (int k : {0, 1}) {
    const Structure& s = engines[k].problem().structure;
    expected[k].rows = solvable_rows(s, B, 40);
    expected[k].cotangent.assign(static_cast<std::size_t>(B * (s.n + s.m)), 1.0);
    expected[k].answer = solve(engines[k], batch(k), with_threads(1));
    expected[k].gradients = vjp(engines[k], batch(k), expected[k].answer->tape, expected[k].cotangent, {true}, 1);
    expected[k].tangents = jvp(engines[k], batch(k), expected[k].answer->tape, batch(k), 1);
  }
  concurrently(6, [&](int t) {
    for (int round = 0; round < 6; ++round) {
      const int k = (t + round) % 2, threads = 1 + (t + round) % 4;
      CHECK(identical(solve(engines[k], batch(k), with_threads(threads)), *expected[k].answer));
      const std::vector<double>& tape = expected[k].answer->tape;
      CHECK(identical(vjp(engines[k], batch(k), tape, expected[k].cotangent, {true}, threads).arrays[0],
                      expected[k].gradients.arrays[0]));
      CHECK(identical(jvp(engines[k], batch(k), tape, batch(k), threads).outputs, expected[k].tangents.outputs));
    }
  });
}

// Signal handlers of the caller may solve programs while a batch is being solved.
TEST(an_interrupt_may_use_the_engine) {
  const Engine engine(plain_problem(dense_structure())), other(plain_problem(structures(5)[8].structure));
  // The same B instances, repeated.
  const auto batch = [](const Engine& of, const std::vector<double>& rows, std::int64_t repeats, std::int64_t B) {
    return BatchView{{repeats, B}, {{rows.data(), {0, of.problem().structure.values()}}}};
  };
  const std::int64_t B = 500;
  const std::vector<double> rows = solvable_rows(engine.problem().structure, B, 50),
                            few = solvable_rows(other.problem().structure, 5, 51);
  const Answer expected = solve(engine, batch(engine, rows, 1, B)), expected_inner = solve(other, batch(other, few, 1, 5));
  // Longer and longer, until the caller is asked.
  std::int64_t repeats = 4;
  for (int threads : {1, 3})
    for (int asked = 0; asked == 0; repeats *= 2) {
      const Answer answer = solve(engine, batch(engine, rows, repeats, B), with_threads(threads), [&] {
        ++asked;
        CHECK(identical(solve(other, batch(other, few, 1, 5), with_threads(threads)), expected_inner));
        CHECK(identical(solve(engine, batch(engine, rows, 1, 3), with_threads(threads)), 0, expected, 0));
        return false;
      });
      CHECK(answer.completed);
      for (std::int64_t i = 0; i < repeats * B; ++i) CHECK(identical(answer, i, expected, i % B));
      if (repeats > 4096) break;
    }
  bool caught = false;
  try {
    solve(engine, batch(engine, rows, repeats, B), with_threads(3), []() -> bool { throw std::runtime_error("as told"); });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  CHECK(caught && identical(solve(engine, batch(engine, rows, 1, B)), expected));
}

#if !defined(_WIN32) && !defined(__SANITIZE_THREAD__)  // which does not support threads in a child of a process with threads
TEST(a_forked_child_solves_too) {
  if (std::getenv("CVXL_EMULATED")) return;  // qemu-user neither: it aborts the child, assertion in qemu_plugin_vcpu_init_hook
  const Engine engine(plain_problem(dense_structure()));
  const Index B = 64;
  const std::vector<double> rows = solvable_rows(dense_structure(), B, 60);
  const BatchView batch = batch_of(B, {{rows.data(), dense_structure().values()}});
  const Answer expected = solve(engine, batch, with_threads(3));  // the parent's pool has threads now
  const pid_t child = fork();
  if (child == 0) {
    // Twice: with a fresh pool, then with one that has threads.
    const bool same =
        identical(solve(engine, batch, with_threads(3)), expected) && identical(solve(engine, batch, with_threads(3)), expected);
    _exit(same ? 0 : 1);
  }
  CHECK(child > 0);
  int status = 0;
  pid_t ended = 0;
  for (int wait = 0; wait < 2000 && ended == 0; ++wait) {
    ended = waitpid(child, &status, WNOHANG);
    if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (ended == 0) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  CHECK(ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(identical(solve(engine, batch, with_threads(3)), expected));
}
#endif
