"""``python -m cvxpylayers solve LAYER IN OUT``: a layer's file, a folder of Parquet files, and a folder for the results."""

from __future__ import annotations

import argparse
import sys

from cvxpylayers import _file
from cvxpylayers.errors import CvxpyLayersError


def main(arguments: list[str]) -> int:
    """Solve, and print what came out; 1 with the reason on standard error where that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m cvxpylayers solve", description=__doc__)
    parser.add_argument("layer", help="a file that layer.save wrote")
    parser.add_argument("source", help="a Parquet file, a folder of them, or a URI that Arrow reads")
    parser.add_argument("target", help="a folder or URI; what is finished there is not solved again")
    parser.add_argument("--id", action="append", default=[], metavar="COLUMN", help="a column to pass on; may be repeated")
    parser.add_argument("--column", action="append", default=[], metavar="PARAMETER=COLUMN", help="the column of a parameter")
    parser.add_argument(
        "--gradients-of", action="append", default=[], metavar="OUTPUT", help="an output whose cotangents are there"
    )
    parser.add_argument("--lists", choices=("fixed", "list", "tensor"), default="fixed", help="how arrays leave")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as the machine has")
    parser.add_argument("--no-resume", action="store_true", help="refuse a target that has results")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    given = parser.parse_args(arguments)
    if wrong := [pair for pair in given.column if "=" not in pair]:
        parser.error(f"--column {wrong[0]}: PARAMETER=COLUMN is needed")
    try:
        from cvxpylayers._tables.dataset import solve_dataset
        from cvxpylayers._tables.solver import TableSolver

        solver = TableSolver(
            _file.load(given.layer),
            keep=given.id,
            columns=dict(pair.split("=", 1) for pair in given.column),
            gradients_of=given.gradients_of,
            lists=given.lists,
            solver_args={"threads": given.threads} if given.threads else None,
        )
        print(solve_dataset(solver, given.source, given.target, resume=not given.no_resume, progress=not given.quiet))
    except (CvxpyLayersError, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0
