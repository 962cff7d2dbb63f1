"""Files of public collections → models: MATLAB (Maros–Mészáros), SDPA, MPS with quadratic objectives, CBF."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.io
import scipy.sparse as sp

from benchmarks.campaigns.collections.cbf import read_cbf
from benchmarks.campaigns.collections.model import Model, Rows, bounded


def read_mat(path: Path) -> Model:
    """P, q, r, A, l, u of min ½ xᵀPx + qᵀx + r with l ≤ A x ≤ u."""
    data = scipy.io.loadmat(path)
    q, low, high = (np.asarray(data[name], dtype=np.float64).ravel() for name in ("q", "l", "u"))
    return bounded(data["P"], q, float(np.asarray(data["r"]).ravel()[0]), data["A"], low, high)


def read_sdpa(path: Path) -> Model:
    """min cᵀx with Σ xᵢ Fᵢ - F₀ ⪰ 0, in blocks; those of negative size are diagonal."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and line[0] not in '"*']
    n, sizes = int(_numbers(lines[0])[0]), [int(size) for size in _numbers(lines[2])]
    tail = _numbers(" ".join(lines[3:]))
    c, entries = tail[:n], tail[n : n + (len(tail) - n) // 5 * 5].reshape(-1, 5)
    rows = []
    for number, size in enumerate(sizes, 1):
        matrix, _, i, j, value = entries[entries[:, 1] == number].T
        column, i, j = matrix.astype(int) - 1, i.astype(int) - 1, j.astype(int) - 1
        if size < 0:
            places, order = i, -size
        else:
            off = i != j
            places, order = np.concatenate([i * size + j, (j * size + i)[off]]), size * size
            column, value = np.concatenate([column, column[off]]), np.concatenate([value, value[off]])
        free = column < 0
        A = sp.csr_array((value[~free], (places[~free], column[~free])), shape=(order, n))
        b = -np.bincount(places[free], value[free], minlength=order)
        rows.append(Rows("nonneg" if size < 0 else "psd", A, b))
    return Model(sp.csr_array((n, n)), c, 0.0, tuple(rows))


def read_mps(path: Path) -> Model:
    """MPS files, fixed or free, with a quadratic objective or none, as HiGHS reads them."""
    import highspy

    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, Path(folder) / "model.mps")  # HiGHS goes by the name's end
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        if solver.readModel(str(copy)) == highspy.HighsStatus.kError:
            raise ValueError(f"HiGHS does not read {path}")
    model = solver.getModel()
    lp, hessian = model.lp_, model.hessian_
    n = lp.num_col_
    compressed = sp.csc_array if lp.a_matrix_.format_ == highspy.MatrixFormat.kColwise else sp.csr_array
    A = compressed((np.array(lp.a_matrix_.value_), lp.a_matrix_.index_, lp.a_matrix_.start_), shape=(lp.num_row_, n))
    P = sp.csc_array((n, n))
    if hessian.dim_:
        P = sp.csc_array((np.array(hessian.value_), hessian.index_, hessian.start_), shape=(n, n))
        if hessian.format_ == highspy.HessianFormat.kTriangular:
            P = P + sp.tril(P, -1).T
    sign = -1.0 if lp.sense_ == highspy.ObjSense.kMaximize else 1.0
    low, high = (np.concatenate([r, c]) for r, c in ((lp.row_lower_, lp.col_lower_), (lp.row_upper_, lp.col_upper_)))
    both = sp.vstack([A, sp.eye_array(n)])
    return bounded(sign * P, sign * np.array(lp.col_cost_), sign * lp.offset_, both, low, high)


def _numbers(text: str) -> Any:
    """The numbers in a text, whatever stands between them."""
    return np.array([float(word.lower().replace("d", "e")) for word in re.findall(r"[-+]?[\d.]+(?:[eEdD][-+]?\d+)?", text)])


READERS: Final[Mapping[str, Callable[[Path], Model]]] = {
    ".mat": read_mat,
    ".dat-s": read_sdpa,
    ".mps": read_mps,
    ".qps": read_mps,
    ".cbf": read_cbf,
}


def read(path: Path) -> Model:
    """The model of a file, by the end of its name. Raises ValueError where the file is not understood."""
    return READERS[path.suffix](path)


def found(folders: list[Path]) -> Iterator[Path]:
    """Files that can be read, below folders or named themselves, by name."""
    for folder in folders:
        inside = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        yield from (path for path in inside if path.suffix in READERS)
