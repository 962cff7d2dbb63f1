#pragma once
// The cone of positive semidefinite matrices in svec form and its Nesterov-Todd scaling (Todd, Toh, Tütüncü 1998): with Cholesky
// factors S = L₁L₁', Z = L₂L₂' and L₂'L₁ = U Λ V', R = L₁VΛ^(-1/2) gives R'ZR = R⁻¹SR⁻ᵀ = Λ. W z = svec(R'ZR), and W'W = H maps
// Z to GZG, G = RR'. Eigenvectors of G diagonalize H; its eigenvalues there are products g_i g_j.

#include <tuple>

#include "cones/jacobi.hpp"
#include "cones/rotation.hpp"
#include "cones/smallest_eigenvalue.hpp"
#include "lanes/arena.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Semidefinite {
 public:
  using M = Mask<lanes_of<V>>;
  SemidefiniteFrame<V> frame;

  Semidefinite(Index order, Arena& arena) : frame{arena.take<V>(order * order)}, k_(order) {
    for (V** p : {&R_, &R_inverse_, &B_, &C_}) *p = arena.take<V>(order * order);
    lambda_ = arena.take<V>(order);
    scratch_ = arena.take<V>(std::max<Index>(2 * order * order, 3 * order));
  }

  static void identity(V* u, Index order, V value) {
    for (Index j = 0, r = 0; j < order; ++j)
      for (Index i = 0; i <= j; ++i, ++r) u[r] = i == j ? value : V{};
  }
  static void lift(V* u, Index order, V by) {
    for (Index j = 0; j < order; ++j) u[j * (j + 3) / 2] += by;
  }
  V margin(const V* u) {
    SemidefiniteFrame<V>::unpack(u, k_, 1, B_);
    return smallest_eigenvalue(B_, k_, scratch_, accuracy);
  }

  void scale(const V* s, const V* z, V* h) {
    cholesky(s, R_);  // L₁
    cholesky(z, C_);  // L₂
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) {  // B = L₂'L₁
        V sum = V{};
        for (Index l = std::max(i, j); l < k_; ++l) sum += C_[i * k_ + l] * R_[j * k_ + l];
        B_[j * k_ + i] = sum;
      }
    orthogonalize_columns(B_, R_, k_);  // B = UΛ, R = L₁V
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
        frame.U[j * k_ + i] = splat<V>(i == j ? 1.0 : 0.0);
      }
    orthogonalize_columns(B_, frame.U, k_);
    for (Index j = 0; j < k_; ++j) {
      V g = V{};
      for (Index i = 0; i < k_; ++i) g += B_[j * k_ + i] * B_[j * k_ + i];
      scratch_[j] = g;
    }
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i) *h++ = scratch_[i] * scratch_[j];
  }

  // c = W'(λ \ (Λ² + m (W⁻ᵀds)∘(W dz) - σμI)); ds and dz are overwritten.
  void complement(const V* s, V* ds, V* dz, V m, V sigma_mu, V* c) {
    using Frame = SemidefiniteFrame<V>;
    Frame::template congruence<true>(ds, R_inverse_, k_, 1, scratch_);
    Frame::template congruence<false>(dz, R_, k_, 1, scratch_);
    Frame::unpack(ds, k_, 1, B_);
    Frame::unpack(dz, k_, 1, C_);
    for (Index j = 0, r = 0; j < k_; ++j)
      for (Index i = 0; i <= j; ++i, ++r) {
        V sum = V{};  // twice the entry of the Jordan product
        for (Index l = 0; l < k_; ++l) sum += B_[l * k_ + i] * C_[j * k_ + l] + C_[l * k_ + i] * B_[j * k_ + l];
        const V entry = m * 0.5 * sum - (i == j ? sigma_mu : V{});
        c[r] = 2.0 / (lambda_[i] + lambda_[j]) * entry * (i == j ? 1.0 : sqrt_two);
      }
    Frame::template congruence<true>(c, R_, k_, 1, scratch_);
    for (Index r = 0; r < k_ * (k_ + 1) / 2; ++r) c[r] += s[r];
  }

  // 1/α for the largest α with s + α ds (z + α dz) in the cone, from the scaled direction; 0 if all are. `d` is overwritten.
  V reach(V* d, bool primal) {
    using Frame = SemidefiniteFrame<V>;
    if (primal)
      Frame::template congruence<true>(d, R_inverse_, k_, 1, scratch_);
    else
      Frame::template congruence<false>(d, R_, k_, 1, scratch_);
    Frame::unpack(d, k_, 1, B_);
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) B_[j * k_ + i] /= sqrt(lambda_[i] * lambda_[j]);
    return max(-smallest_eigenvalue(B_, k_, scratch_, accuracy), V{});
  }

  // DΠ(w) at w = s - z: diagonal in the eigenvectors of the matrix, with the slopes of max(λ, 0) between its eigenvalues. Writes the
  // given lanes; ties are eigenvalues that are all but zero.
  template <class Tie>
  void differentiate(const V* s, const V* z, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    for (Index r = 0; r < k_ * (k_ + 1) / 2; ++r) scratch_[r] = s[r] - z[r];
    eigenvectors(scratch_);
    for (Index r = 0; r < k_ * k_; ++r) frame.U[r] = select(lanes, C_[r], frame.U[r]);
    const V one = splat<V>(1.0);
    for (Index j = 0; j < k_; ++j) {
      const V a = B_[j * k_ + j];
      tie(j * (j + 3) / 2, noise.hides(a));
      for (Index i = 0; i <= j; ++i, ++d, ++rest) {
        const V b = B_[i * k_ + i], high = max(a, b), low = min(a, b), inverse_gap = 1.0 / max(high - low, splat<V>(1e-300));
        *d = select(lanes, select(low > 0.0, one, select(high > 0.0, high * inverse_gap, V{})), *d);
        *rest = select(lanes, select(low > 0.0, V{}, select(high > 0.0, -low * inverse_gap, one)), *rest);
      }
    }
  }

  // The pair with s - z = w on the central path at μ; for μ = 0 s = Π(w).
  void project(const V* w, V mu, V* s, V* z, M) {
    eigenvectors(w);
    for (Index r = 0; r < k_ * (k_ + 1) / 2; ++r) s[r] = z[r] = V{};
    for (Index j = 0; j < k_; ++j) std::tie(s[j * (j + 3) / 2], z[j * (j + 3) / 2]) = parts(B_[j * k_ + j], mu);
    SemidefiniteFrame<V>::template congruence<true>(s, C_, k_, 1, scratch_);
    SemidefiniteFrame<V>::template congruence<true>(z, C_, k_, 1, scratch_);
  }

  // f(s) + f*(z) = -log det - log det at the moved points.
  V barriers(const V* s, const V* ds, const V* z, const V* dz, V alpha) {
    const auto log_det = [&](const V* u, const V* d) {
      for (Index r = 0; r < k_ * (k_ + 1) / 2; ++r) scratch_[r] = u[r] + alpha * d[r];
      cholesky(scratch_, B_);
      V sum = V{};
      for (Index i = 0; i < k_; ++i) sum += log(B_[i * k_ + i]);
      return 2.0 * sum;
    };
    return -log_det(s, ds) - log_det(z, dz);
  }

 private:
  static constexpr double accuracy = 1e-3;  // of step lengths

  // Eigenvectors of the matrix u into C_, its eigenvalues onto the diagonal of B_.
  void eigenvectors(const V* u) {
    SemidefiniteFrame<V>::unpack(u, k_, 1, B_);
    for (Index j = 0; j < k_; ++j)
      for (Index i = 0; i < k_; ++i) C_[j * k_ + i] = splat<V>(i == j ? 1.0 : 0.0);
    diagonalize(B_, C_, k_);
  }

  // Lower triangle by columns; a pivot that is not positive becomes tiny.
  void cholesky(const V* u, V* L) {
    SemidefiniteFrame<V>::unpack(u, k_, 1, L);
    for (Index j = 0; j < k_; ++j) {
      for (Index l = 0; l < j; ++l)
        for (Index i = j; i < k_; ++i) L[j * k_ + i] -= L[l * k_ + i] * L[l * k_ + j];
      const V pivot = sqrt(max(L[j * k_ + j], splat<V>(1e-100)));
      const V inverse = 1.0 / pivot;
      for (Index i = 0; i < j; ++i) L[j * k_ + i] = V{};
      L[j * k_ + j] = pivot;
      for (Index i = j + 1; i < k_; ++i) L[j * k_ + i] *= inverse;
    }
  }

  Index k_;
  V *R_, *R_inverse_, *B_, *C_, *lambda_, *scratch_;
};

}  // namespace cvxl::CVXL_ISA
