// The engine finds known solutions and refuses what is none.

#include "engine_tools.hpp"

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
    {"box",
     2,
     0,
     {1, 0, 1},
     {-3, 0.25},
     {1, 0, 0, 1, -1, 0, 0, -1},
     {1, 1, 1, 1},
     Status::solved,
     {1, -0.25},
     {2, 0, 0, 0},
     -2.53125},
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
  if (failures != before)
    std::fprintf(stderr, "  in %s (%s), status %d\n", p.name, engine.describe().isa.c_str(), answer.status[0]);
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
    each_engine(plain_problem(s), [&, &s = s](const Engine& engine) {
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
  CHECK(broken([](Problem& p) {
    p.parameter_sizes[0] += 1;
    p.M.pattern.indices.back() += 5;
  }));
  CHECK(broken([](Problem& p) { p.R.data.pop_back(); }));
}
