#pragma once
// The cone of positive semidefinite matrices of large order, whose rows of A are not rotated (kkt/whole_blocks.hpp): scaling and
// projection are those of `Semidefinite`, by methods whose work is a few products of matrices.
//
// Its frames need not be orthonormal, T r = svec(B'RB). With Nesterov and Todd's R, R'ZR = R⁻¹SR⁻ᵀ = Λ, B = R⁻ᵀ makes H the identity:
// the Schur complement is then that of XFX with X = BB' = (RR')⁻¹, and needs no eigenvectors.

#include <tuple>

#include "cones/cone.hpp"
#include "cones/semidefinite_derivatives.hpp"
#include "cones/smallest_eigenvalue.hpp"
#include "cones/symmetric_eigen.hpp"
#include "lanes/dense.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class LargeSemidefinite {
 public:
  using M = MaskOf<V>;
  static constexpr bool symmetric = true;

  LargeSemidefinite(const Cone& cone, Arena& arena) : k_(cone.order), rows_(cone.rows()) {
    const std::size_t square = static_cast<std::size_t>(k_) * k_;
    for (V** p : {&B_, &C_, &R_, &R_inverse_, &X_, &Y_}) *p = arena.take<V>(square);
    lambda_ = arena.take<V>(k_);
    scratch_ = arena.take<V>(3 * static_cast<std::size_t>(k_));
    room_ = arena.take<V>(congruence_room(k_));
  }

  static double degree(const Cone& cone) { return cone.order; }

  // B of T, or B⁻ᵀ of T⁻ᵀ r = svec(B⁻¹RB⁻ᵀ).
  const V* frame(bool inverse) const { return inverse ? C_ : B_; }

  void central(V* u) const {
    for (Index j = 0, r = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i, ++r) u[r] = i == j ? splat<V>(1.0) : V{};
  }
  V least_eigenvalue(const V* u) const {
    unpack_svec(u, k_, X_);
    return smallest_eigenvalue(X_, k_, scratch_, accuracy);
  }
  void lift(V* u, V by) const {
    for (Index j = 0; j < k_; ++j) u[svec_place(j, j)] += by;
  }

  void scale(const V* s, const V* z, V, M, M lanes, Frames frames, V* h) {
    cholesky_of_svec(s, k_, R_);          // L₁
    cholesky_of_svec(z, k_, R_inverse_);  // L₂
    multiply(  // X = L₂'L₁ = UΛV'
        k_, k_, k_, room_, [&](Index i, Index l) { return R_inverse_[i * k_ + l]; },
        [&](Index l, Index j) { return R_[j * k_ + l]; }, [&](Index i, Index j, V sum) { X_[j * k_ + i] = sum; });
    orthogonalize(X_, R_, lanes);  // X ← UΛ, R ← L₁V
    for (Index j = 0; j < k_; ++j) {
      lambda_[j] = sqrt(max(length2(X_ + j * k_), splat<V>(1e-200)));
      const V root = 1.0 / sqrt(lambda_[j]), cube = root / lambda_[j];
      for (Index i = 0; i < k_; ++i) {
        R_[j * k_ + i] *= root;
        X_[j * k_ + i] *= cube;
      }
    }
    multiply(  // R⁻¹ = Λ^(-1/2)U'L₂'
        k_, k_, k_, room_, [&](Index i, Index l) { return X_[i * k_ + l]; },
        [&](Index l, Index j) { return R_inverse_[l * k_ + j]; }, [&](Index i, Index j, V sum) { Y_[j * k_ + i] = sum; });
    std::copy(Y_, Y_ + k_ * k_, R_inverse_);
    if (frames == Frames::orthonormal) return use_eigenvectors(lanes, h);
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {
        B_[j * k_ + i] = select(lanes, R_inverse_[i * k_ + j], B_[j * k_ + i]);
        C_[j * k_ + i] = select(lanes, R_[j * k_ + i], C_[j * k_ + i]);
      }
    std::fill(h, h + rows_, splat<V>(1.0));
  }

  // c = W'(λ \ (Λ² + m (W⁻ᵀds)∘(W dz) - σμI))
  void complement(const V* s, const V*, const V* ds, const V* dz, V m, V sigma_mu, V* c) const {
    scaled_direction<true>(ds, c, X_);
    scaled_direction<false>(dz, c, Y_);
    const auto entry = [&](Index i, Index j, V product, V transposed) {
      const V sum = m * 0.5 * (product + transposed) - (i == j ? sigma_mu : V{});
      return 2.0 / (lambda_[i] + lambda_[j]) * sum * (i == j ? 1.0 : sqrt_two<V>);
    };
    V* product = room_ + multiply_room(k_, k_);
    multiply(
        k_, k_, k_, room_, [&](Index i, Index l) { return X_[i * k_ + l]; }, [&](Index l, Index j) { return Y_[j * k_ + l]; },
        [&](Index i, Index j, V sum) { product[j * k_ + i] = sum; });
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i) c[svec_place(i, j)] = entry(i, j, product[j * k_ + i], product[i * k_ + j]);
    congruence<true>(c, R_, k_, room_);
    for (Index r = 0; r < rows_; ++r) c[r] += s[r];
  }

  V reach(const V*, const V* ds, const V*, const V* dz) const {
    const auto own = [&] {  // from the scaled direction in X
      for (Index j = 0; j < k_; ++j)
        for (Index i = 0; i < k_; ++i) X_[j * k_ + i] /= sqrt(lambda_[i] * lambda_[j]);
      return max(-smallest_eigenvalue(X_, k_, scratch_, accuracy), V{});
    };
    V* svec = Y_;
    scaled_direction<true>(ds, svec, X_);
    const V primal = own();
    scaled_direction<false>(dz, svec, X_);
    return max(primal, own());
  }
  M contains(const V*, const V*, const V*, const V*, V) const { return ~M{}; }
  V cosine2(const V* s, const V* z) const { return CVXL_ISA::cosine2(s, z, rows_); }

  template <class Tie>
  void differentiate(const V* s, const V* z, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    subtract(s, z, X_, rows_);
    eigenvectors(X_, lanes);
    for (V* frame : {B_, C_})
      for (Index r = 0; r < k_ * k_; ++r) frame[r] = select(lanes, Y_[r], frame[r]);
    projection_slopes([&](Index j) { return scratch_[j]; }, k_, d, rest, noise, tie, lanes);
  }

  void project(const V* w, V mu, V* s, V* z, M lanes) const {
    eigenvectors(w, lanes);
    const auto compose = [&](V* to, auto&& value) {  // ΣQ diag(value) Q'
      multiply<true>(
          k_, k_, k_, room_, [&](Index i, Index l) { return Y_[l * k_ + i] * value(l); },
          [&](Index l, Index j) { return Y_[l * k_ + j]; },
          [&](Index i, Index j, V sum) {
            if (i >= j) to[svec_place(j, i)] = i == j ? sum : sum * sqrt_two<V>;
          });
    };
    compose(s, [&](Index l) { return parts(scratch_[l], mu).first; });
    compose(z, [&](Index l) { return parts(scratch_[l], mu).second; });
  }

  bool choose_units(const V*, const V*, double, M, M) const { return false; }
  void difference(const V* u, const V* v, V* w) const { subtract(u, v, w, rows_); }

  // -log det - log det
  V barrier(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const auto log_det = [&](const V* u, const V* d) {
      for (Index r = 0; r < rows_; ++r) Y_[r] = u[r] + alpha * d[r];
      cholesky_of_svec(Y_, k_, X_);
      V sum = V{};
      for (Index i = 0; i < k_; ++i) sum += log(X_[i * k_ + i]);
      return 2.0 * sum;
    };
    return -log_det(s, ds) - log_det(z, dz);
  }

  void forward(V* a, Index columns, V*) const {
    for (Index c = 0; c < columns; ++c) congruence<false>(a + c, B_, k_, room_, columns);
  }
  void back(V* a, Index columns, V*) const {
    for (Index c = 0; c < columns; ++c) congruence<true>(a + c, B_, k_, room_, columns);
  }
  void inverse(V* a, V*) const { congruence<true>(a, C_, k_, room_); }

  void projection_second_derivative(const V* w, const V* h, const V* k, V* g) const {
    projection_second_derivative_of_matrix(w, h, k, g, k_);
  }
  void barrier_third_derivative(const V* s, const V* z, const V* h, const V* k, V* g) const {
    barrier_third_derivative_of_matrix(s, z, h, k, g, k_);
  }

  static std::size_t margin_scratch(const Cone& cone) { return (static_cast<std::size_t>(cone.order) + 3) * cone.order; }
  static double margin(const Cone& cone, const double* s, const double* z, double* scratch) {
    const Index k = cone.order;
    auto* matrix = reinterpret_cast<Real<1>*>(scratch);
    for (Index j = 0, t = 0; j < k; ++j)
      for (Index i = 0; i <= j; ++i, ++t) {
        const double entry = (s[t] - z[t]) * (i == j ? 1.0 : sqrt_half<double>);
        matrix[i * k + j] = matrix[j * k + i] = Real<1>{entry};
      }
    return nearest_eigenvalue(matrix, k, matrix + k * k)[0];
  }

 private:
  static constexpr double accuracy = 1e-3;  // of step lengths

  V length2(const V* column) const {
    V sum = V{};
    for (Index i = 0; i < k_; ++i) sum += column[i] * column[i];
    return sum;
  }

  // X ← XV with orthogonal columns, and P ← PV, in the given lanes: the eigenvectors of X'X, whose small ones have the accuracy of
  // its large entries, and rotations from there. Overwrites Y.
  void orthogonalize(V* X, V* P, M lanes) const {
    multiply<true>(
        k_, k_, k_, room_, [&](Index i, Index l) { return X[i * k_ + l]; }, [&](Index l, Index j) { return X[j * k_ + l]; },
        [&](Index i, Index j, V sum) { Y_[i * k_ + j] = Y_[j * k_ + i] = sum; });
    symmetric_eigen(Y_, k_, lambda_, scratch_, lanes);
    for (V* matrix : {X, P}) {
      V* product = room_ + multiply_room(k_, k_);
      multiply(
          k_, k_, k_, room_, [&](Index i, Index l) { return matrix[l * k_ + i]; }, [&](Index l, Index j) { return Y_[j * k_ + l]; },
          [&](Index i, Index j, V sum) { product[j * k_ + i] = sum; });
      std::copy(product, product + k_ * k_, matrix);
    }
    orthogonalize_columns(X, P, k_, lanes);
  }

  // The frame of eigenvectors of G = RR', with H = g_i g_j: right singular vectors of R'.
  void use_eigenvectors(M lanes, V* h) {
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {
        X_[j * k_ + i] = R_[i * k_ + j];
        C_[j * k_ + i] = splat<V>(i == j ? 1.0 : 0.0);
      }
    V* lambda = scratch_ + 2 * k_;
    std::copy(lambda_, lambda_ + k_, lambda);
    orthogonalize(X_, C_, lanes);
    std::copy(lambda, lambda + k_, lambda_);
    std::copy(C_, C_ + k_ * k_, B_);
    for (Index j = 0; j < k_; ++j) scratch_[j] = length2(X_ + j * k_);
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i) *h++ = scratch_[i] * scratch_[j];
  }

  // W⁻ᵀds or W dz as a matrix; `svec` is overwritten.
  template <bool primal>
  void scaled_direction(const V* d, V* svec, V* matrix) const {
    std::copy(d, d + rows_, svec);
    if constexpr (primal)
      congruence<true>(svec, R_inverse_, k_, room_);
    else
      congruence<false>(svec, R_, k_, room_);
    unpack_svec(svec, k_, matrix);
  }

  // In the given lanes, eigenvectors of the matrix u into Y, its eigenvalues into scratch.
  void eigenvectors(const V* u, M lanes) const {
    unpack_svec(u, k_, Y_);
    symmetric_eigen(Y_, k_, scratch_, scratch_ + k_, lanes);
  }

  Index k_, rows_;
  V *B_, *C_;  // the frame, and B⁻ᵀ
  V *R_, *R_inverse_, *X_, *Y_, *lambda_, *scratch_, *room_;
};

}  // namespace cvxl::CVXL_ISA
