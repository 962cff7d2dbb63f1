// The numeric kernels of one instruction set against Gaussian elimination with pivoting in extended precision. Compiled once per
// instruction set with the flags of the kernels; test_instruction_sets.cpp runs what the machine can run.

#include "kkt/factor.hpp"
#include "matrix_frame.hpp"
#include "poisoned.hpp"
#include "random_programs.hpp"
#include "solve_dense.hpp"
#include "test.hpp"

namespace cvxl::CVXL_ISA {
namespace {

using namespace cvxl::testing;

// One lane's numbers in internal variables: everything Kkt reads.
struct System {
  std::vector<double> P, A, e, delta, r1, r2;
  double rho;
  std::vector<Frame> frames = {};  // of cones that leave K as a whole
  std::vector<double> given = {};  // A with the columns rotated that are
};

System random_system(const Structure& s, const PlanView& plan, Random& random) {
  const Numbers numbers = solvable(s, random);
  System v{{}, {}, {}, {}, {}, {}, random.uniform(0.1, 0.5)};
  for (Index source : plan.P_source) v.P.push_back(numbers.values[source]);
  for (Index source : plan.A_source) v.A.push_back(source < 0 ? 0.0 : numbers.values[source]);
  for (const WholeBlock& block : plan.whole) v.frames.emplace_back(plan.cones[block.cone].order, random);
  for (Index i = 0; i < s.m; ++i) {
    v.e.push_back(i >= s.zero && random.flip(0.25) ? 0.0 : random.uniform(0.3, 1.0));  // 0: the row is switched off
    v.delta.push_back(random.uniform(0.1, 1.0));
    v.r2.push_back(random.uniform());
  }
  for (const WholeBlock& block : plan.whole)
    if (const ConeBlock& cone = plan.cones[block.cone]; block.of_variables)  // a variable is what its row is, up to a factor
      for (Index i = cone.first; i < cone.first + cone.rows(); ++i)
        v.A[plan.A.indptr[i]] = random.flip(0.5) ? random.uniform(0.5, 1.0) : random.uniform(-1.0, -0.5);
  for (const WholeBlock& block : plan.whole)
    if (const ConeBlock& cone = plan.cones[block.cone]; random.flip(0.5)) {  // as in the frames of scalings
      std::fill_n(v.e.begin() + cone.first, cone.rows(), 0.5);
      std::fill_n(v.delta.begin() + cone.first, cone.rows(), 0.4);
    }
  for (Index j = 0; j < s.n; ++j) v.r1.push_back(random.uniform());
  v.given = v.A;
  plan.for_rotating_faces([&](const WholeBlock& block, const FaceEntry* entries) {
    const Frame& frame = v.frames[static_cast<std::size_t>(&block - plan.whole.data())];
    const Index rows = plan.cones[block.cone].rows();
    for (Index i = 0; i < rows; ++i) {
      v.given[entries[i].source] = 0.0;
      for (Index r = 0; r < rows; ++r) v.given[entries[i].source] += frame.turn(i, r) * v.A[entries[r].source];
    }
  });
  return v;
}

// A with the rows of cones that leave K as a whole in their frames.
Dense rotated_rows(const PlanView& plan, const System& v) {
  Dense A(v.r2.size(), std::vector<double>(v.r1.size()));
  for (Index i = 0; i < plan.m; ++i)
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) A[i][plan.A.indices[k]] = v.A[k];
  for (std::size_t b = 0; b < plan.whole.size(); ++b) {
    const ConeBlock& cone = plan.cones[plan.whole[b].cone];
    const Dense own(A.begin() + cone.first, A.begin() + cone.first + cone.rows());
    for (Index i = 0; i < cone.rows(); ++i)
      for (std::size_t j = 0; j < v.r1.size(); ++j) {
        A[cone.first + i][j] = 0.0;
        for (Index r = 0; r < cone.rows(); ++r) A[cone.first + i][j] += v.frames[b].turn(i, r) * own[r][j];
      }
  }
  return A;
}

// P dx + ρ dx + A'dz = r1, e²(A dx - r2) = Δ dz, with the rows of A in frames; ρ of variables that are a cone is that of A dx.
std::vector<long double> reference(const PlanView& plan, const System& v) {
  const std::size_t n = v.r1.size(), m = v.r2.size();
  const Dense A = rotated_rows(plan, v);
  std::vector<std::vector<long double>> K(n + m, std::vector<long double>(n + m + 1));
  for (std::size_t i = 0; i < n; ++i) {
    K[i][i] += v.rho;
    K[i][n + m] = v.r1[i];
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
      const auto j = static_cast<std::size_t>(plan.P.indices[k]);
      K[i][j] += v.P[k];
      if (i != j) K[j][i] += v.P[k];
    }
  }
  for (std::size_t i = 0; i < m; ++i) {
    const long double e2 = static_cast<long double>(v.e[i]) * v.e[i];
    K[n + i][n + i] = -v.delta[i];
    K[n + i][n + m] = e2 * v.r2[i];
    for (std::size_t j = 0; j < n; ++j) {
      K[n + i][j] = e2 * A[i][j];
      K[j][n + i] = A[i][j];
    }
  }
  for (const WholeBlock& block : plan.whole) {
    if (!block.of_variables) continue;
    const ConeBlock& cone = plan.cones[block.cone];
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      const Index own = plan.A.indices[plan.A.indptr[i]];
      K[own][own] -= v.rho;
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t l = 0; l < n; ++l) K[j][l] += v.rho * static_cast<long double>(A[i][j]) * A[i][l];
    }
  }
  return solve_dense(std::move(K));
}

// Factors and solves the systems, one a lane, in memory that starts out as NaN.
template <class V>
struct Run {
  static constexpr int W = lanes_of<V>;
  std::vector<std::vector<double>> solution;  // lane → (dx, dz)
  std::vector<bool> broken;

  Run(const PlanView& plan, const std::vector<const System*>& lanes) {
    Arena measure;
    {
      Kkt<V> kkt(plan, measure);
      allocate(plan, measure);
    }
    Block64 block(measure.used());
    Arena arena(block.data());
    Kkt<V> kkt(plan, arena);
    const Vectors v = allocate(plan, arena);
    const auto fill = [&](V* to, auto member) {
      for (int lane = 0; lane < W; ++lane)
        for (std::size_t k = 0; k < (lanes[lane]->*member).size(); ++k) to[k][lane] = (lanes[lane]->*member)[k];
    };
    fill(v.P, &System::P);
    fill(v.A, &System::given);
    fill(v.r1, &System::r1);
    fill(v.r2, &System::r2);
    fill(kkt.e, &System::e);
    fill(kkt.delta, &System::delta);
    for (std::size_t b = 0; b < plan.whole.size(); ++b) {
      V* frame = v.frames + b * v.square;
      kkt.whole.frame[b] = frame;
      for (int lane = 0; lane < W; ++lane) {
        const Frame& own = lanes[lane]->frames[b];
        const auto& entries = plan.whole[b].of_variables ? own.inverse : own.B;
        for (std::size_t k = 0; k < entries.size(); ++k) frame[k][lane] = entries[k];
      }
    }
    V rho;
    for (int lane = 0; lane < W; ++lane) rho[lane] = lanes[lane]->rho;
    const MaskOf<V> mask = kkt.factorize(v.P, v.A, rho);
    kkt.solve(v.A, v.r1, v.r2, v.dx, v.dz);
    for (int lane = 0; lane < W; ++lane) {
      broken.push_back(mask[lane] != 0);
      solution.emplace_back();
      for (Index j = 0; j < plan.n; ++j) solution[lane].push_back(v.dx[j][lane]);
      for (Index i = 0; i < plan.m; ++i) solution[lane].push_back(v.dz[i][lane]);
    }
  }

 private:
  struct Vectors {
    V *P, *A, *r1, *r2, *dx, *dz, *frames;
    std::size_t square;  // of the largest frame
  };
  static Vectors allocate(const PlanView& plan, Arena& arena) {
    V* P = arena.take<V>(plan.P.nnz());
    V* A = arena.take<V>(plan.A.nnz());
    V* r1 = arena.take<V>(plan.n);
    V* r2 = arena.take<V>(plan.m);
    V* dx = arena.take<V>(plan.n);
    V* dz = arena.take<V>(plan.m);
    std::size_t square = 0;
    for (const WholeBlock& block : plan.whole)
      square = std::max(square, static_cast<std::size_t>(plan.cones[block.cone].order) * plan.cones[block.cone].order);
    return {P, A, r1, r2, dx, dz, arena.take<V>(square * plan.whole.size()), square};
  }
};

bool identical(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(double)));
}

// A pivot of the wrong sign, or a NaN, is seen in its own lane and nowhere else.
template <class V>
void check_poison(const Structure& s, const PlanView& plan, const std::vector<System>& systems, const Run<V>& run) {
  constexpr int W = lanes_of<V>;
  std::vector<const System*> lanes;
  for (const System& system : systems) lanes.push_back(&system);
  for (int lane = 0; lane < W; ++lane) {
    System bad = systems[lane];
    const double poison = lane % 2 ? -1e3 : std::nan("");
    Index kept = -1;
    for (Index i = 0; i < s.m; ++i)
      if (plan.is_kept(i)) kept = i;
    if (kept >= 0 && lane % 4 < 2)
      bad.delta[kept] = poison;
    else
      bad.rho = poison;
    lanes[lane] = &bad;
    const Run<V> mixed(plan, lanes);
    lanes[lane] = &systems[lane];
    for (int other = 0; other < W; ++other) {
      CHECK(mixed.broken[other] == (other == lane));
      if (other != lane) CHECK(identical(mixed.solution[other], run.solution[other]));
    }
  }
}

template <class V>
void check_width() {
  constexpr int W = lanes_of<V>;
  Random random(11);
  auto named = structures(5);
  if (has_cones<V>)
    for (auto& whole : whole_structures(5)) named.push_back(std::move(whole));
  if (W == 1) named.push_back(wide_structure(150, 130));  // more terms and columns than are laid out at a time
  for (const auto& [name, s] : named) {
    const long before = failures;
    const Plan made = make_plan(s);
    const PlanView plan(made);
    std::vector<System> systems;
    for (int lane = 0; lane < W; ++lane) systems.push_back(random_system(s, plan, random));
    std::vector<const System*> lanes;
    for (const System& system : systems) lanes.push_back(&system);

    const Run<V> run(plan, lanes);
    for (int lane = 0; lane < W; ++lane) {
      const auto expected = reference(plan, systems[lane]);
      double scale = 1.0;
      for (long double x : expected) scale = std::max(scale, static_cast<double>(std::abs(x)));
      for (std::size_t k = 0; k < expected.size(); ++k)
        CHECK_NEAR(run.solution[lane][k], static_cast<double>(expected[k]), 1e-11 * scale);
      CHECK(!run.broken[lane]);
      for (std::size_t i = 0; i < systems[lane].e.size(); ++i)
        if (systems[lane].e[i] == 0.0) CHECK(run.solution[lane][s.n + i] == 0.0);
    }

    // The lane a system sits in does not matter.
    for (int shift = 1; shift < W; ++shift) {
      std::rotate(lanes.begin(), lanes.begin() + 1, lanes.end());
      const Run<V> rotated(plan, lanes);
      for (int lane = 0; lane < W; ++lane) CHECK(identical(rotated.solution[lane], run.solution[(lane + shift) % W]));
    }
    check_poison<V>(s, plan, systems, run);
    if (failures != before) std::fprintf(stderr, "  in structure: %s (W = %d)\n", name.c_str(), W);
  }
}

}  // namespace

void check_kkt() {
  check_width<Number>();
  check_width<Real<2>>();
  check_width<Real<4>>();
  if constexpr (most_lanes == 8) check_width<Real<8>>();
}

}  // namespace cvxl::CVXL_ISA
