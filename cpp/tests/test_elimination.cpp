// The elimination of doubtful instances against dense elimination in extended precision, and the choice of multipliers against the
// vertices of their polytope, enumerated.

#include <memory>
#include <new>

#include "adjoint/elimination.hpp"
#include "random_programs.hpp"
#include "solve_dense.hpp"
#include "test.hpp"

namespace cvxl::CVXL_ISA {
namespace {

using namespace cvxl::testing;

struct Alone {
  const Plan made;
  const PlanView plan;
  std::unique_ptr<std::byte[]> block;
  Elimination system;

  explicit Alone(const Structure& s) : made(make_plan(s)), plan(made) {
    Arena count;
    Elimination measured(plan, count);
    block = std::make_unique<std::byte[]>(count.used() + 64);
    Arena arena(reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(block.get()) + 63) / 64 * 64));
    system = Elimination(plan, arena);
  }
};

// (a, ζ) of [P, A'; A, -D] (a, ζ) = (r1, e r2) over the rows that are on, rows of A scaled by e; y = e ζ.
std::vector<long double> reference(const PlanView& plan, const Elimination& v, int passes) {
  const std::size_t n = static_cast<std::size_t>(plan.n), m = static_cast<std::size_t>(plan.m);
  std::vector<std::vector<long double>> K(n + m, std::vector<long double>(n + m + 1));
  for (std::size_t i = 0; i < n; ++i) {
    K[i][n + m] = v.r1[i];
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) K[i][plan.P.indices[k]] = K[plan.P.indices[k]][i] = v.P[k];
  }
  for (std::size_t i = 0; i < m; ++i) {
    const bool on = v.kind[i] != Elimination::off;
    K[n + i][n + i] = on ? -static_cast<long double>(v.root[i]) * v.root[i] : 1.0L;
    K[n + i][n + m] = on ? v.e[i] * static_cast<long double>(v.r2[i]) : 0.0L;
    for (Index k = plan.A.indptr[i]; on && k < plan.A.indptr[i + 1]; ++k)
      K[n + i][plan.A.indices[k]] = K[plan.A.indices[k]][n + i] = v.A[k];
  }
  std::vector<long double> scale(n + m, 1.0L);  // pivots are compared in rows of one size
  for (int pass = 0; pass < passes; ++pass)
    for (std::size_t i = 0; i < n + m; ++i) {
      long double largest = 0.0L;
      for (std::size_t j = 0; j < n + m; ++j) largest = std::max(largest, std::abs(K[i][j]));
      const long double f = 1.0L / std::sqrt(largest);
      for (std::size_t j = 0; j <= n + m; ++j) K[i][j] *= f;
      for (std::size_t j = 0; j < n + m; ++j) K[j][i] *= f;
      scale[i] *= f;
    }
  std::vector<long double> solution = solve_dense(K);
  for (std::size_t i = 0; i < n + m; ++i) solution[i] *= scale[i];
  for (std::size_t i = 0; i < m; ++i) solution[n + i] *= v.kind[i] == Elimination::off ? 0.0L : v.e[i];
  return solution;
}

// The objective of every third variable is scaled by up to 1e10; some of the active rows lie on the curved boundary of a cone.
void compare(const Structure& s, Random& random, int& compared) {
  Alone alone(s);
  Elimination& v = alone.system;
  const PlanView& plan = alone.plan;
  const Numbers numbers = solvable(s, random);
  const double wide = std::pow(10.0, random.uniform(0.0, 5.0));
  for (Index i = 0; i < s.n; ++i)
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k)
      v.P[k] = numbers.values[plan.P_source[k]] * (i % 3 == 0 ? wide : 1.0) * (plan.P.indices[k] % 3 == 0 ? wide : 1.0);
  for (Index i = 0; i < s.m; ++i) {
    const bool active = i < s.zero || random.flip(0.4);
    v.kind[i] = !active ? Elimination::off : i < s.zero ? Elimination::equality : Elimination::inequality;
    v.root[i] = active && i >= s.zero && random.flip(0.3) ? random.uniform(0.1, 0.9) : 0.0;
    v.e[i] = active ? std::sqrt(1.0 - v.root[i] * v.root[i]) : 0.0;
    v.z[i] = 1.0;
    v.r2[i] = random.uniform();
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) v.A[k] = v.e[i] * numbers.values[plan.A_source[k]];
  }
  for (Index j = 0; j < s.n; ++j) v.r1[j] = random.uniform();
  v.factor();
  if (v.choices() > 0 || v.flat_directions() > 0) return;
  const std::vector<long double> expected = reference(plan, v, 20), other = reference(plan, v, 0);
  long double length = 0.0L, doubt = 0.0L;
  for (Index j = 0; j < s.n; ++j) {
    length = std::max(length, std::abs(expected[static_cast<std::size_t>(j)]));
    doubt = std::max(doubt, std::abs(expected[static_cast<std::size_t>(j)] - other[static_cast<std::size_t>(j)]));
  }
  if (doubt > 1e-9L * length) return;  // beyond the reference
  ++compared;
  CHECK(v.solve());
  const auto near = [&](const double* found, Index first, Index count) {
    long double size = 1e-30L;
    for (Index k = 0; k < count; ++k) size = std::max(size, std::abs(expected[static_cast<std::size_t>(first + k)]));
    for (Index k = 0; k < count; ++k)
      CHECK_NEAR(static_cast<double>(found[k] / size), static_cast<double>(expected[static_cast<std::size_t>(first + k)] / size),
                 1e-8);
  };
  near(v.r1, 0, s.n);
  near(v.r2, s.n, s.m);
}

void check_wide_scales() {
  Random random(11);
  int compared = 0;
  for (unsigned seed = 0; seed < 10; ++seed)
    for (const NamedStructure& named : structures(seed))
      if (named.structure.n + named.structure.m <= 60) compare(named.structure, random, compared);
  CHECK(compared > 50);
}

// A_D = C A_B with random C and multipliers: the least value of each multiplier over the vertices of {z ≥ 0}.
void check_vanishing_multipliers() {
  Random random(5);
  for (int trial = 0; trial < 2000; ++trial) {
    constexpr Index rank = 4, dropped = 2, rows = rank + dropped;
    std::unique_ptr<std::byte[]> block = std::make_unique<std::byte[]>(4096);
    Arena arena(block.get());
    Multipliers v(rows, arena);
    v.rank = rank;
    v.dropped = dropped;
    double C[dropped][rank], z[rows];
    for (Index i = 0; i < rows; ++i) {
      (i < rank ? v.basic[i] : v.dependent[i - rank]) = i;
      v.signed_[i] = true;
      v.z[i] = z[i] = random.uniform(0.1, 1.0);
    }
    for (Index d = 0; d < dropped; ++d)
      for (Index b = 0; b < rank; ++b) v.at(d, b) = C[d][b] = random.flip(0.3) ? 0.0 : random.uniform(-1.0, 1.0);
    // z_b(t) = z_b + Σ_d C_db (z_d - t_d), z_d(t) = t_d
    const auto slope = [&](Index i, Index d) { return i < rank ? -C[d][i] : static_cast<double>(i - rank == d); };
    const auto value = [&](Index i, const double* t) {
      double sum = i < rank ? z[i] : 0.0;
      for (Index d = 0; d < dropped; ++d) sum += i < rank ? C[d][i] * (z[rank + d] - t[d]) : slope(i, d) * t[d];
      return sum;
    };
    double least[rows];
    std::fill(least, least + rows, HUGE_VAL);
    const double origin[dropped] = {};
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < i; ++j) {
        const double a = slope(i, 0), b = slope(i, 1), c = slope(j, 0), d = slope(j, 1), det = a * d - b * c;
        if (std::abs(det) < 1e-9) continue;
        const double p = -value(i, origin), q = -value(j, origin), t[dropped] = {(p * d - q * b) / det, (a * q - c * p) / det};
        bool feasible = true;
        for (Index k = 0; k < rows; ++k) feasible &= value(k, t) >= -1e-9;
        for (Index k = 0; feasible && k < rows; ++k) least[k] = std::min(least[k], value(k, t));
      }
    v.analyse();
    for (Index i = 0; i < rows; ++i)
      if (least[i] < 1e-12 || least[i] > 1e-6) CHECK(v.vanishes[i] == (least[i] < 1e-12));
    for (Index d = 0; d < dropped; ++d) CHECK(v.z[v.dependent[d]] == 0.0);
    for (Index b = 0; b < rank; ++b) CHECK(v.z[v.basic[b]] >= -1e-12);
  }
}

}  // namespace

void check_elimination() {
  check_wide_scales();
  check_vanishing_multipliers();
}

}  // namespace cvxl::CVXL_ISA
