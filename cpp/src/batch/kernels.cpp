// The entry points of one instruction set: moving instances between the caller's arrays and the lanes. No mathematics.

#include <limits>

#include "adjoint/adjoint.hpp"
#include "batch/job.hpp"
#include "ipm/solve.hpp"

namespace cvxl::CVXL_ISA {
namespace {

template <class V>
CVXL_INLINE double& lane_of(V* p, Index k, int lane) {
  return reinterpret_cast<double*>(p)[static_cast<std::size_t>(k) * lanes_of<V> + lane];
}
template <class V>
CVXL_INLINE double lane_of(const V* p, Index k, int lane) {
  return reinterpret_cast<const double*>(p)[static_cast<std::size_t>(k) * lanes_of<V> + lane];
}

// Stages instances of a batch: M is applied here, R where results leave.
class Stage {
 public:
  Stage(const Compiled& compiled, Arena& arena)
      : pointers(arena.take<const double*>(compiled.problem.parameter_sizes.size() + 1)),
        xz(arena.take<double>(compiled.plan.n + compiled.plan.m)) {}

  const double** pointers;  // of the instance located last
  double* xz;               // (x, z) of one instance in the user's order
};

// Σ over a sparse row.
CVXL_INLINE double dot(const SparseMap& map, Index row, const double* v) {
  double sum = 0.0;
  for (Index k = map.pattern.indptr[row]; k < map.pattern.indptr[row + 1]; ++k) sum += map.data[k] * v[map.pattern.indices[k]];
  return sum;
}

template <class V>
class Feed {
 public:
  static constexpr int W = lanes_of<V>;

  Feed(const SolveJob& job, State<V>& state, Arena& arena, bool caller)
      : job_(job), plan_(job.compiled.plan), state_(state), stage_(job.compiled, arena), caller_(caller) {}

  // P and A of a batch that shares them, in every lane.
  void broadcast_matrices() {
    for (Index k = 0; k < plan_.P.nnz(); ++k) state_.program.P[k] = splat<V>(job_.base[plan_.P_source[k]]);
    for (Index k = 0; k < plan_.A.nnz(); ++k) state_.program.A[k] = splat<V>(job_.base[plan_.A_source[k]]);
    state_.scaling.scale_matrices(state_.program, ~Mask<W>{}, job_.settings.equilibrate);
  }

  bool load(int lane) {
    while (true) {
      const std::int64_t instance = job_.progress.next.fetch_add(1, std::memory_order_relaxed);
      if (instance >= job_.locator.size()) return false;
      instance_[lane] = instance;
      const bool invalid = !job_.request.invalid.empty() && job_.request.invalid[instance];
      if (!invalid && fill(lane, instance)) return true;
      reject(lane);
    }
  }

  void store(int lane, Status status) {
    const Structure& structure = job_.compiled.problem.structure;
    const SolveRequest& out = job_.request;
    const std::int64_t i = instance_[lane];
    const Index n = plan_.n, m = plan_.m;
    const double cost = state_.scaling.c[lane];
    for (Index j = 0; j < n; ++j)
      stage_.xz[plan_.variable_of[j]] = lane_of(state_.x, j, lane) * lane_of(state_.scaling.D, j, lane);
    for (Index r = 0; r < m; ++r) stage_.xz[n + r] = lane_of(state_.z, r, lane) * lane_of(state_.scaling.E, r, lane) / cost;
    if (!out.x.empty()) {
      std::copy(stage_.xz, stage_.xz + n, out.x.data() + i * n);
      std::copy(stage_.xz + n, stage_.xz + n + m, out.z.data() + i * m);
      for (Index r = 0; r < m; ++r)
        out.s[i * m + r] = r < plan_.zero ? 0.0 : lane_of(state_.s, r, lane) * lane_of(state_.scaling.E_inverse, r, lane);
    }
    const SparseMap& R = job_.compiled.problem.R;
    const Index outputs = R.pattern.rows();
    for (Index o = 0; o < outputs; ++o) out.outputs[i * outputs + o] = dot(R, o, stage_.xz);
    job_.locator.locate(i, stage_.pointers);
    const double constant = job_.compiled.values(structure.d_offset(), stage_.pointers);
    const auto& outcome = state_.outcome;
    write_outcome(i, status, static_cast<Index>(outcome.iterations[lane]),
                  {outcome.primal_residual[lane], outcome.dual_residual[lane], outcome.gap[lane],
                   job_.compiled.problem.objective_sign * (outcome.objective[lane] + constant)});
  }

  bool stopped() { return job_.progress.stopped(caller_, last_poll_); }

 private:
  double value(Index v) const { return job_.locator.shared(v) ? job_.base[v] : job_.compiled.values(v, stage_.pointers); }

  // Returns false if a number is NaN or infinite.
  bool fill(int lane, std::int64_t instance) {
    const Structure& structure = job_.compiled.problem.structure;
    job_.locator.locate(instance, stage_.pointers);
    double check = 0.0;
    const auto put = [&](V* to, Index k, Index v) {
      const double number = value(v);
      check += number - number;
      lane_of(to, k, lane) = number;
    };
    if (!job_.shared_matrices) {
      for (Index k = 0; k < plan_.P.nnz(); ++k) put(state_.program.P, k, plan_.P_source[k]);
      for (Index k = 0; k < plan_.A.nnz(); ++k) put(state_.program.A, k, plan_.A_source[k]);
    }
    for (Index j = 0; j < plan_.n; ++j) put(state_.program.q, j, structure.q_offset() + plan_.variable_of[j]);
    for (Index r = 0; r < plan_.m; ++r) put(state_.program.b, r, structure.b_offset() + r);
    const double constant = value(structure.d_offset());
    return check + (constant - constant) == 0.0;
  }

  void reject(int lane) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const SolveRequest& out = job_.request;
    const std::int64_t i = instance_[lane];
    const auto blank = [&](std::span<double> span, Index width) {
      if (!span.empty()) std::fill_n(span.data() + i * width, width, nan);
    };
    blank(out.x, plan_.n);
    blank(out.z, plan_.m);
    blank(out.s, plan_.m);
    blank(out.outputs, job_.compiled.problem.R.pattern.rows());
    write_outcome(i, Status::invalid_input, 0, {nan, nan, nan, nan});
  }

  void write_outcome(std::int64_t i, Status status, Index iterations, const double (&residuals)[4]) {
    job_.request.status[i] = static_cast<std::int8_t>(status);
    job_.request.iterations[i] = iterations;
    if (!job_.request.residuals.empty()) std::copy(residuals, residuals + 4, job_.request.residuals.data() + 4 * i);
  }

  const SolveJob& job_;
  const Plan& plan_;
  State<V>& state_;
  Stage stage_;
  bool caller_;
  std::int64_t instance_[W]{};
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
};

template <class V>
void solve(const SolveJob& job, std::byte* block, bool caller) {
  const FlushDenormals flush;
  Arena arena(block);
  Solver<V, Feed<V>> solver(job.compiled.plan, job.settings, job.compiled.problem.check_convexity, arena);
  Feed<V> feed(job, solver.state(), arena, caller);
  if (job.shared_matrices) feed.broadcast_matrices();
  solver.run(feed, job.shared_matrices);
}

template <class V>
std::size_t solve_arena(const Compiled& compiled) {
  const Settings settings;
  Arena arena;
  Solver<V, Feed<V>> solver(compiled.plan, settings, false, arena);
  Stage stage(compiled, arena);
  return arena.used();
}

// Derivatives of W consecutive instances at a time.
template <class V>
class Sweep {
 public:
  static constexpr int W = lanes_of<V>;
  using M = Mask<W>;

  Sweep(const AdjointJob& job, Arena& arena)
      : job_(job), structure_(job.compiled.problem.structure), plan_(job.compiled.plan), adjoint_(plan_, arena), stage_(job.compiled, arena) {}

  // Loads instances first … first + count - 1 (padding lanes repeat the last) and factors at their solutions.
  void linearize(std::int64_t first, int count) {
    first_ = first;
    count_ = count;
    valid_ = M{};
    for (int lane = 0; lane < W; ++lane) {
      const std::int64_t i = instance(lane);
      valid_[lane] = job_.tape.status[i] <= static_cast<std::int8_t>(Status::almost_solved) ? -1 : 0;
      job_.locator.locate(i, stage_.pointers);
      const auto put = [&](V* to, Index k, Index v) { lane_of(to, k, lane) = job_.compiled.values(v, stage_.pointers); };
      for (Index k = 0; k < plan_.P.nnz(); ++k) put(adjoint_.program.P, k, plan_.P_source[k]);
      for (Index k = 0; k < plan_.A.nnz(); ++k) put(adjoint_.program.A, k, plan_.A_source[k]);
      for (Index j = 0; j < plan_.n; ++j) lane_of(adjoint_.x, j, lane) = job_.tape.x[i * plan_.n + plan_.variable_of[j]];
      for (Index r = 0; r < plan_.m; ++r) {
        lane_of(adjoint_.z, r, lane) = job_.tape.z[i * plan_.m + r];
        lane_of(adjoint_.s, r, lane) = job_.tape.s[i * plan_.m + r];
      }
    }
    adjoint_.linearize(valid_);
  }

  void vjp(double* partial) {
    const Transpose& Rt = job_.compiled.R_transpose;
    const Index outputs = job_.compiled.problem.R.pattern.rows();
    const auto pull = [&](Index entry) {
      V sum = V{};
      for (Index t = Rt.begin[entry]; t < Rt.begin[entry + 1]; ++t) {
        V cotangent;
        for (int lane = 0; lane < W; ++lane) cotangent[lane] = job_.cotangent[instance(lane) * outputs + Rt.row[t]];
        sum += Rt.coefficient[t] * cotangent;
      }
      return sum;
    };
    for (Index j = 0; j < plan_.n; ++j) adjoint_.r1[j] = pull(plan_.variable_of[j]);
    for (Index r = 0; r < plan_.m; ++r) adjoint_.r2[r] = pull(plan_.n + r);
    adjoint_.solve();
    write_flags();
    for (std::size_t p = 0; p < job_.gradients.size(); ++p)
      if (!job_.gradients[p].empty()) gradient(p, job_.summed[p] ? &partial : nullptr);
  }

  void jvp() {
    for (Index j = 0; j < plan_.n; ++j) adjoint_.r1[j] = V{};
    for (int lane = 0; lane < W; ++lane) push_data(lane);
    adjoint_.solve();
    write_flags();
    const SparseMap& R = job_.compiled.problem.R;
    const Index outputs = R.pattern.rows();
    for (int lane = 0; lane < count_; ++lane) {
      for (Index j = 0; j < plan_.n; ++j) stage_.xz[plan_.variable_of[j]] = lane_of(adjoint_.a, j, lane);
      for (Index r = 0; r < plan_.m; ++r) stage_.xz[plan_.n + r] = lane_of(adjoint_.y, r, lane);
      double* out = job_.tangent_outputs.data() + instance(lane) * outputs;
      for (Index o = 0; o < outputs; ++o) out[o] = valid_[lane] ? dot(R, o, stage_.xz) : 0.0;
    }
  }

 private:
  std::int64_t instance(int lane) const { return first_ + std::min(lane, count_ - 1); }

  void write_flags() {
    for (int lane = 0; lane < count_; ++lane) job_.degenerate[instance(lane)] = valid_[lane] && adjoint_.degenerate[lane];
  }

  // The cotangent of entry v of the value vector.
  CVXL_INLINE V cotangent(Index v) const {
    const auto& where = job_.compiled.place[v];
    const V *a = adjoint_.a, *x = adjoint_.x;
    switch (where.kind) {
      case Place::P:
        return where.row == where.column ? -a[where.row] * x[where.row] : -(a[where.row] * x[where.column] + a[where.column] * x[where.row]);
      case Place::q:
        return -a[where.row];
      case Place::A:
        return -(adjoint_.z[where.row] * a[where.column] + adjoint_.y[where.row] * x[where.column]);
      case Place::b:
        return adjoint_.y[where.row];
      default:
        return V{};
    }
  }

  // Writes the gradient of parameter p, one row an instance, or adds the sum of the rows to *partial and moves it on.
  void gradient(std::size_t p, double** partial) {
    const Transpose& Mt = job_.compiled.M_transpose;
    const Index begin = job_.compiled.parameter_begin[p], size = job_.compiled.parameter_begin[p + 1] - begin;
    for (Index e = 0; e < size; ++e) {
      V sum = V{};
      for (Index t = Mt.begin[begin + e]; t < Mt.begin[begin + e + 1]; ++t) sum += Mt.coefficient[t] * cotangent(Mt.row[t]);
      sum = select(valid_, sum, V{});
      if (partial)
        for (int lane = 0; lane < count_; ++lane) (*partial)[e] += sum[lane];
      else
        for (int lane = 0; lane < count_; ++lane) job_.gradients[p][instance(lane) * size + e] = sum[lane];
    }
    if (partial) *partial += size;
  }

  // r1 = -(dP x + dq + dA'z), r2 = db - dA x of one lane.
  void push_data(int lane) {
    job_.tangents->locate(instance(lane), stage_.pointers);
    const auto tangent = [&](Index v) { return job_.compiled.values(v, stage_.pointers); };
    const auto r1 = [&](Index j) -> double& { return lane_of(adjoint_.r1, j, lane); };
    for (Index i = 0; i < plan_.n; ++i) {
      r1(i) -= tangent(structure_.q_offset() + plan_.variable_of[i]);
      for (Index k = plan_.P.indptr[i]; k < plan_.P.indptr[i + 1]; ++k) {
        const Index j = plan_.P.indices[k];
        const double d = tangent(plan_.P_source[k]);
        r1(i) -= d * lane_of(adjoint_.x, j, lane);
        if (i != j) r1(j) -= d * lane_of(adjoint_.x, i, lane);
      }
    }
    for (Index i = 0; i < plan_.m; ++i) {
      double r2 = tangent(structure_.b_offset() + i);
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) {
        const Index j = plan_.A.indices[k];
        const double d = tangent(plan_.A_source[k]);
        r2 -= d * lane_of(adjoint_.x, j, lane);
        r1(j) -= d * lane_of(adjoint_.z, i, lane);
      }
      lane_of(adjoint_.r2, i, lane) = r2;
    }
  }

  const AdjointJob& job_;
  const Structure& structure_;
  const Plan& plan_;
  Adjoint<V> adjoint_;
  Stage stage_;
  std::int64_t first_ = 0;
  int count_ = 0;
  M valid_{};
};

template <class V>
std::size_t adjoint_arena(const Compiled& compiled) {
  Arena arena;
  Adjoint<V> adjoint(compiled.plan, arena);
  Stage stage(compiled, arena);
  return arena.used();
}

// Takes blocks of instances from the job and sweeps them pack by pack.
template <class V, class F>
void sweep_blocks(AdjointJob& job, std::byte* block, bool caller, F&& visit) {
  const FlushDenormals flush;
  Arena arena(block);
  Sweep<V> sweep(job, arena);
  auto last_poll = std::chrono::steady_clock::now();
  while (true) {
    const std::int64_t index = job.progress.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= job.blocks) return;
    const std::int64_t end = std::min(job.locator.size(), (index + 1) * job.block_size);
    for (std::int64_t first = index * job.block_size; first < end; first += lanes_of<V>) {
      if (job.progress.stopped(caller, last_poll)) return;
      sweep.linearize(first, static_cast<int>(std::min<std::int64_t>(lanes_of<V>, end - first)));
      visit(sweep, index);
    }
  }
}

template <class V>
void vjp(AdjointJob& job, std::byte* block, bool caller) {
  const std::size_t stride = job.blocks ? job.partial.size() / static_cast<std::size_t>(job.blocks) : 0;
  sweep_blocks<V>(job, block, caller, [&](Sweep<V>& sweep, std::int64_t index) {
    sweep.vjp(job.partial.data() + static_cast<std::size_t>(index) * stride);
  });
}

template <class V>
void jvp(AdjointJob& job, std::byte* block, bool caller) {
  sweep_blocks<V>(job, block, caller, [](Sweep<V>& sweep, std::int64_t) { sweep.jvp(); });
}

void evaluate(const Compiled& compiled, const double* const* parameters, double* values) {
  for (Index v = 0; v < compiled.problem.structure.values(); ++v) values[v] = compiled.values(v, parameters);
}

template <int W>
constexpr Kernels entry(const char* isa) {
  using V = Real<W>;
  return {isa, W, evaluate, solve_arena<V>, adjoint_arena<V>, solve<V>, vjp<V>, jvp<V>};
}

#define CVXL_STRING_(x) #x
#define CVXL_STRING(x) CVXL_STRING_(x)
constexpr Kernels narrow_ = entry<4>(CVXL_STRING(CVXL_ISA));
#if defined(__AVX512F__)
constexpr Kernels wide_ = entry<8>(CVXL_STRING(CVXL_ISA));
#endif

}  // namespace

const Kernels& narrow() { return narrow_; }
#if defined(__AVX512F__)
const Kernels& wide() { return wide_; }
#else
const Kernels& wide() { return narrow_; }
#endif

}  // namespace cvxl::CVXL_ISA
