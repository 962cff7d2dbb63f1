#pragma once
// Three-dimensional cones without self-dual scaling. Each is given by a function r(z) > 0 in the logarithmically homogeneous
// barrier of its dual cone,
//
//     f*(z) = -log r(z) - β₀ log(±z₀) - β₁ log z₁ - β₂ log z₂,
//
// from whose derivatives all others follow. Close to the boundary r is tiny and the Hessian of f* has parts of sizes 1/r², 1/r and
// 1. Written out, the large ones would drown the small ones; each cone therefore gives its diagonal form, T ∇²f* T' = diag(D), in
// which nothing is lost.

#include "cones/rotation.hpp"

namespace cvxl::CVXL_ISA {

// Newton's method in the lanes that need it: `pass` steps those it is given and returns those that are not there yet, whatever
// happens in others. A step below `last_step`, relatively, is the last one that shows, as convergence is quadratic.
inline constexpr double last_step = 1e-9;
template <class M, class F>
CVXL_INLINE void iterate(int limit, M busy, F&& pass) {
  for (int k = 0; k < limit && any(busy); ++k) busy &= pass(busy);
}

template <class V>
struct Vector3 {
  V v[3];
  CVXL_INLINE V& operator[](int i) { return v[i]; }
  CVXL_INLINE const V& operator[](int i) const { return v[i]; }
};

template <class V>
struct Symmetric3 {
  V v[6];  // 00, 10, 11, 20, 21, 22
  CVXL_INLINE V& operator()(int i, int j) { return i >= j ? v[i * (i + 1) / 2 + j] : v[j * (j + 1) / 2 + i]; }
  CVXL_INLINE const V& operator()(int i, int j) const { return const_cast<Symmetric3&>(*this)(i, j); }
};

// A linear map T of a cone onto itself: T v = (d₀(v₀ + l v₁), d₁v₁, d₂v₂). Of a point v of the cone it makes another, of a point z
// of the dual cone T⁻ᵀz, and keeps v'z: other units of the block, in which it may look better.
template <class V>
struct Automorphism {
  V d[3] = {splat<V>(1.0), splat<V>(1.0), splat<V>(1.0)}, l{};

  Vector3<V> primal(const Vector3<V>& v) const { return {{d[0] * (v[0] + l * v[1]), d[1] * v[1], d[2] * v[2]}}; }
  Vector3<V> primal_back(const Vector3<V>& u) const { return {{u[0] / d[0] - l * u[1] / d[1], u[1] / d[1], u[2] / d[2]}}; }
  Vector3<V> dual(const Vector3<V>& z) const { return {{z[0] / d[0], (z[1] - l * z[0]) / d[1], z[2] / d[2]}}; }
  Vector3<V> dual_back(const Vector3<V>& z) const { return {{d[0] * z[0], d[0] * l * z[0] + d[1] * z[1], d[2] * z[2]}}; }
};

// A symmetric matrix S with T S T' = diag(D), and T⁻¹; by rows.
template <class V>
struct Congruence3 {
  V T[9], inverse[9], D[3];

  // S⁻¹ y = T'D⁻¹T y
  Vector3<V> solve(const Vector3<V>& y) const {
    V t[3];
    for (int i = 0; i < 3; ++i) t[i] = (T[3 * i] * y[0] + T[3 * i + 1] * y[1] + T[3 * i + 2] * y[2]) / D[i];
    Vector3<V> x;
    for (int j = 0; j < 3; ++j) x[j] = T[j] * t[0] + T[3 + j] * t[1] + T[6 + j] * t[2];
    return x;
  }
};

template <class V>
CVXL_INLINE Vector3<V> cross(const Vector3<V>& a, const Vector3<V>& b) {
  return {{a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}};
}

template <class V>
CVXL_INLINE V dot(const Vector3<V>& a, const Vector3<V>& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

template <class V>
CVXL_INLINE Vector3<V> multiply(const Symmetric3<V>& A, const Vector3<V>& x) {
  Vector3<V> y;
  for (int i = 0; i < 3; ++i) y[i] = A(i, 0) * x[0] + A(i, 1) * x[1] + A(i, 2) * x[2];
  return y;
}

// r with its gradient, Hessian, and gradient of u'∇²r v; the weights β.
template <class V>
struct Kernel3 {
  V r;
  Vector3<V> gradient;
  Symmetric3<V> hessian;
  double beta[3];
};

template <class V>
Vector3<V> barrier_gradient(const Kernel3<V>& k, const Vector3<V>& z) {
  Vector3<V> g;
  for (int i = 0; i < 3; ++i) g[i] = -k.gradient[i] / k.r - (k.beta[i] == 0.0 ? V{} : k.beta[i] / z[i]);
  return g;
}

// ∇³f*(z)[u, v], given t = ∇(u'∇²r v).
template <class V>
Vector3<V> barrier_third(const Kernel3<V>& k, const Vector3<V>& z, const Vector3<V>& u, const Vector3<V>& v, const Vector3<V>& t) {
  const V inverse = 1.0 / k.r;
  const V gu = dot(k.gradient, u) * inverse, gv = dot(k.gradient, v) * inverse;
  const Vector3<V> Hu = multiply(k.hessian, u), Hv = multiply(k.hessian, v);
  const V uHv = dot(u, Hv) * inverse;
  Vector3<V> result;
  for (int i = 0; i < 3; ++i) {
    const V g = k.gradient[i] * inverse;
    result[i] = (Hu[i] * gv + Hv[i] * gu) * inverse + g * uHv - 2.0 * g * gu * gv - t[i] * inverse;
    if (k.beta[i] != 0.0) result[i] -= 2.0 * k.beta[i] * u[i] * v[i] / (z[i] * z[i] * z[i]);
  }
  return result;
}

}  // namespace cvxl::CVXL_ISA
