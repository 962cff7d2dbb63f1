// The mathematics by teams of threads, on the host: the same laws as for lanes, and no thread touches what another does.

#include "engine_tools.hpp"
#include "fibers.hpp"
#include "known_programs.hpp"
#include "plan/team_plan.hpp"
#include "team/adjoint.hpp"
#include "team/solve.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

using V = CVXL_ISA::WatchedNumber;

constexpr int team_sizes[] = {1, 4, 32};

// A batch, as teams see it.
struct Sources {
  std::vector<ParameterSource> source;
  std::vector<std::int64_t> shape, strides;

  explicit Sources(const BatchView& batch) : shape(batch.shape.begin(), batch.shape.end()) {
    for (const ParameterView& p : batch.parameters) {
      source.push_back({p.data, false});
      strides.insert(strides.end(), p.strides.begin(), p.strides.end());
    }
  }
  ParametersView view(double constant) const { return {source, shape, strides, constant}; }
};

// What a team computes, in memory that starts out as NaN and is watched.
class Host {
 public:
  Host(const Problem& problem, int threads)
      : compiled_(problem), plan_(compiled_.plan), view_(compiled_, plan_.view()), threads_(threads) {}

  Answer solve(const Engine& like, const BatchView& batch, const Settings& settings = {}, bool shared_matrices = false,
               std::span<const double> start = {}) {
    Answer answer(like, batch.size());
    const Sources sources(batch);
    std::int64_t next = 0, open = 0;
    SolveView job{
        view_,       settings, sources.view(1.0), batch.size(),  shared_matrices,   false, false, false, {}, start, answer.outputs,
        answer.tape, {},       answer.residuals,  answer.status, answer.iterations, &next, &open};
    run([&](Arena& arena) { const CVXL_ISA::SolveMemory<V> memory(job, arena); },
        [&](std::byte* block) { CVXL_ISA::team_solve<V>(job, Arena(block)); });
    left = open;
    next = 0;
    job.again = true;
    job.shared_matrices = false;
    run([&](Arena& arena) { const CVXL_ISA::AgainMemory<V> memory(job, arena); },
        [&](std::byte* block) { CVXL_ISA::team_solve_again<V>(job, Arena(block)); });
    answer.completed = true;
    return answer;
  }

  Gradients vjp(const BatchView& batch, std::span<const double> tape, const std::vector<double>& cotangent,
                const std::vector<bool>& summed, std::int64_t block) {
    Gradients g;
    const auto B = static_cast<std::size_t>(batch.size());
    g.degenerate.resize(B);
    std::vector<double*> arrays;
    std::vector<std::uint8_t> is_sum(summed.begin(), summed.end());
    std::int64_t entries = 0;
    for (std::size_t p = 0; p < summed.size(); ++p) {
      const auto size = static_cast<std::size_t>(compiled_.problem.parameter_sizes[p]);
      g.arrays.emplace_back(size * (summed[p] ? 1 : B));
      if (summed[p]) entries += static_cast<std::int64_t>(size);
    }
    for (auto& array : g.arrays) arrays.push_back(array.data());
    const std::int64_t blocks = (batch.size() + block - 1) / block;
    std::vector<double> partial(static_cast<std::size_t>(blocks * entries));
    const Sources sources(batch);
    std::int64_t next = 0;
    const AdjointView job{view_,  sources.view(1.0), batch.size(), 1,  block, false, tape, g.degenerate, cotangent, arrays,
                          is_sum, partial,           entries,      {}, {},    &next};
    differentiate(job, [&](std::byte* memory) { CVXL_ISA::team_vjp<V>(job, Arena(memory)); });
    std::size_t offset = 0;
    for (std::size_t p = 0; p < summed.size(); ++p)
      if (summed[p]) {
        for (std::int64_t k = 0; k < blocks; ++k)
          for (std::size_t e = 0; e < g.arrays[p].size(); ++e)
            g.arrays[p][e] += partial[static_cast<std::size_t>(k * entries) + offset + e];
        offset += g.arrays[p].size();
      }
    return g;
  }

  Tangents jvp(const BatchView& batch, std::span<const double> tape, const BatchView& tangents) {
    Tangents t;
    const auto B = static_cast<std::size_t>(batch.size());
    t.outputs.resize(B * static_cast<std::size_t>(compiled_.problem.R.pattern.rows()));
    t.degenerate.resize(B);
    const Sources sources(batch), directions(one_direction(tangents));
    std::int64_t next = 0;
    const AdjointView job{view_, sources.view(1.0),    batch.size(), 1,    3, false, tape, t.degenerate, {}, {}, {}, {},
                          0,     directions.view(0.0), t.outputs,    &next};
    differentiate(job, [&](std::byte* memory) { CVXL_ISA::team_jvp<V>(job, Arena(memory)); });
    return t;
  }

  std::int64_t left = 0;  // by the quadratic loop, of the last solve

 private:
  template <class Run>
  void differentiate(const AdjointView& job, Run&& work) {
    run([&](Arena& arena) { const CVXL_ISA::TeamAdjoint<V> memory(job, arena); }, work);
  }

  template <class Measure, class Run>
  void run(Measure&& measure, Run&& work) {
    Arena arena;
    measure(arena);
    std::vector<double> block(arena.used() / 8 + 8, std::nan(""));
    std::byte* const memory = reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(block.data()) + 63) / 64 * 64);
    Watch watch(memory, arena.used());
    CHECK(Fibers(threads_, 7).run([&] { work(memory); }));
    CHECK(watch.conflicts == 0);
  }

  const Compiled compiled_;
  const TeamPlan plan_;
  const ProblemView view_;
  const int threads_;
};

void check_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  CHECK(a.size() == b.size());
  for (std::size_t k = 0; k < a.size(); ++k)
    if (!(std::isnan(a[k]) && std::isnan(b[k]))) CHECK_NEAR(a[k], b[k], tolerance);
}

}  // namespace

TEST(a_race_is_seen) {
  const auto conflicts = [](auto&& work) {
    std::vector<double> block(64);
    Watch watch(reinterpret_cast<std::byte*>(block.data()), 512);
    watch.quiet = true;
    V* const v = reinterpret_cast<V*>(block.data());
    CHECK(Fibers(4, 3).run([&] { work(v); }));
    return watch.conflicts > 0;
  };
  const auto fill = [](V* v) { CVXL_ISA::each<V>(8, [&](Index k) { v[k] = CVXL_ISA::splat<V>(k); }); };
  CHECK(!conflicts([&](V* v) {
    fill(v);
    CVXL_ISA::each<V>(8, [&](Index k) { v[8 + k] = v[7 - k]; });
  }));
  CHECK(conflicts([&](V* v) { CVXL_ISA::each<V>(8, [&](Index k) { v[k] = v[7 - k]; }); }));
  CHECK(conflicts([&](V* v) { CVXL_ISA::each<V>(8, [&](Index k) { v[k / 2] = V{}; }); }));
  CHECK(conflicts([&](V* v) {
    CVXL_ISA::share<V>(8, [&](Index k) { v[k] = V{}; });
    fill(v + 1);
  }));
  CHECK(conflicts([&](V* v) { v[0] = V{}; }));
}

TEST(a_barrier_that_some_miss_is_seen) {
  CHECK(!Fibers(4, 3).run([] {
    if (CVXL_ISA::Team<V>::rank() == 2) CVXL_ISA::wait<V>();
  }));
}

TEST(numbers_are_equal_in_all_threads) {
  const int threads = 32;
  std::vector<double> sums(threads), largest(threads);
  CHECK(Fibers(threads, 3).run([&] {
    V sum = CVXL_ISA::splat<V>(0.25), most = sum;
    CVXL_ISA::each<V>(100, CVXL_ISA::sums(sum), CVXL_ISA::maxima(most), [&](Index k) {
      const V term = CVXL_ISA::splat<V>(1.0 / (k + 1));
      sum += term;
      most = max(most, term);
    });
    sums[static_cast<std::size_t>(CVXL_ISA::Team<V>::rank())] = sum[0];
    largest[static_cast<std::size_t>(CVXL_ISA::Team<V>::rank())] = most[0];
  }));
  CHECK_NEAR(sums[0], 0.25 + 5.187377517639621, 1e-14);
  for (int k = 0; k < threads; ++k) CHECK(sums[k] == sums[0] && largest[k] == 1.0);
}

TEST(teams_find_known_solutions) {
  std::int64_t left = 0;  // to the homogeneous loop
  for (const Program& p : programs)
    for (const int threads : team_sizes) {
      const long before = failures;
      const Engine engine(plain_problem(p.structure()), 4);
      const std::vector<double> values = p.values();
      const BatchView batch = batch_of(1, {{values.data(), 0}});
      Host host(engine.problem(), threads);
      const Answer answer = host.solve(engine, batch);
      CHECK(answer.outcome(0) == p.status);
      left += host.left;
      for (std::size_t j = 0; j < p.x.size(); ++j) CHECK_NEAR(answer.x(0)[j], p.x[j], 1e-9);
      for (std::size_t i = 0; i < p.z.size(); ++i) CHECK_NEAR(answer.z(0)[i], p.z[i], 1e-9);
      if (p.status == Status::solved) CHECK_NEAR(answer.residuals[3], p.objective, 1e-9);
      if (failures != before) std::fprintf(stderr, "  in %s, %d threads\n", p.name, threads);
    }
  CHECK(left > 0);
}

TEST(teams_agree_with_lanes) {
  for (const auto& [name, s] : structures(5))
    for (const int threads : team_sizes) {
      const long before = failures;
      const Index B = 3;
      const Engine engine(plain_problem(s), 4);
      Host host(engine.problem(), threads);
      const std::vector<double> rows = solvable_rows(s, B, 3);
      const BatchView batch = batch_of(B, {{rows.data(), s.values()}});
      const Answer expected = solve(engine, batch), answer = host.solve(engine, batch);
      CHECK(answer.status == expected.status);
      for (Index i = 0; i < B; ++i) {
        CHECK_NEAR(answer.residuals[4 * i + 3], expected.residuals[4 * i + 3], 1e-8);
        if (s.P.nnz() >= s.n)
          for (Index j = 0; j < s.n; ++j) CHECK_NEAR(answer.x(i)[j], expected.x(i)[j], 1e-9);
      }
      const Answer warm = host.solve(engine, batch, {}, false, expected.tape);
      CHECK(warm.status == expected.status);
      if (failures != before) std::fprintf(stderr, "  in %s, %d threads\n", name.c_str(), threads);
    }
}

TEST(teams_share_matrices_of_a_batch) {
  const Structure& s = workhorse();
  const Index B = 4;
  const Engine engine(plain_problem(s), 4);
  const std::vector<double> row = solvable_rows(s, 1, 3);
  const BatchView batch = batch_of(B, {{row.data(), 0}});
  Host host(engine.problem(), 32);
  const Answer shared = host.solve(engine, batch, {}, true), apart = host.solve(engine, batch, {}, false);
  CHECK(identical(shared, apart));
}

TEST(teams_of_a_warp_and_more_have_the_same_bits) {
  for (const auto& [name, s] : structures(5)) {
    if (name != "wide" && name != "random") continue;
    const Plan plan = make_plan(s);
    const Levels levels(plan);
    CHECK(levels.view().wide_panels.empty() == (name != "wide") && levels.view().wide_groups.empty() == (name != "wide"));
    const Index B = 3;
    const Engine engine(mixed_problem(s), 4);
    const std::vector<double> rows = solvable_rows(s, B, 3), shared = solvable_rows(s, 1, 3);
    const BatchView batch = batch_of(B, {{rows.data(), s.values()}, {shared.data(), 0}});
    const std::vector<double> cotangent(static_cast<std::size_t>(B) * 3, 1.0);
    Host warp(engine.problem(), 32), larger(engine.problem(), 64);
    const Answer answer = warp.solve(engine, batch);
    CHECK(identical(answer, larger.solve(engine, batch)));
    const auto gradients = [&](Host& host) { return host.vjp(batch, answer.tape, cotangent, {false, true}, 2).arrays; };
    CHECK(gradients(warp) == gradients(larger));
  }
}

TEST(teams_mark_what_is_no_number) {
  const Structure& s = workhorse();
  const Index B = 3;
  const Engine engine(plain_problem(s), 4);
  std::vector<double> rows = solvable_rows(s, B, 3);
  Host host(engine.problem(), 32);
  const Answer before = host.solve(engine, batch_of(B, {{rows.data(), s.values()}}));
  rows[static_cast<std::size_t>(s.values()) + 2] = std::nan("");
  const Answer answer = host.solve(engine, batch_of(B, {{rows.data(), s.values()}}));
  CHECK(answer.outcome(1) == Status::invalid_input);
  CHECK(std::isnan(answer.outputs[static_cast<std::size_t>(s.n + s.m)]));
  CHECK(identical(answer, 0, before, 0) && identical(answer, 2, before, 2));
}

TEST(derivatives_by_teams_agree_with_lanes) {
  for (const auto& [name, s] : structures(5))
    for (const int threads : team_sizes) {
      const long before = failures;
      const Index B = 5;
      const Engine engine(mixed_problem(s), 4);
      Host host(engine.problem(), threads);
      const std::vector<double> rows = solvable_rows(s, B, 3), shared = solvable_rows(s, 1, 3);
      const BatchView batch = batch_of(B, {{rows.data(), s.values()}, {shared.data(), 0}});
      const Answer at = solve(engine, batch);
      Random random(11);
      std::vector<double> cotangent(static_cast<std::size_t>(B) * 3), tangent(rows.size());
      for (auto* v : {&cotangent, &tangent})
        for (double& c : *v) c = random.uniform();
      const Gradients expected = vjp(engine, batch, at.tape, cotangent, {false, true});
      const Gradients g = host.vjp(batch, at.tape, cotangent, {false, true}, 2);
      bool in_doubt = false;
      for (const auto flag : g.degenerate) in_doubt |= flag != 0;
      if (!in_doubt)
        for (std::size_t p = 0; p < 2; ++p) check_near(g.arrays[p], expected.arrays[p], 1e-8);
      const BatchView tangents = batch_of(B, {{tangent.data(), s.values()}, {shared.data(), 0}});
      const Tangents t = host.jvp(batch, at.tape, tangents), wanted = jvp(engine, batch, at.tape, tangents);
      if (!in_doubt) check_near(t.outputs, wanted.outputs, 1e-8);
      if (failures != before) std::fprintf(stderr, "  in %s, %d threads\n", name.c_str(), threads);
    }
}
