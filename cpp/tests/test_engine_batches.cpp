// What a batch, its axes, shared parameters, memory and interrupts do to an instance: nothing.

#include <tuple>

#include "engine/pool.hpp"
#include "engine_tools.hpp"
#include "lanes/arena.hpp"

using namespace cvxl;
using namespace cvxl::testing;

TEST(an_instance_does_not_see_its_neighbours) {
  const Structure& s = workhorse();
  const Index stride = s.values(), most = 17;
  each_engine(plain_problem(s), [&](const Engine& engine) {
    std::vector<double> rows = solvable_rows(s, most, 9);
    rows[3 * stride + s.q_offset()] = std::nan("");
    rows[5 * stride + s.A_offset()] = __builtin_inf();
    // Two opposite bounds that exclude each other, and one whose numbers are far apart.
    for (Index i = s.zero; i < s.m; ++i) rows[7 * stride + s.b_offset() + i] = -1e3;
    for (Index k = 0; k < s.P.nnz(); ++k) rows[8 * stride + k] *= 1e12;
    std::vector<Answer> alone;
    for (Index i = 0; i < most; ++i) alone.push_back(solve(engine, batch_of(1, {{&rows[i * stride], stride}})));
    CHECK(alone[3].outcome(0) == Status::invalid_input && alone[5].outcome(0) == Status::invalid_input);
    CHECK(alone[7].outcome(0) == Status::primal_infeasible);
    for (Index B = 1; B <= most; ++B)
      for (int threads : {1, 2, 4}) {
        const Answer together = solve(engine, batch_of(B, {{rows.data(), stride}}), with_threads(threads));
        for (Index i = 0; i < B; ++i) CHECK(identical(together, i, alone[i], 0));
      }
    // Backwards.
    const Answer reversed = solve(engine, batch_of(most, {{&rows[(most - 1) * stride], -stride}}));
    for (Index i = 0; i < most; ++i) CHECK(identical(reversed, most - 1 - i, alone[i], 0));
  });
}

TEST(sharing_a_parameter_changes_no_bit) {
  const Structure& s = workhorse();
  const Index stride = s.values(), B = 9;
  const std::vector<double> rows = solvable_rows(s, B, 21), one = solvable_rows(s, 1, 22);
  std::vector<double> repeated, same(rows.begin(), rows.begin() + stride), all;
  for (Index i = 0; i < B; ++i) {
    repeated.insert(repeated.end(), one.begin(), one.end());
    all.insert(all.end(), same.begin(), same.end());
  }
  each_engine(mixed_problem(s), [&](const Engine& engine) {
    const Answer shared = solve(engine, batch_of(B, {{rows.data(), stride}, {one.data(), 0}}));
    const Answer expanded = solve(engine, batch_of(B, {{rows.data(), stride}, {repeated.data(), stride}}));
    CHECK(identical(shared, expanded));
    for (Index i = 0; i < B; ++i) {
      const Answer alone = solve(engine, batch_of(1, {{&rows[i * stride], stride}, {one.data(), 0}}));
      CHECK(identical(alone, 0, expanded, i));
    }
    // Matrices that every instance shares take the path that scales them once.
    CHECK(identical(solve(engine, batch_of(B, {{same.data(), 0}, {one.data(), 0}})),
                    solve(engine, batch_of(B, {{all.data(), stride}, {repeated.data(), stride}}))));
  });
}

TEST(marked_instances_are_not_solved) {
  const Structure& s = workhorse();
  const Index B = 6;
  const std::vector<double> rows = solvable_rows(s, B, 4);
  const Engine engine(plain_problem(s));
  const BatchView batch = batch_of(B, {{rows.data(), s.values()}});
  const Answer all = solve(engine, batch);
  Answer some(engine, B);
  const std::vector<std::uint8_t> invalid{0, 1, 0, 0, 0, 1};
  SolveRequest request = some.request();
  request.invalid = invalid;
  CHECK(engine.solve(batch, {}, request));
  for (Index i = 0; i < B; ++i)
    if (invalid[i])
      CHECK(some.outcome(i) == Status::invalid_input && std::isnan(*some.x(i)) && std::isnan(some.residuals[4 * i]));
    else
      CHECK(identical(some, i, all, i));
}

TEST(an_empty_batch_is_nothing) {
  const Engine engine(mixed_problem(workhorse()));
  const Index size = workhorse().values();
  const std::vector<double> one = solvable_rows(workhorse(), 1, 1);
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{0}, {3, 0}, {0, 2}}) {
    const BatchView batch{
        shape, {{one.data(), std::vector<std::int64_t>(shape.size())}, {one.data(), std::vector<std::int64_t>(shape.size())}}};
    const Answer answer = solve(engine, batch);
    CHECK(answer.completed && answer.status.empty());
    const Gradients g = vjp(engine, batch, answer.tape, {}, {true, false});
    CHECK(g.completed && g.arrays[0] == std::vector<double>(size) && g.arrays[1].empty());
    CHECK(jvp(engine, batch, answer.tape, batch).completed);
  }
}

TEST(batch_axes_are_in_c_order) {
  const Structure& s = workhorse();
  const Index stride = s.values();
  const std::vector<double> rows = solvable_rows(s, 6, 2);
  const Engine engine(plain_problem(s));
  const Answer flat = solve(engine, batch_of(6, {{rows.data(), stride}}));
  const Answer grid = solve(engine, {{2, 3}, {{rows.data(), {3 * stride, stride}}}});
  CHECK(identical(flat, grid));
  const Answer transposed = solve(engine, {{3, 2}, {{rows.data(), {stride, 3 * stride}}}});
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 2; ++j) CHECK(identical(transposed, 2 * i + j, flat, 3 * j + i));
}

// What a thread's memory held before a call has no influence on it.
TEST(working_memory_is_written_before_it_is_read) {
  for (const auto& [name, s] : all_structures(5)) {
    const Index B = 7, size = s.values();
    std::vector<double> rows = solvable_rows(s, B, 14);
    const std::vector<double> cotangent(3 * B, 1.0);
    const long before = failures;
    each_engine(mixed_problem(s), [&](const Engine& engine) {
      const BatchView batch = batch_of(B, {{rows.data(), size}, {rows.data(), 0}});
      const auto bytes = static_cast<std::size_t>(engine.describe().arena_bytes);
      const auto fill = [&](int byte) {
        const ArenaLease lease(bytes);
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(lease.data(), bytes);
#endif
        std::memset(lease.data(), byte, bytes);
      };
      const auto run = [&](int byte) {
        fill(byte);
        Answer answer = solve(engine, batch, with_threads(1));
        fill(byte);
        Gradients g = vjp(engine, batch, answer.tape, cotangent, {false, true}, 1);
        fill(byte);
        Tangents t = jvp(engine, batch, answer.tape, batch, 1);
        return std::tuple{std::move(answer), std::move(g), std::move(t)};
      };
      const auto [answer, g, t] = run(0);
      for (int byte : {0xff, 0x7f, 0x41}) {  // NaN, NaN of the other sign or 1e307, 2e6
        const auto [answer2, g2, t2] = run(byte);
        CHECK(identical(answer, answer2));
        CHECK(identical(g.arrays[0], g2.arrays[0]) && identical(g.arrays[1], g2.arrays[1]) && g.degenerate == g2.degenerate);
        CHECK(identical(t.outputs, t2.outputs) && t.degenerate == t2.degenerate);
      }
    });
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}

TEST(an_interrupt_stops_a_long_batch) {
  const Structure& s = workhorse();
  const std::vector<double> one = solvable_rows(s, 1, 6);
  const Engine engine(plain_problem(s));
  const std::int64_t B = 1 << 19;
  const BatchView batch = batch_of(B, {{one.data(), 0}});
  std::vector<double> outputs(static_cast<std::size_t>(B) * static_cast<std::size_t>(s.n + s.m)),
      residuals(static_cast<std::size_t>(B) * 4);
  std::vector<std::int8_t> status(B, -1);
  std::vector<Index> iterations(B);
  for (int threads : {1, 4}) {
    int asked = 0;
    const bool completed =
        engine.solve(batch, with_threads(threads), {{}, outputs, {}, status, iterations, residuals}, [&] { return ++asked == 2; });
    CHECK(!completed);
    CHECK(asked == 2);
    CHECK(status.back() == -1);
  }
  const Answer after = solve(engine, batch_of(3, {{one.data(), 0}}));
  CHECK(after.completed && after.outcome(2) == Status::solved);
}
