"""A scikit-learn style estimator on the NumPy front end: nonnegative elastic-net regression that tunes its own penalties.

``fit`` solves the regression as a layer and follows the derivative of the error on held-out rows down to good penalties, without
any autograd framework:

    python examples/sklearn_estimator.py
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np

from cvxpylayers.numpy import CvxpyLayer

Array = np.ndarray[Any, Any]


class TunedRegression:
    """Linear regression with w ≥ 0 and the penalties e^l1 ‖w‖₁ + e^l2 ‖w‖², chosen by the error on every ``folds``-th row.

    Attributes after ``fit``: ``coef_`` (features), ``penalties_`` (2), ``path_``, the held-out error after each step.
    """

    def __init__(self, folds: int = 4, steps: int = 30, rate: float = 0.5) -> None:
        self.folds, self.steps, self.rate = folds, steps, rate

    def fit(self, X: Array, y: Array) -> TunedRegression:
        """Choose the penalties on each fold's complement together, as one batch, then fit all rows."""
        fold = np.arange(len(y)) % self.folds
        # A sum of squares needs only the Gram matrix, so folds of any size make one batch.
        grams = np.array([_root(X[fold != k].T @ X[fold != k] / np.sum(fold != k)) for k in range(self.folds)])
        moments = np.array([X[fold != k].T @ y[fold != k] / np.sum(fold != k) for k in range(self.folds)])
        layer, logs = self._layer(X.shape[1]), np.log([0.1, 0.1])
        self.path_: list[float] = []
        for _ in range(self.steps):
            (w,), pull = layer.vjp(grams, moments, *np.exp(logs))
            errors = [X[fold == k] @ w[k] - y[fold == k] for k in range(self.folds)]
            self.path_.append(float(np.mean([e @ e / len(e) for e in errors])))
            slope = np.array([2 * X[fold == k].T @ e / len(e) for k, e in enumerate(errors)]) / self.folds
            *_, d_l1, d_l2 = pull(slope)
            logs = logs - self.rate * np.array([d_l1, d_l2]) * np.exp(logs) / self.path_[-1]
        self.penalties_ = np.exp(logs)
        (self.coef_,) = layer(_root(X.T @ X / len(y)), X.T @ y / len(y), *self.penalties_)
        return self

    def predict(self, X: Array) -> Array:
        """X w, shape (rows,)."""
        return X @ self.coef_

    @staticmethod
    def _layer(features: int) -> CvxpyLayer:
        w, root, moment = cp.Variable(features), cp.Parameter((features, features)), cp.Parameter(features)
        l1, l2 = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
        loss = cp.sum_squares(root @ w) - 2 * moment @ w
        return CvxpyLayer(
            cp.Problem(cp.Minimize(loss + l1 * cp.sum(w) + l2 * cp.sum_squares(w)), [w >= 0]), [root, moment, l1, l2], [w]
        )


def _root(gram: Array) -> Array:
    """The symmetric square root."""
    values, Q = np.linalg.eigh(gram)
    return np.asarray(Q * np.sqrt(np.maximum(values, 0.0)) @ Q.T)


def main() -> None:
    rng = np.random.default_rng(0)
    true = np.maximum(rng.normal(size=12), 0) * (rng.random(12) < 0.5)
    X = rng.normal(size=(60, 12))
    y = X @ true + 0.5 * rng.normal(size=60)
    model = TunedRegression().fit(X, y)
    fresh = rng.normal(size=(1000, 12))
    print(f"held-out error {model.path_[0]:.4f} → {model.path_[-1]:.4f}, penalties {np.round(model.penalties_, 4)}")
    print(f"error against the truth on fresh rows: {np.mean((model.predict(fresh) - fresh @ true) ** 2):.4f}")


if __name__ == "__main__":
    main()
