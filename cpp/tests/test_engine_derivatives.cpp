// Derivatives of the engine.

#include <algorithm>
#include <limits>

#include "engine_tools.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

constexpr Index B = 10, left_out = 4;  // instances, and the one that has no solution

// Solutions of random instances, and directions: the value vectors are 0.3 rows + 0.7 shared + 0.01.
struct Linearization {
  const Structure& s;
  std::vector<double> shared = solvable_rows(s, 1, 30), rows, tape, tangent_rows, tangent_shared, cotangent;

  Linearization(const Structure& structure, Random& random) : s(structure) {
    const Index size = s.values();
    for (Index i = 0; i < B; ++i) {
      const Numbers numbers = solvable(s, random);
      for (Index k = 0; k < size; ++k) rows.push_back((numbers.values[k] - 0.01 - 0.7 * shared[k]) / 0.3);
      for (const auto& part : {numbers.x, numbers.z, numbers.s}) tape.insert(tape.end(), part.begin(), part.end());
      if (i == left_out) std::fill(tape.end() - (s.n + 2 * s.m), tape.end(), std::numeric_limits<double>::quiet_NaN());
    }
    for (Index k = 0; k < B * size; ++k) tangent_rows.push_back(random.uniform());
    for (Index k = 0; k < size; ++k) tangent_shared.push_back(random.uniform());
    for (Index k = 0; k < B * 3; ++k) cotangent.push_back(random.uniform());
  }

  BatchView batch() const { return batch_of(B, {{rows.data(), s.values()}, {shared.data(), 0}}); }
  BatchView tangents() const { return batch_of(B, {{tangent_rows.data(), s.values()}, {tangent_shared.data(), 0}}); }

  // <w, J t> = <J'w, t> of one instance.
  void check_instance(Index i, const Tangents& t, const Gradients& g) const {
    const Index size = s.values();
    double left = 0.0, right = 0.0, scale = 0.0;
    for (Index o = 0; o < 3; ++o) {
      left += cotangent[3 * i + o] * t.outputs[3 * i + o];
      scale += std::abs(cotangent[3 * i + o] * t.outputs[3 * i + o]);
    }
    for (Index k = 0; k < size; ++k) {
      const double a = g.arrays[0][i * size + k] * tangent_rows[i * size + k], b = g.arrays[1][i * size + k] * tangent_shared[k];
      right += a + b;
      scale += std::abs(a) + std::abs(b);
    }
    if (i == left_out) CHECK(left == 0.0 && right == 0.0 && scale == 0.0);
    // Where the solution is not differentiable the two answers are damped ones of different equations.
    if (!t.degenerate[i] && !g.degenerate[i]) CHECK_NEAR(left, right, 1e-12 * scale);
  }
};

// The gradient of a shared parameter is the sum of those of its instances.
void check_sum(const std::vector<double>& summed, const std::vector<double>& per_row) {
  for (std::size_t k = 0; k < summed.size(); ++k) {
    double sum = 0.0, scale = 0.0;
    for (std::size_t i = 0; i < B; ++i) {
      sum += per_row[i * summed.size() + k];
      scale += std::abs(per_row[i * summed.size() + k]);
    }
    CHECK_NEAR(summed[k], sum, 1e-14 * scale);
  }
}

}  // namespace

// With sums over shared parameters, on every structure and instruction set, and on any number of threads.
TEST(vjp_is_the_adjoint_of_jvp) {
  for (const auto& [name, s] : all_structures(5)) {
    Random random(8);
    const long before = failures;
    each_engine(mixed_problem(s), [&, &s = s](const Engine& engine) {
      const Linearization at(s, random);
      const Tangents t = jvp(engine, at.batch(), at.tape, at.tangents());
      const Gradients per_row = vjp(engine, at.batch(), at.tape, at.cotangent, {false, false});
      const Gradients summed = vjp(engine, at.batch(), at.tape, at.cotangent, {false, true});
      CHECK(t.completed && per_row.completed && summed.completed && identical(per_row.arrays[0], summed.arrays[0]));
      for (Index i = 0; i < B; ++i) at.check_instance(i, t, per_row);
      check_sum(summed.arrays[1], per_row.arrays[1]);
      for (int threads : {1, 2, 4}) {
        CHECK(identical(vjp(engine, at.batch(), at.tape, at.cotangent, {false, true}, threads).arrays[1], summed.arrays[1]));
        CHECK(identical(jvp(engine, at.batch(), at.tape, at.tangents(), threads).outputs, t.outputs));
      }
    });
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}

// min ½|x - c|² over a box: dx/dc is 1 where the bound is inactive, 0 where it is active, and the bound takes over.
TEST(derivatives_of_a_projection) {
  const Structure s{3, 6, 0, make_pattern(3, 3, [](Index i, Index j) { return i == j; }),
                    make_pattern(6, 3, [](Index i, Index j) { return i % 3 == j; })};
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
