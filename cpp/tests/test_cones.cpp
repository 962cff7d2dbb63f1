// The cones of one instruction set: elementary functions, scalings, frames and projections. Compiled once per instruction set;
// test_instruction_sets.cpp runs what the machine can run.

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <new>

#include "cones/cones.hpp"
#include "random_programs.hpp"
#include "test.hpp"

namespace cvxl::CVXL_ISA {
namespace {

using namespace cvxl::testing;
using V = Real<4>;

double relative(double value, long double exact) {
  return static_cast<double>(std::abs((static_cast<long double>(value) - exact) / (exact == 0.0L ? 1.0L : exact)));
}

void check_elementary_functions() {
  Random random(1);
  for (int k = 0; k < 20000; ++k) {
    const double size = std::exp(random.uniform(-700.0, 700.0)),
                 near = 1.0 + random.uniform() * std::exp(random.uniform(-30.0, 0.0));
    for (const double a : {size, near})
      if (a > 0.0) CHECK(relative(log(splat<V>(a))[0], std::log(static_cast<long double>(a))) < 1e-15);
    const double small = random.uniform() * std::exp(random.uniform(-40.0, 0.0)), x = random.uniform(-700.0, 700.0);
    CHECK(relative(log1p(splat<V>(small))[0], std::log1p(static_cast<long double>(small))) < 1e-15);
    CHECK(relative(exp(splat<V>(x))[0], std::exp(static_cast<long double>(x))) < 1e-15);
  }
}

// Against rotations, on matrices with simple, clustered and zero eigenvalues.
void check_smallest_eigenvalue() {
  Random random(5);
  const double accuracy = 1e-3;
  for (Index k = 1; k <= 10; ++k)
    for (int kind = 0; kind < 24; ++kind) {
      const Index count = k * k;
      std::vector<double> A(count);
      std::vector<V> packed(count), other(count), U(count), scratch(3 * k);
      double lowest[4];
      for (int lane = 0; lane < 4; ++lane) {
        const double size = std::exp(random.uniform(-8.0, 8.0));
        for (Index j = 0; j < k; ++j)
          for (Index i = 0; i <= j; ++i) {
            const double off = kind % 4 == 0 ? 0.0 : random.uniform(-1.0, 1.0),
                         diagonal = kind % 3 == 0 ? 1.0 : random.uniform(-1.0, 1.0);
            A[i * k + j] = A[j * k + i] = kind == 1 ? 0.0 : size * (i == j ? diagonal : kind % 5 == 0 ? 1e-9 * off : off);
          }
        for (Index r = 0; r < count; ++r) packed[r][lane] = other[r][lane] = A[r];
        for (Index r = 0; r < count; ++r) U[r][lane] = 0.0;
      }
      diagonalize(other.data(), U.data(), k, ~Mask<4>{});
      double norm[4] = {};
      for (int lane = 0; lane < 4; ++lane) {
        lowest[lane] = other[0][lane];
        for (Index j = 0; j < k; ++j) {
          lowest[lane] = std::min(lowest[lane], other[j * k + j][lane]);
          norm[lane] = std::max(norm[lane], std::abs(other[j * k + j][lane]));
        }
      }
      const V least = smallest_eigenvalue(packed.data(), k, scratch.data(), accuracy);
      for (int lane = 0; lane < 4; ++lane) {
        CHECK(least[lane] <= lowest[lane] + 1e-12 * norm[lane]);
        CHECK(least[lane] >= lowest[lane] - accuracy * std::max(1.0, std::abs(lowest[lane])) - 1e-12 * norm[lane]);
      }
    }
}

// XQ = Q diag(d) with orthogonal Q, and the eigenvalue that is nearest to zero, on matrices with clustered and zero eigenvalues, some
// of which fall apart in some lanes.
void check_symmetric_eigen() {
  Random random(6);
  for (const Index k : {1, 2, 3, 4, 7, 20})
    for (int kind = 0; kind < 6; ++kind) {
      const Index count = k * k;
      std::vector<V> X(count), Q(count), d(k), scratch(3 * k);
      for (Index j = 0; j < k; ++j)
        for (Index i = 0; i <= j; ++i)
          for (int lane = 0; lane < 4; ++lane) {
            const bool apart = (kind == 1 || (kind == 2 && lane % 2)) && i / 3 != j / 3;
            const double entry = kind == 3 ? 1.0 : kind == 4 ? i == j : kind == 5 ? 0.0 : random.uniform();
            X[i * k + j][lane] = X[j * k + i][lane] = apart ? 0.0 : entry * std::pow(10.0, kind == 0 ? -0.2 * (i + j) : 0.0);
          }
      Q = X;
      symmetric_eigen(Q.data(), k, d.data(), scratch.data(), ~Mask<4>{});
      V off{}, nearest = splat<V>(HUGE_VAL);
      for (Index i = 0; i < k; ++i) {
        nearest = min(nearest, abs(d[i]));
        for (Index j = 0; j < k; ++j) {
          V inner = splat<V>(i == j ? -1.0 : 0.0), image = -Q[j * k + i] * d[j];
          for (Index l = 0; l < k; ++l) {
            inner += Q[i * k + l] * Q[j * k + l];
            image += X[l * k + i] * Q[j * k + l];
          }
          off = max(off, max(abs(inner), abs(image)));
        }
      }
      const V found = nearest_eigenvalue(X.data(), k, scratch.data());
      for (int lane = 0; lane < 4; ++lane) {
        CHECK(off[lane] < 1e-13);
        CHECK_NEAR(found[lane], nearest[lane], 1e-13);
      }
    }
}

// Plans hold references: everything a product of cones needs, in one place.
struct Fixture {
  Structure structure;
  const Plan made;
  const PlanView plan;
  std::vector<std::unique_ptr<V[], std::function<void(V*)>>> vectors;
  std::unique_ptr<std::byte[], std::function<void(std::byte*)>> block;
  std::unique_ptr<Cones<V>> cones;

  explicit Fixture(const Structure& s) : structure(s), made(make_plan(structure)), plan(made) {
    Arena counting;
    const Cones<V> measure(plan, counting);
    block = {static_cast<std::byte*>(::operator new[](counting.used(), std::align_val_t{64})),
             [](std::byte* p) { ::operator delete[](p, std::align_val_t{64}); }};
    std::memset(block.get(), 0xff, counting.used());
    Arena arena(block.get());
    cones = std::make_unique<Cones<V>>(plan, arena);
  }

  V* vector() {
    vectors.push_back({new (std::align_val_t{64}) V[static_cast<std::size_t>(plan.m)],
                       [](V* p) { ::operator delete[](p, std::align_val_t{64}); }});
    return vectors.back().get();
  }
};

// A point well inside K and K*: the central one plus something small.
void draw_inside(Fixture& f, Random& random, V* s, V* z) {
  f.cones->begin(s, z, ~Mask<4>{});
  for (Index i = f.plan.zero; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) {
      s[i][lane] += 0.1 * random.uniform();
      z[i][lane] += 0.1 * random.uniform();
    }
}

// In a frame that need not be orthonormal dz = T'u and ds = T⁻¹diag(h)u belong together: ds = H dz. H is symmetric, so that H z = s
// if z'ds = s'dz for every u; and it is the H of the orthonormal frame.
void check_any_frame(Fixture& f, const V* s, const V* z, V mu) {
  V *ds = f.vector(), *dz = f.vector(), *same = f.vector();
  for (Index k = f.plan.zero; k < f.plan.m; ++k) {
    f.cones->scale(s, z, mu, Mask<4>{}, ~Mask<4>{}, Frames::any);
    for (Index i = 0; i < f.plan.m; ++i) {
      dz[i] = splat<V>(i == k ? 1.0 : 0.0);
      ds[i] = f.cones->h[i] * dz[i];
    }
    f.cones->back(dz);
    f.cones->inverse(ds);
    f.cones->scale(s, z, mu, Mask<4>{}, ~Mask<4>{}, Frames::orthonormal);
    std::copy(dz, dz + f.plan.m, same);
    f.cones->forward(same);
    for (Index i = 0; i < f.plan.m; ++i) same[i] *= f.cones->h[i];
    f.cones->back(same);
    V left = V{}, right = V{};
    for (Index i = f.plan.zero; i < f.plan.m; ++i) {
      left += z[i] * ds[i];
      right += s[i] * dz[i];
      for (int lane = 0; lane < 4; ++lane) CHECK_NEAR(ds[i][lane], same[i][lane], 1e-12);
    }
    for (int lane = 0; lane < 4; ++lane) CHECK_NEAR(left[lane], right[lane], 1e-12);
  }
}

// T is orthogonal, and T'diag(h)T maps z to s: the secant equation of every scaling.
void check_scaling(const Structure& structure) {
  Fixture f(structure);
  Random random(2);
  V *s = f.vector(), *z = f.vector(), *u = f.vector(), *v = f.vector(), *ds = f.vector(), *dz = f.vector(), *c = f.vector();
  draw_inside(f, random, s, z);
  V mu = V{};
  for (Index i = f.plan.zero; i < f.plan.m; ++i) mu += s[i] * z[i] / f.cones->degree();
  check_any_frame(f, s, z, mu);
  f.cones->scale(s, z, mu, Mask<4>{}, ~Mask<4>{}, Frames::orthonormal);
  std::copy(z, z + f.plan.m, u);
  f.cones->forward(u);
  std::copy(u, u + f.plan.m, v);
  for (Index i = 0; i < f.plan.m; ++i) u[i] *= f.cones->h[i];
  f.cones->back(u);
  f.cones->back(v);
  for (Index i = 0; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) {
      CHECK_NEAR(v[i][lane], z[i][lane], 1e-13);
      if (i >= f.plan.zero) CHECK_NEAR(u[i][lane], s[i][lane], 1e-11);
    }
  // Without a direction and with σ = 1 the right-hand side vanishes on the central path.
  V *centre_s = f.vector(), *centre_z = f.vector();
  f.cones->begin(centre_s, centre_z, ~Mask<4>{});
  f.cones->scale(centre_s, centre_z, splat<V>(1.0), ~Mask<4>{}, ~Mask<4>{}, Frames::any);
  for (Index i = 0; i < f.plan.m; ++i) ds[i] = dz[i] = V{};
  f.cones->complement(centre_s, centre_z, ds, dz, splat<V>(1.0), splat<V>(1.0), c);
  for (Index i = 0; i < f.plan.m; ++i) CHECK_NEAR(c[i][0], 0.0, 1e-12);
}

// Projected at μ the pair (s, z) is on the central path, s = -μ∇f*(z), and s - z = w.
void check_central_path(Fixture& f, const V* s, const V* z, const V* w, double mu) {
  V *on_s = f.vector(), *on_z = f.vector(), *c = f.vector(), *ds = f.vector(), *dz = f.vector();
  for (Index i = 0; i < f.plan.m; ++i) ds[i] = dz[i] = V{};
  std::copy(s, s + f.plan.m, on_s);
  std::copy(z, z + f.plan.m, on_z);
  f.cones->project(w, splat<V>(mu), on_s, on_z, ~Mask<4>{});
  f.cones->scale(on_s, on_z, splat<V>(mu), ~Mask<4>{}, ~Mask<4>{}, Frames::any);
  f.cones->complement(on_s, on_z, ds, dz, V{}, splat<V>(mu), c);
  for (Index i = f.plan.zero; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) {
      CHECK_NEAR(c[i][lane], 0.0, 1e-8);
      CHECK_NEAR(on_s[i][lane] - on_z[i][lane], w[i][lane], 1e-4 * std::sqrt(mu));
    }
}

// Π(s - z) = s for complementary pairs, and DΠ in its frames agrees with differences of Π.
void check_projection(const Structure& structure) {
  Fixture f(structure);
  Random random(3);
  V *s = f.vector(), *z = f.vector(), *w = f.vector(), *d = f.vector(), *moved = f.vector();
  V *high = f.vector(), *low = f.vector(), *unused = f.vector();
  for (int lane = 0; lane < 4; ++lane) {
    const Numbers numbers = solvable(structure, random);
    for (Index i = 0; i < f.plan.m; ++i) {
      s[i][lane] = numbers.s[i];
      z[i][lane] = numbers.z[i];
    }
  }
  for (Index i = 0; i < f.plan.m; ++i) {
    w[i] = s[i] - z[i];
    d[i] = splat<V>(random.uniform());
  }
  const auto project = [&](double step, V* target) {
    for (Index i = 0; i < f.plan.m; ++i) moved[i] = w[i] + step * d[i];
    std::copy(s, s + f.plan.m, target);
    std::copy(z, z + f.plan.m, unused);
    f.cones->project(moved, V{}, target, unused, ~Mask<4>{});
  };
  project(0.0, high);
  for (Index i = f.plan.zero; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) CHECK_NEAR(high[i][lane], s[i][lane], 1e-12);
  const double step = 1e-5;
  project(step, high);
  project(-step, low);
  Mask<4> tied{};
  const auto noise = [](Index) { return Noise<V>{splat<V>(1e-9), splat<V>(1e-9)}; };
  f.cones->differentiate(s, z, noise, [&](Index, Mask<4> lanes) { tied |= lanes; }, ~Mask<4>{});
  CHECK(!any(f.cones->unclear(s, z) | tied));
  for (Index i = 0; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) CHECK_NEAR(f.cones->h[i][lane] + f.cones->rest[i][lane], 1.0, 1e-15);
  f.cones->forward(d);
  for (Index i = 0; i < f.plan.m; ++i) d[i] *= f.cones->h[i];
  f.cones->back(d);
  for (Index i = f.plan.zero; i < f.plan.m; ++i)
    for (int lane = 0; lane < 4; ++lane) CHECK_NEAR((high[i][lane] - low[i][lane]) / (2 * step), d[i][lane], 1e-8);
  for (const double mu : {1.0, 1e-2, 1e-6}) check_central_path(f, s, z, w, mu);
}

// Where invariants are checked, a matrix that is not in the frames of now stops the process.
void check_assertions([[maybe_unused]] const Structure& structure) {
  if constexpr (!assertions) return;
#if !defined(_WIN32)
  Fixture f(structure);
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    f.cones->check_frames();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
}

}  // namespace

void check_cones() {
  check_elementary_functions();
  check_smallest_eigenvalue();
  check_symmetric_eigen();
  for (const auto& [name, structure] : conic_structures(7)) {
    const long before = failures;
    check_scaling(structure);
    check_assertions(structure);
    check_projection(structure);
    if (failures != before) std::fprintf(stderr, "  in %s\n", name.c_str());
  }
}

}  // namespace cvxl::CVXL_ISA
