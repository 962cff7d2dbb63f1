// Laws of the engine: known solutions, batch invariance, derivatives, interrupts.

#include <chrono>
#include <stdexcept>
#include <tuple>

#include "batch/pool.hpp"
#include "engine_tools.hpp"
#include "lanes/arena.hpp"
#include "test.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

// A program with dense patterns, from its matrices by rows.
struct Program {
  const char* name;
  Index n, zero;
  std::vector<double> P, q, A, b;  // P lower triangle by rows, or empty
  Status status;
  std::vector<double> x = {}, z = {};
  double objective = 0.0;

  Structure structure() const {
    const auto m = static_cast<Index>(b.size());
    return {n, m, zero, make_pattern(n, n, [&](Index i, Index j) { return !P.empty() && j <= i; }),
            make_pattern(m, n, [](Index, Index) { return true; })};
  }
  std::vector<double> values() const {
    std::vector<double> v;
    for (const auto* part : {&P, &q, &A, &b}) v.insert(v.end(), part->begin(), part->end());
    v.push_back(0.0);
    return v;
  }
};

const Program programs[] = {
    {"univariate", 1, 0, {2}, {-2}, {}, {}, Status::solved, {1}, {}, -1},
    {"univariate, bound active", 1, 0, {1}, {-1}, {1}, {0.5}, Status::solved, {0.5}, {0.5}, -0.375},
    {"univariate, bound inactive", 1, 0, {1}, {-1}, {1}, {2}, Status::solved, {1}, {0}, -0.5},
    {"unconstrained", 2, 0, {2, 1, 2}, {-3, -3}, {}, {}, Status::solved, {1, 1}, {}, -3},
    {"box", 2, 0, {1, 0, 1}, {-3, 0.25}, {1, 0, 0, 1, -1, 0, 0, -1}, {1, 1, 1, 1}, Status::solved, {1, -0.25}, {2, 0, 0, 0}, -2.53125},
    {"equality only", 2, 1, {1, 0, 1}, {0, 0}, {1, 1}, {1}, Status::solved, {0.5, 0.5}, {-0.5}, 0.25},
    {"redundant equalities", 2, 2, {1, 0, 1}, {0, 0}, {1, 1, 2, 2}, {1, 2}, Status::solved, {0.5, 0.5}, {}, 0.25},
    {"duplicated rows", 1, 0, {1}, {-2}, {1, 1}, {1, 1}, Status::solved, {1}, {}, -1.5},
    {"fixed variable", 2, 1, {1, 0, 1}, {-1, -1}, {1, 0, 0, 1}, {3, 0.5}, Status::solved, {3, 0.5}, {-2, 0.5}, 1.125},
    {"semidefinite P", 2, 0, {1, 1, 1}, {-1, -1}, {-1, 0, 0, -1, 1, 0}, {0, 0, 0.25}, Status::solved, {}, {}, -0.5},
    {"linear program", 2, 0, {}, {-1, -2}, {1, 1, -1, 0, 0, -1}, {1, 0, 0}, Status::solved, {0, 1}, {2, 1, 0}, -2},
    {"transport", 2, 1, {}, {1, 3}, {1, 1, -1, 0, 0, -1, 1, 0}, {1, 0, 0, 0.75}, Status::solved, {0.75, 0.25}, {-3, 0, 0, 2}, 1.5},
    {"empty row, satisfied", 1, 0, {1}, {-1}, {0, 1}, {1, 0.5}, Status::solved, {0.5}, {0, 0.5}, -0.375},
    {"infeasible bounds", 1, 0, {1}, {0}, {1, -1}, {0, -1}, Status::primal_infeasible},
    {"infeasible bounds, linear", 1, 0, {}, {1}, {1, -1}, {0, -1}, Status::primal_infeasible},
    {"infeasible equalities", 1, 2, {1}, {0}, {1, 1}, {0, 1}, Status::primal_infeasible},
    {"infeasible empty row", 1, 0, {1}, {0}, {0, 1}, {-1, 1}, Status::primal_infeasible},
    {"unbounded", 1, 0, {}, {-1}, {-1}, {0}, Status::dual_infeasible},
    {"unbounded along a null direction of P", 2, 0, {1, 0, 0}, {0, -1}, {1, 0}, {1}, Status::dual_infeasible},
    {"unbounded without rows", 1, 0, {}, {-1}, {}, {}, Status::dual_infeasible},
};

void check_program(const Program& p, const Engine& engine, double tolerance) {
  const std::vector<double> values = p.values();
  const long before = failures;
  const Answer answer = solve(engine, batch_of(1, {{values.data(), 0}}));
  CHECK(answer.outcome(0) == p.status);
  if (answer.outcome(0) == p.status && p.status == Status::solved) {
    for (std::size_t j = 0; j < p.x.size(); ++j) CHECK_NEAR(answer.x(0)[j], p.x[j], tolerance);
    for (std::size_t i = 0; i < p.z.size(); ++i) CHECK_NEAR(answer.z(0)[i], p.z[i], tolerance);
    CHECK_NEAR(answer.residuals[3], p.objective, tolerance);
    const double *z = answer.z(0), *slack = answer.s(0);
    for (Index i = 0; i < answer.m; ++i) CHECK(i < p.zero ? slack[i] == 0.0 : slack[i] >= 0.0 && z[i] >= 0.0);
  }
  if (failures != before) std::fprintf(stderr, "  in %s (%s), status %d\n", p.name, engine.describe().isa.c_str(), answer.status[0]);
}

// A structure with every feature at once, and instances of it.
const Structure& workhorse() {
  static const Structure s = [] {
    for (const auto& [name, structure] : structures(5))
      if (name == "random") return structure;
    throw std::logic_error("no such structure");
  }();
  return s;
}

// Engine for every instruction set and lane width.
template <class F>
void each_engine(const Problem& problem, F&& visit) {
  for (const auto& isa : available_instruction_sets())
    for (int width : {4, 8}) {
      const ForceIsa force(isa);
      const Engine engine(problem, width);
      CHECK(engine.describe().isa == isa);
      visit(engine);
    }
}

}  // namespace

TEST(known_solutions) {
  for (const Program& p : programs)
    each_engine(plain_problem(p.structure()), [&](const Engine& engine) { check_program(p, engine, 1e-9); });
}

TEST(indefinite_objective_is_invalid_input) {
  const Program p{"indefinite", 2, 0, {1, 2, 1}, {0, 0}, {1, 0, -1, 0, 0, 1, 0, -1}, {1, 1, 1, 1}, Status::invalid_input};
  Problem problem = plain_problem(p.structure());
  problem.check_convexity = true;
  const Engine engine(problem);
  check_program(p, engine, 0.0);
  const Program convex{"convex", 2, 0, {2, 1, 2}, {0, 0}, p.A, p.b, Status::solved, {0, 0}, {0, 0, 0, 0}, 0};
  check_program(convex, engine, 1e-9);
}

TEST(random_programs_reach_their_solution_on_every_instruction_set) {
  for (const auto& [name, s] : all_structures(5)) {
    const Index B = 11;
    Random random(3);
    std::vector<Numbers> numbers;
    std::vector<double> rows;
    for (Index i = 0; i < B; ++i) {
      numbers.push_back(solvable(s, random));
      rows.insert(rows.end(), numbers[i].values.begin(), numbers[i].values.end());
    }
    const long before = failures;
    std::optional<Answer> first;
    each_engine(plain_problem(s), [&](const Engine& engine) {
      const Answer answer = solve(engine, batch_of(B, {{rows.data(), s.values()}}));
      for (Index i = 0; i < B; ++i) {
        double objective = numbers[i].values.back(), scale = 1.0;
        for (Index j = 0; j < s.n; ++j) {
          objective += numbers[i].q[j] * numbers[i].x[j];
          for (Index k = 0; k < s.n; ++k) objective += 0.5 * numbers[i].x[j] * numbers[i].P[j][k] * numbers[i].x[k];
        }
        for (double q : numbers[i].q) scale = std::max(scale, std::abs(q));
        CHECK(answer.outcome(i) == Status::solved);
        CHECK_NEAR(answer.residuals[4 * i + 3], objective, 1e-8 * scale * std::max(1.0, std::abs(objective)));
        // x is unique where P is positive definite
        if (s.P.nnz() >= s.n)
          for (Index j = 0; j < s.n; ++j) CHECK_NEAR(answer.x(i)[j], numbers[i].x[j], 1e-7);
      }
      if (!first) first = answer;
      CHECK(identical(answer.status, first->status));
      if (s.P.nnz() >= s.n)
        for (Index i = 0; i < B; ++i)
          for (Index j = 0; j < s.n; ++j) CHECK_NEAR(answer.x(i)[j], first->x(i)[j], 1e-9);
    });
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}

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
    const BatchView batch{shape, {{one.data(), std::vector<std::int64_t>(shape.size())}, {one.data(), std::vector<std::int64_t>(shape.size())}}};
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

// <w, J t> = <J'w, t>, with sums over shared parameters, on every structure and instruction set.
TEST(vjp_is_the_adjoint_of_jvp) {
  for (const auto& [name, s] : all_structures(5)) {
    const Index B = 10, size = s.values();
    Random random(8);
    const std::vector<double> shared = solvable_rows(s, 1, 30);
    const long before = failures;
    each_engine(mixed_problem(s), [&](const Engine& engine) {
      std::vector<double> tape, rows, tangent_rows, tangent_shared, cotangent;
      for (Index i = 0; i < B; ++i) {
        const Numbers numbers = solvable(s, random);
        for (Index k = 0; k < size; ++k) rows.push_back((numbers.values[k] - 0.01 - 0.7 * shared[k]) / 0.3);
        for (const auto& part : {numbers.x, numbers.z, numbers.s}) tape.insert(tape.end(), part.begin(), part.end());
        if (i == 4) std::fill(tape.end() - (s.n + 2 * s.m), tape.end(), std::numeric_limits<double>::quiet_NaN());
      }
      for (Index k = 0; k < B * size; ++k) tangent_rows.push_back(random.uniform());
      for (Index k = 0; k < size; ++k) tangent_shared.push_back(random.uniform());
      for (Index k = 0; k < B * 3; ++k) cotangent.push_back(random.uniform());
      const BatchView batch = batch_of(B, {{rows.data(), size}, {shared.data(), 0}});
      const BatchView tangents = batch_of(B, {{tangent_rows.data(), size}, {tangent_shared.data(), 0}});

      const Tangents t = jvp(engine, batch, tape, tangents);
      const Gradients per_row = vjp(engine, batch, tape, cotangent, {false, false});
      const Gradients summed = vjp(engine, batch, tape, cotangent, {false, true});
      CHECK(t.completed && per_row.completed && summed.completed && identical(per_row.arrays[0], summed.arrays[0]));
      for (Index i = 0; i < B; ++i) {
        double left = 0.0, right = 0.0, scale = 0.0;
        for (Index o = 0; o < 3; ++o) {
          left += cotangent[3 * i + o] * t.outputs[3 * i + o];
          scale += std::abs(cotangent[3 * i + o] * t.outputs[3 * i + o]);
        }
        for (Index k = 0; k < size; ++k) {
          const double a = per_row.arrays[0][i * size + k] * tangent_rows[i * size + k], b = per_row.arrays[1][i * size + k] * tangent_shared[k];
          right += a + b;
          scale += std::abs(a) + std::abs(b);
        }
        if (i == 4) CHECK(left == 0.0 && right == 0.0 && scale == 0.0);
        // Where the solution is not differentiable the two answers are damped ones of different equations.
        if (!t.degenerate[i] && !per_row.degenerate[i]) CHECK_NEAR(left, right, 1e-12 * scale);
      }
      for (Index k = 0; k < size; ++k) {
        double sum = 0.0, scale = 0.0;
        for (Index i = 0; i < B; ++i) {
          sum += per_row.arrays[1][i * size + k];
          scale += std::abs(per_row.arrays[1][i * size + k]);
        }
        CHECK_NEAR(summed.arrays[1][k], sum, 1e-14 * scale);
      }
      for (int threads : {1, 2, 4}) {
        CHECK(identical(vjp(engine, batch, tape, cotangent, {false, true}, threads).arrays[1], summed.arrays[1]));
        CHECK(identical(jvp(engine, batch, tape, tangents, threads).outputs, t.outputs));
      }
    });
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}

// min ½|x - c|² over a box: dx/dc is 1 where the bound is inactive, 0 where it is active, and the bound takes over.
TEST(derivatives_of_a_projection) {
  const Structure s{3, 6, 0, make_pattern(3, 3, [](Index i, Index j) { return i == j; }), make_pattern(6, 3, [](Index i, Index j) { return i % 3 == j; })};
  const std::vector<double> values{1, 1, 1, -3, -0.25, 2, 1, 1, 1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 0};
  each_engine(plain_problem(s), [&](const Engine& engine) {
    const BatchView batch = batch_of(1, {{values.data(), 0}});
    const Answer answer = solve(engine, batch);
    std::vector<double> cotangent(9);
    cotangent[0] = 2;
    cotangent[1] = 3;
    cotangent[2] = 5;
    const Gradients g = vjp(engine, batch, answer.tape, cotangent, {false});
    const double* q = &g.arrays[0][s.q_offset()];
    const double* b = &g.arrays[0][s.b_offset()];
    const double expected_q[] = {0, -3, 0}, expected_b[] = {2, 0, 0, 0, 0, -5};
    for (int j = 0; j < 3; ++j) CHECK_NEAR(q[j], expected_q[j], 1e-12);
    for (int i = 0; i < 6; ++i) CHECK_NEAR(b[i], expected_b[i], 1e-12);
    CHECK(!g.degenerate[0]);
  });
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
  using Clock = std::chrono::steady_clock;
  const Structure& s = workhorse();
  const std::vector<double> one = solvable_rows(s, 1, 6);
  const Engine engine(plain_problem(s));
  const std::int64_t B = 1 << 19;
  const BatchView batch = batch_of(B, {{one.data(), 0}});
  std::vector<double> outputs(static_cast<std::size_t>(B) * static_cast<std::size_t>(s.n + s.m)), residuals(static_cast<std::size_t>(B) * 4);
  std::vector<std::int8_t> status(B, -1);
  std::vector<Index> iterations(B);
  for (int threads : {1, 4}) {
    int asked = 0;
    const auto start = Clock::now();
    const bool completed = engine.solve(batch, with_threads(threads), {{}, outputs, {}, status, iterations, residuals},
                                        [&] { return ++asked == 2; });
    CHECK(!completed);
    CHECK(asked == 2);
    CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 1.0);
    CHECK(status.back() == -1);
  }
  const Answer after = solve(engine, batch_of(3, {{one.data(), 0}}));
  CHECK(after.completed && after.outcome(2) == Status::solved);
}

TEST(inconsistent_structures_are_refused) {
  const auto refused = [](Problem problem) {
    try {
      const Engine engine(std::move(problem));
      return false;
    } catch (const std::invalid_argument&) {
      return true;
    }
  };
  const Problem good = plain_problem(workhorse());
  CHECK(!refused(good));
  const auto broken = [&](auto&& change) {
    Problem p = good;
    change(p);
    return refused(std::move(p));
  };
  CHECK(broken([](Problem& p) { p.structure.n = 0; }));
  CHECK(broken([](Problem& p) { p.structure.zero = p.structure.m + 1; }));
  CHECK(broken([](Problem& p) { p.structure.A.indices[0] = p.structure.n; }));
  CHECK(broken([](Problem& p) { std::swap(p.structure.A.indices[0], p.structure.A.indices[1]); }));
  CHECK(broken([](Problem& p) { p.structure.P.indices.back() = -1; }));
  CHECK(broken([](Problem& p) { p.parameter_sizes[0] += 1; p.M.pattern.indices.back() += 5; }));
  CHECK(broken([](Problem& p) { p.R.data.pop_back(); }));
}
