#pragma once
// Structures of every kind the symbolic analysis must handle, and solvable numbers for them.

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl::testing {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  double uniform(double low = -1.0, double high = 1.0) {
    return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  Index index(Index count) { return static_cast<Index>(engine_() % static_cast<std::uint64_t>(count)); }
  bool flip(double probability) { return uniform(0.0, 1.0) < probability; }

 private:
  std::mt19937_64 engine_;
};

using Dense = std::vector<std::vector<double>>;

// Entries (i, j) that the predicate admits.
template <class F>
Pattern make_pattern(Index rows, Index columns, F&& admits) {
  Pattern p;
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j)
      if (admits(i, j)) p.indices.push_back(j);
    p.indptr.push_back(p.nnz());
  }
  return p;
}

struct NamedStructure {
  std::string name;
  Structure structure;
};

// Two dense blocks that meet in a tail, as below: with panels of 11 columns and a group of 30 rows that teams take by tiles
// (plan/levels.hpp), and a tail that they do not.
inline NamedStructure wide_structure(Index width = 11, Index tail = 17) {
  const Index n = 2 * width + tail;
  const auto block = [=](Index j) { return j / width < 2 ? j / width : 2; };
  return {"wide",
          {n, 32, 2,
           make_pattern(n, n, [=](Index i, Index j) { return j <= i && (block(i) == block(j) || block(i) == 2 || block(j) == 2); }),
           make_pattern(32, n, [=](Index i, Index j) { return i < 2 ? j < width : block(j) == 2; })}};
}

inline std::vector<NamedStructure> structures(unsigned seed) {
  Random random(seed);
  std::vector<NamedStructure> all;
  const auto add = [&](std::string name, Index n, Index m, Index zero, auto&& P, auto&& A) {
    Structure s{n, m, zero, make_pattern(n, n, [&](Index i, Index j) { return j <= i && P(i, j); }), make_pattern(m, n, A)};
    all.push_back({std::move(name), std::move(s)});
  };
  const auto none = [](Index, Index) { return false; };
  const auto full = [](Index, Index) { return true; };
  const auto diagonal = [](Index i, Index j) { return i == j; };
  const auto sparse = [&](double density) { return [&random, density](Index, Index) { return random.flip(density); }; };
  const auto with_diagonal = [&](double density) {
    return [&random, density](Index i, Index j) { return i == j || random.flip(density); };
  };

  add("single variable", 1, 0, 0, diagonal, none);
  add("single variable, linear", 1, 2, 0, none, full);
  add("no rows", 7, 0, 0, with_diagonal(0.3), none);
  add("nothing but q", 5, 0, 0, none, none);
  add("equalities only", 9, 4, 4, diagonal, sparse(0.5));
  add("linear program", 8, 12, 3, none, sparse(0.4));
  add("random", 12, 18, 4, with_diagonal(0.2), sparse(0.3));
  add("random, sparser", 25, 40, 6, with_diagonal(0.05), sparse(0.1));
  add("random, dense", 10, 15, 2, full, full);
  add("empty rows", 6, 9, 3, diagonal, [](Index i, Index j) { return i % 2 == 0 && j <= i; });
  add("dense inequality rows", 30, 34, 0, diagonal, [](Index i, Index j) { return i < 4 ? true : i - 4 == j; });
  add("dense equality rows", 30, 32, 2, diagonal, [](Index i, Index j) { return i < 2 ? true : i - 2 == j; });
  add("duplicated rows", 8, 14, 2, diagonal, [](Index i, Index j) { return (j + i % 3) % 3 == 0; });
  add("box", 11, 22, 0, full, [](Index i, Index j) { return i % 11 == j; });
  add("many singletons on one variable", 3, 20, 1, diagonal, [](Index i, Index j) { return i ? j == 1 : true; });
  add("disconnected", 12, 12, 4, [](Index i, Index j) { return i / 3 == j / 3; }, [](Index i, Index j) { return i % 4 == j / 3; });
  add("chain", 20, 30, 10, diagonal,
      [](Index i, Index j) { return i < 10 ? j == 2 * i || j == 2 * i + 1 || j == 2 * i + 2 : j == i - 10; });
  // Three states and an input in each of five stages, and what they lead to: columns of a stage have rows below in common, and others.
  add("stages", 19, 19, 15, diagonal, [](Index i, Index j) {
    const Index stage = i / 3;
    return j == i || (0 < stage && stage < 5 && (j / 3 == stage - 1 || j == 14 + stage));
  });
  // Two dense blocks of k columns that meet in a dense tail: supernodes of k columns with every remainder below.
  for (Index k = 1; k <= 9; ++k) {
    const Index tail = 1 + (3 * k) % 7, n = 2 * k + tail;
    const auto block = [=](Index j) { return j < k ? 0 : j < 2 * k ? 1 : 2; };
    const auto arrow = [=](Index i, Index j) { return block(i) == block(j) || block(i) == 2 || block(j) == 2; };
    add("arrow of " + std::to_string(k), n, k, k / 2, arrow,
        [=](Index i, Index j) { return block(j) == 2 ? i < 3 : j < k && i >= 3; });
  }
  all.push_back(wide_structure());
  return all;
}

// Every kind of cone alone, and all together with equalities and inequalities.
// Semidefinite cones that leave K as a whole: with the columns of their rows, and with the variables that are their rows.
inline std::vector<NamedStructure> whole_structures(unsigned seed) {
  Random random(seed);
  const Cone three{Cone::large_semidefinite, 3, 0.5}, four{Cone::large_semidefinite, 4, 0.5}, disc{Cone::second_order, 3, 0.5};
  std::vector<NamedStructure> all;
  // The last `singles` rows are the first variables, in another order; P acts on the others.
  const auto add = [&](std::string name, Index n, Index zero, Index nonneg, std::vector<Cone> cones, Index singles,
                       double density) {
    Index m = zero + nonneg;
    for (const Cone& cone : cones) m += cone.rows();
    all.push_back({std::move(name),
                   {n, m, zero, make_pattern(n, n, [&](Index i, Index j) { return i == j && i >= singles; }),
                    make_pattern(m, n,
                                 [&](Index i, Index j) {
                                   return i >= m - singles ? j == (7 * (i - (m - singles)) + 3) % singles : random.flip(density);
                                 }),
                    std::move(cones)}});
  };
  add("matrix inequalities", 7, 2, 3, {disc, three, four}, 0, 0.5);
  add("a sparse matrix inequality", 6, 1, 0, {four}, 0, 0.2);
  add("a variable that is a matrix", 13, 3, 0, {four}, 10, 0.5);
  add("matrices and what else meets them", 19, 3, 2, {disc, four, three}, 16, 0.3);
  all.back().structure.A = make_pattern(24, 19, [&](Index i, Index j) {
    return i < 8 ? (i + 2 * j) % 5 < 2 : i < 18 ? j == (7 * (i - 8) + 3) % 10 : j == 10 + (i - 18);
  });
  add("a matrix alone", 6, 0, 0, {three}, 6, 0.0);
  add("full columns of a matrix inequality", 6, 1, 2, {four, three}, 0, 0.3);
  all.back().structure.A = make_pattern(19, 6, [&](Index i, Index j) {
    return i < 3 ? i == j : i < 13 ? j == 1 || j == 4 || random.flip(0.3) : j > 3;
  });
  return all;
}

inline std::vector<NamedStructure> conic_structures(unsigned seed) {
  Random random(seed);
  std::vector<NamedStructure> all;
  const auto add = [&](std::string name, Index n, Index zero, Index nonneg, std::vector<Cone> cones, double density) {
    Index m = zero + nonneg;
    for (const Cone& cone : cones) m += cone.rows();
    all.push_back({std::move(name),
                   {n, m, zero, make_pattern(n, n, [](Index i, Index j) { return i == j; }),
                    make_pattern(m, n, [&](Index, Index) { return random.flip(density); }), std::move(cones)}});
  };
  const Cone disc{Cone::second_order, 3, 0.5}, ball{Cone::second_order, 7, 0.5}, point{Cone::second_order, 1, 0.5};
  const Cone pair{Cone::semidefinite, 2, 0.5}, matrix{Cone::semidefinite, 4, 0.5}, exponential{Cone::exponential, 3, 0.5};
  const Cone half{Cone::power, 3, 0.5}, skew{Cone::power, 3, 0.2};
  add("second-order cones", 8, 0, 0, {disc, ball, point}, 1.0);
  add("semidefinite cones", 12, 0, 0, {pair, matrix}, 0.7);
  add("exponential cones", 7, 0, 0, {exponential, exponential}, 1.0);
  add("power cones", 7, 0, 0, {half, skew}, 0.8);
  add("every cone", 20, 3, 4, {disc, ball, pair, exponential, skew}, 0.4);
  for (auto& named : whole_structures(seed)) all.push_back(std::move(named));
  return all;
}

inline std::vector<NamedStructure> all_structures(unsigned seed) {
  std::vector<NamedStructure> all = structures(seed);
  for (auto& named : conic_structures(seed)) all.push_back(std::move(named));
  return all;
}

inline void draw_second_order_pair(Index order, Random& random, double a, double b, double* s, double* z) {
  double norm2 = 0.0;
  for (Index i = 1; i < order; ++i) {
    s[i] = random.uniform();
    norm2 += s[i] * s[i];
  }
  s[0] = a;
  z[0] = order > 1 ? b : 0.0;
  for (Index i = 1; i < order; ++i) {
    const double u = s[i] / std::sqrt(norm2);
    s[i] = a * u;
    z[i] = -b * u;
  }
}

// Rank one, s = a vv', and z = b (I - vv').
inline void draw_semidefinite_pair(Index order, Random& random, double a, double b, double* s, double* z) {
  std::vector<double> v(static_cast<std::size_t>(order));
  double norm2 = 0.0;
  for (double& x : v) {
    x = random.uniform(0.2, 1.0);
    norm2 += x * x;
  }
  for (Index j = 0, r = 0; j < order; ++j)
    for (Index i = 0; i <= j; ++i, ++r) {
      const double entry = v[i] * v[j] / norm2 * (i == j ? 1.0 : std::sqrt(2.0));
      s[r] = a * entry;
      z[r] = b * ((i == j) - entry);
    }
}

// A strictly complementary pair on the boundaries of a cone and its dual.
inline void draw_pair(const Cone& cone, Random& random, double* s, double* z) {
  const double a = random.uniform(0.5, 1.5), b = random.uniform(0.5, 1.5);
  const auto put = [&](double size, const double (&on)[3], const double (&normal)[3]) {
    for (int i = 0; i < 3; ++i) {
      s[i] = size * on[i];
      z[i] = b * normal[i];
    }
  };
  switch (cone.kind) {
    case Cone::second_order: return draw_second_order_pair(cone.order, random, a, b, s, z);
    case Cone::semidefinite:
    case Cone::large_semidefinite: return draw_semidefinite_pair(cone.order, random, a, b, s, z);
    case Cone::exponential: {
      const double rho = random.uniform(-1.0, 1.0), e = std::exp(rho);
      return put(a, {rho, 1.0, e}, {-e, (rho - 1.0) * e, 1.0});
    }
    case Cone::power: {
      const double y = random.uniform(0.5, 1.5), w = std::pow(a, cone.alpha) * std::pow(y, 1.0 - cone.alpha);
      return put(1.0, {a, y, w}, {cone.alpha / a, (1.0 - cone.alpha) / y, -1.0 / w});
    }
  }
}

// Numbers of one program: P, A as dense matrices (P symmetric) beside the value vector [P, q, A, b, d].
struct Numbers {
  Dense P, A;
  std::vector<double> q, b, values, x, z, s;
};

inline void append_values(const Structure& st, Numbers& v, double d) {
  const auto append = [&](const Pattern& p, const Dense& dense) {
    for (Index i = 0; i < p.rows(); ++i)
      for (Index k = p.indptr[i]; k < p.indptr[i + 1]; ++k) v.values.push_back(dense[i][p.indices[k]]);
  };
  append(st.P, v.P);
  v.values.insert(v.values.end(), v.q.begin(), v.q.end());
  append(st.A, v.A);
  v.values.insert(v.values.end(), v.b.begin(), v.b.end());
  v.values.push_back(d);
}

// A program that (x, z, s) solves, strictly complementary; P is diagonally dominant where it has a diagonal.
inline Numbers solvable(const Structure& st, Random& random) {
  Numbers v{Dense(st.n, std::vector<double>(st.n)),
            Dense(st.m, std::vector<double>(st.n)),
            std::vector<double>(st.n),
            std::vector<double>(st.m),
            {},
            std::vector<double>(st.n),
            std::vector<double>(st.m),
            std::vector<double>(st.m)};
  for (Index i = 0; i < st.n; ++i)
    for (Index k = st.P.indptr[i]; k < st.P.indptr[i + 1]; ++k) {
      const Index j = st.P.indices[k];
      if (i == j) {
        v.P[i][i] += random.uniform(0.5, 1.5);
        continue;
      }
      const double a = random.uniform();
      v.P[i][j] = v.P[j][i] = a;
      v.P[i][i] += std::abs(a);
      v.P[j][j] += std::abs(a);
    }
  for (Index i = 0; i < st.m; ++i)
    for (Index k = st.A.indptr[i]; k < st.A.indptr[i + 1]; ++k) v.A[i][st.A.indices[k]] = random.uniform();
  for (double& x : v.x) x = random.uniform();
  Index row = st.first_cone_row();
  for (const Cone& cone : st.cones) {
    draw_pair(cone, random, v.s.data() + row, v.z.data() + row);
    row += cone.rows();
  }
  for (Index i = 0; i < st.first_cone_row(); ++i) {
    const bool active = i < st.zero || random.flip(0.4);
    (active ? v.z : v.s)[i] = i < st.zero ? random.uniform() : random.uniform(0.5, 1.5);
  }
  for (Index j = 0; j < st.n; ++j) {
    for (Index k = 0; k < st.n; ++k) v.q[j] -= v.P[j][k] * v.x[k];
    for (Index i = 0; i < st.m; ++i) v.q[j] -= v.A[i][j] * v.z[i];
  }
  for (Index i = 0; i < st.m; ++i) {
    v.b[i] = v.s[i];
    for (Index j = 0; j < st.n; ++j) v.b[i] += v.A[i][j] * v.x[j];
  }
  append_values(st, v, random.uniform());
  return v;
}

}  // namespace cvxl::testing
