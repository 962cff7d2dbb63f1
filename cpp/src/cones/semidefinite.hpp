#pragma once
// The cone of positive semidefinite matrices in svec form and its Nesterov-Todd scaling (Todd, Toh, Tütüncü 1998): with Cholesky
// factors S = L₁L₁', Z = L₂L₂' and L₂'L₁ = U Λ V', R = L₁VΛ^(-1/2) gives R'ZR = R⁻¹SR⁻ᵀ = Λ. W z = svec(R'ZR), and W'W = H maps
// Z to GZG, G = RR'. Eigenvectors of G diagonalize H; its eigenvalues there are products g_i g_j.

#include <tuple>

#include "cones/cone.hpp"
#include "cones/jacobi.hpp"
#include "cones/semidefinite_derivatives.hpp"
#include "cones/smallest_eigenvalue.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Semidefinite {
 public:
  using M = MaskOf<V>;
  static constexpr bool symmetric = true;

  Semidefinite(const Cone& cone, Arena& arena) : k_(cone.order), rows_(cone.rows()), frame_{arena.take<V>(k_ * k_)} {
    for (V** p : {&R_, &R_inverse_, &B_, &C_}) *p = arena.take<V>(k_ * k_);
    lambda_ = arena.take<V>(k_);
    scratch_ = arena.take<V>(std::max<Index>(2 * k_ * k_, 3 * k_));
  }

  static double degree(const Cone& cone) { return cone.order; }

  void central(V* u) const {
    for (Index j = 0, r = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i, ++r) u[r] = i == j ? splat<V>(1.0) : V{};
  }
  V least_eigenvalue(const V* u) const {
    unpack_svec(u, k_, B_);
    return smallest_eigenvalue(B_, k_, scratch_, accuracy);
  }
  void lift(V* u, V by) const {
    for (Index j = 0; j < k_; ++j) u[j * (j + 3) / 2] += by;
  }

  void scale(const V* s, const V* z, V, M, M lanes, Frames, V* h) {
    cholesky_of_svec(s, k_, R_);  // L₁
    cholesky_of_svec(z, k_, C_);  // L₂
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {  // B = L₂'L₁
        V sum = V{};
        for (Index l = std::max(i, j); l < k_; ++l) sum += C_[i * k_ + l] * R_[j * k_ + l];
        B_[j * k_ + i] = sum;
      }
    orthogonalize_columns(B_, R_, k_, lanes);  // B = UΛ, R = L₁V
    for (Index j = 0; j < k_; ++j) {
      V length2 = V{};
      for (Index i = 0; i < k_; ++i) length2 += B_[j * k_ + i] * B_[j * k_ + i];
      lambda_[j] = sqrt(max(length2, splat<V>(1e-200)));
      const V root = 1.0 / sqrt(lambda_[j]);
      for (Index i = 0; i < k_; ++i) {
        R_[j * k_ + i] *= root;
        B_[j * k_ + i] *= root / lambda_[j];
      }
    }
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {  // R⁻¹ = Λ^(-1/2)U'L₂'
        V sum = V{};
        for (Index l = 0; l <= j; ++l) sum += B_[i * k_ + l] * C_[l * k_ + j];
        R_inverse_[j * k_ + i] = sum;
      }
    // Right singular vectors of R' are the eigenvectors of RR'.
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {
        B_[j * k_ + i] = R_[i * k_ + j];
        frame_.U[j * k_ + i] = splat<V>(i == j ? 1.0 : 0.0);
      }
    orthogonalize_columns(B_, frame_.U, k_, lanes);
    for (Index j = 0; j < k_; ++j) {
      V g = V{};
      for (Index i = 0; i < k_; ++i) g += B_[j * k_ + i] * B_[j * k_ + i];
      scratch_[j] = g;
    }
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i) *h++ = scratch_[i] * scratch_[j];
  }

  // c = W'(λ \ (Λ² + m (W⁻ᵀds)∘(W dz) - σμI))
  void complement(const V* s, const V*, const V* ds, const V* dz, V m, V sigma_mu, V* c) const {
    scaled_direction<true>(ds, c, B_);
    scaled_direction<false>(dz, c, C_);
    for (Index j = 0, r = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i, ++r) {
        V sum = V{};  // twice the entry of the Jordan product
        for (Index l = 0; l < k_; ++l) sum += B_[l * k_ + i] * C_[j * k_ + l] + C_[l * k_ + i] * B_[j * k_ + l];
        const V entry = m * 0.5 * sum - (i == j ? sigma_mu : V{});
        c[r] = 2.0 / (lambda_[i] + lambda_[j]) * entry * (i == j ? 1.0 : sqrt_two<V>);
      }
    Frame::template congruence<true>(c, R_, k_, 1, scratch_);
    for (Index r = 0; r < rows_; ++r) c[r] += s[r];
  }

  V reach(const V*, const V* ds, const V*, const V* dz) const {
    const auto own = [&] {  // from the scaled direction in B
      for (Index j = 0; j < k_; ++j)
        for (Index i = 0; i < k_; ++i) B_[j * k_ + i] /= sqrt(lambda_[i] * lambda_[j]);
      return max(-smallest_eigenvalue(B_, k_, scratch_, accuracy), V{});
    };
    scaled_direction<true>(ds, C_, B_);
    const V primal = own();
    scaled_direction<false>(dz, C_, B_);
    return max(primal, own());
  }
  M contains(const V*, const V*, const V*, const V*, V) const { return ~M{}; }
  V cosine2(const V* s, const V* z) const { return CVXL_ISA::cosine2(s, z, rows_); }

  template <class Tie>
  void differentiate(const V* s, const V* z, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    subtract(s, z, scratch_, rows_);
    eigenvectors(scratch_, lanes);
    for (Index r = 0; r < k_ * k_; ++r) frame_.U[r] = select(lanes, C_[r], frame_.U[r]);
    projection_slopes([&](Index j) { return B_[j * k_ + j]; }, k_, d, rest, noise, tie, lanes);
  }

  void project(const V* w, V mu, V* s, V* z, M lanes) const {
    eigenvectors(w, lanes);
    for (Index r = 0; r < rows_; ++r) s[r] = z[r] = V{};
    for (Index j = 0; j < k_; ++j) std::tie(s[j * (j + 3) / 2], z[j * (j + 3) / 2]) = parts(B_[j * k_ + j], mu);
    Frame::template congruence<true>(s, C_, k_, 1, scratch_);
    Frame::template congruence<true>(z, C_, k_, 1, scratch_);
  }

  bool choose_units(const V*, const V*, double, M, M) const { return false; }
  void difference(const V* u, const V* v, V* w) const { subtract(u, v, w, rows_); }

  // -log det - log det
  V barrier(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const auto log_det = [&](const V* u, const V* d) {
      for (Index r = 0; r < rows_; ++r) scratch_[r] = u[r] + alpha * d[r];
      cholesky_of_svec(scratch_, k_, B_);
      V sum = V{};
      for (Index i = 0; i < k_; ++i) sum += log(B_[i * k_ + i]);
      return 2.0 * sum;
    };
    return -log_det(s, ds) - log_det(z, dz);
  }

  void forward(V* a, Index columns, V*) const { frame_.forward(a, k_, columns, scratch_); }
  void back(V* a, Index columns, V*) const { frame_.back(a, k_, columns, scratch_); }
  void inverse(V* a, V* sums) const { back(a, 1, sums); }

  void projection_second_derivative(const V* w, const V* h, const V* k, V* g) const {
    projection_second_derivative_of_matrix(w, h, k, g, k_);
  }
  void barrier_third_derivative(const V* s, const V* z, const V* h, const V* k, V* g) const {
    barrier_third_derivative_of_matrix(s, z, h, k, g, k_);
  }

  static std::size_t margin_scratch(const Cone& cone) { return static_cast<std::size_t>(cone.order) * cone.order; }
  static double margin(const Cone& cone, const double* s, const double* z, double* matrix) {
    const Index k = cone.order;
    for (Index j = 0, t = 0; j < k; ++j)
      for (Index i = 0; i <= j; ++i, ++t) matrix[i * k + j] = matrix[j * k + i] = (s[t] - z[t]) * (i == j ? 1.0 : std::sqrt(0.5));
    return least_magnitude(matrix, k);
  }

 private:
  using Frame = SemidefiniteFrame<V>;
  static constexpr double accuracy = 1e-3;  // of step lengths

  // W⁻ᵀds or W dz as a matrix; `svec` is overwritten.
  template <bool primal>
  void scaled_direction(const V* d, V* svec, V* matrix) const {
    std::copy(d, d + rows_, svec);
    Frame::template congruence<primal>(svec, primal ? R_inverse_ : R_, k_, 1, scratch_);
    unpack_svec(svec, k_, matrix);
  }

  // In the given lanes, eigenvectors of the matrix u into C_, its eigenvalues onto the diagonal of B_.
  void eigenvectors(const V* u, M lanes) const {
    unpack_svec(u, k_, B_);
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) C_[j * k_ + i] = splat<V>(i == j ? 1.0 : 0.0);
    diagonalize(B_, C_, k_, lanes);
  }

  Index k_, rows_;
  SemidefiniteFrame<V> frame_;
  V *R_, *R_inverse_, *B_, *C_, *lambda_, *scratch_;
};

}  // namespace cvxl::CVXL_ISA
