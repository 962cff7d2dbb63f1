#pragma once
// Engines of random and hand-written programs, and owned storage for what their calls write.

#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>

#include "cvxl/engine.hpp"
#include "random_programs.hpp"
#include "test.hpp"

namespace cvxl::testing {

// One parameter, the value vector itself; the outputs are (x, z).
inline Problem plain_problem(const Structure& s) {
  const auto identity = [](Index size, Index columns) {
    Pattern p = make_pattern(size, columns, [](Index i, Index j) { return i == j; });
    std::vector<double> ones(p.indices.size(), 1.0);
    return SparseMap{std::move(p), std::move(ones)};
  };
  return {s, identity(s.values(), s.values() + 1), identity(s.n + s.m, s.n + s.m), {s.values()}, false, 1.0};
}

// Two parameters: values = 0.3 θ₀ + 0.7 θ₁ + 0.01; three outputs with several terms each, a Maximize objective.
inline Problem mixed_problem(const Structure& s) {
  const Index count = s.values();
  Problem p{s, {}, {}, {count, count}, false, -1.0};
  p.M.pattern = make_pattern(count, 2 * count + 1, [&](Index i, Index j) { return j == i || j == count + i || j == 2 * count; });
  for (Index i = 0; i < count; ++i) p.M.data.insert(p.M.data.end(), {0.3, 0.7, 0.01});
  p.R.pattern = make_pattern(3, s.n + s.m, [](Index i, Index j) { return j % 3 == i || j % 2 == 0; });
  for (Index k : p.R.pattern.indices) p.R.data.push_back(0.1 * (k % 7) - 0.25);
  return p;
}

// The value vectors of B solvable instances, one after the other.
inline std::vector<double> solvable_rows(const Structure& s, Index B, unsigned seed) {
  Random random(seed);
  std::vector<double> rows;
  for (Index i = 0; i < B; ++i) {
    const Numbers numbers = solvable(s, random);
    rows.insert(rows.end(), numbers.values.begin(), numbers.values.end());
  }
  return rows;
}

// One batch axis of length B; every parameter is either rows of its own (stride = size) or shared (stride 0).
inline BatchView batch_of(std::int64_t B, std::initializer_list<std::pair<const double*, std::int64_t>> parameters) {
  BatchView batch{{B}, {}};
  for (const auto& [data, stride] : parameters) batch.parameters.push_back({data, {stride}});
  return batch;
}

struct Answer {
  bool completed = false;
  Index n, m;
  std::vector<double> outputs, tape, residuals;
  std::vector<std::int8_t> status;
  std::vector<Index> iterations;

  Answer(const Engine& engine, std::int64_t B) : n(engine.problem().structure.n), m(engine.problem().structure.m) {
    const auto count = static_cast<std::size_t>(B);
    outputs.resize(count * static_cast<std::size_t>(engine.problem().R.pattern.rows()));
    tape.resize(count * static_cast<std::size_t>(n + 2 * m));
    residuals.resize(count * 4);
    status.resize(count, -1);
    iterations.resize(count);
  }

  SolveRequest request() { return {{}, outputs, tape, status, iterations, residuals}; }
  const double* x(std::int64_t i) const { return tape.data() + i * (n + 2 * m); }
  const double* z(std::int64_t i) const { return x(i) + n; }
  const double* s(std::int64_t i) const { return z(i) + m; }
  Status outcome(std::size_t i) const { return static_cast<Status>(status[i]); }
};

inline Answer solve(const Engine& engine, const BatchView& batch, const Settings& settings = {}, const Interrupt& interrupt = {}) {
  Answer answer(engine, batch.size());
  answer.completed = engine.solve(batch, settings, answer.request(), interrupt);
  return answer;
}

// Settings for a number of threads.
inline Settings with_threads(int threads) {
  Settings settings;
  settings.threads = threads;
  return settings;
}

struct Gradients {
  bool completed = false;
  std::vector<std::vector<double>> arrays;
  std::vector<std::uint8_t> degenerate;
};

// Cotangent `outputs`; parameter p gets a sum over the batch where summed[p], a row an instance elsewhere.
inline Gradients vjp(const Engine& engine, const BatchView& batch, std::span<const double> tape, const std::vector<double>& outputs,
                     const std::vector<bool>& summed, int threads = 0) {
  Gradients g;
  const auto B = static_cast<std::size_t>(batch.size());
  g.degenerate.resize(B);
  VjpRequest request{tape, 1, outputs, {}, g.degenerate};
  for (std::size_t p = 0; p < summed.size(); ++p)
    g.arrays.emplace_back(static_cast<std::size_t>(engine.problem().parameter_sizes[p]) * (summed[p] ? 1 : B));
  for (auto& array : g.arrays) request.gradients.emplace_back(array);
  g.completed = engine.vjp(batch, request, threads);
  return g;
}

struct Tangents {
  bool completed = false;
  std::vector<double> outputs;
  std::vector<std::uint8_t> degenerate;
};

// The same tangents with an axis of length 1 in front.
inline BatchView one_direction(BatchView tangents) {
  tangents.shape.insert(tangents.shape.begin(), 1);
  for (ParameterView& p : tangents.parameters) p.strides.insert(p.strides.begin(), 0);
  return tangents;
}

inline Tangents jvp(const Engine& engine, const BatchView& batch, std::span<const double> tape, const BatchView& tangents,
                    int threads = 0) {
  Tangents t;
  const auto B = static_cast<std::size_t>(batch.size());
  t.outputs.resize(B * static_cast<std::size_t>(engine.problem().R.pattern.rows()));
  t.degenerate.resize(B);
  t.completed = engine.jvp(batch, {tape, one_direction(tangents), t.outputs, t.degenerate}, threads);
  return t;
}

// Forces an instruction set on the engines made while it lives.
class ForceIsa {
 public:
  explicit ForceIsa(const std::string& name) {
    if (const char* old = std::getenv(variable)) saved_ = old;
    set(name);
  }
  ~ForceIsa() { set(saved_.value_or("")); }  // an empty variable is none
  ForceIsa(const ForceIsa&) = delete;
  ForceIsa& operator=(const ForceIsa&) = delete;

 private:
  static constexpr const char* variable = "CVXPYLAYERS_ISA";
  static void set(const std::string& name) {
#if defined(_WIN32)
    _putenv_s(variable, name.c_str());
#else
    setenv(variable, name.c_str(), 1);
#endif
  }
  std::optional<std::string> saved_;
};

// A structure with every feature at once, and instances of it.
inline const Structure& workhorse() {
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

template <class T>
bool identical(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(T)));
}

inline bool identical(const Answer& a, const Answer& b) {
  return identical(a.outputs, b.outputs) && identical(a.tape, b.tape) && identical(a.residuals, b.residuals) &&
         identical(a.status, b.status) && identical(a.iterations, b.iterations);
}

// Whether instance i of a equals instance j of b, bit by bit.
inline bool identical(const Answer& a, std::size_t i, const Answer& b, std::size_t j) {
  const auto same = [&](const auto& u, const auto& v) {
    const std::size_t width = u.size() / a.status.size();
    return width == v.size() / b.status.size() && (!width || !std::memcmp(&u[i * width], &v[j * width], width * sizeof(u[0])));
  };
  return same(a.outputs, b.outputs) && same(a.tape, b.tape) && same(a.residuals, b.residuals) && same(a.status, b.status) &&
         same(a.iterations, b.iterations);
}

}  // namespace cvxl::testing
