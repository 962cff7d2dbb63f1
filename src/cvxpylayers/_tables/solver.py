"""A layer as a function of tables."""

from __future__ import annotations

import copy
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from cvxpylayers._layer.layer import Call, Layer
from cvxpylayers._program import codec
from cvxpylayers._tables.arrow import STATUS, Lists, check, column, field_type, numbers, words
from cvxpylayers._tables.signature import Signature
from cvxpylayers._typing import Bool, Float64, NDArray
from cvxpylayers.errors import InputError, InputTypeError, OptionError

Names = Sequence[str] | Mapping[str, str]

REPORTS: Final = {
    "objective": pa.float64(),
    "iterations": pa.int32(),
    "primal_residual": pa.float64(),
    "dual_residual": pa.float64(),
    "gap": pa.float64(),
    "margin": pa.float64(),
    "fallback": pa.bool_(),
}
_TOLD: Final = ("objective", "iterations")


class TableSolver:
    """A picklable function: a ``pyarrow.Table`` or ``RecordBatch`` with a row per instance → a table of their results.

    An iterator of record batches is turned into one of record batches, as Spark's ``mapInArrow`` wants it. ``layer.on_tables`` says
    what the arguments mean. A row of the result depends on its own row alone, to the last bit. Nothing raises for data: a
    row without a solution, with a null or with a list of another size has its status, and nulls for results.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        outputs: Names | None = None,
        keep: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        shared: Mapping[str, ArrayLike] | None = None,
        gradients_of: Names = (),
        report: Sequence[str] = _TOLD,
        lists: Lists = "fixed",
        solver_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.layer, arguments = layer.choose(solver_args)
        self.arguments = dict(arguments or {})
        self.layer.call_options(self.arguments, False, "nan")
        signature = self.signature
        if len(signature.parameters) < len(layer.ranks) or len(signature.outputs) < len(layer.compiled.outputs):
            raise InputError("Two parameters or two variables have one name: give them names of their own, cp.Variable(name=...).")
        self.outputs = _named("output", list(signature.outputs) if outputs is None else outputs, signature.outputs)
        self.cotangents = _named("output", gradients_of, signature.outputs, "d_")
        self.keep, self.report, self.lists = _list("keep", keep), _list("report", report), lists
        _known("report", self.report, REPORTS)
        if lists not in ("fixed", "list", "tensor"):
            raise OptionError(f"lists must be 'fixed', 'list' or 'tensor'; got {lists!r}.")
        self.shared: dict[str, NDArray[Any]] = {}
        for name, value in (shared or {}).items():
            _known("parameter", [name], signature.parameters)
            array = np.asarray(value)
            if array.shape != signature.parameters[name]:
                raise InputError(f"The shared value of {name!r} must have shape {signature.parameters[name]}; got {array.shape}.")
            self.shared[name] = array
        _known("parameter", columns or {}, signature.parameters)
        self.columns = {name: (columns or {}).get(name, name) for name in signature.parameters if name not in self.shared}
        if not self.columns:
            raise InputError("Every parameter is shared, so that all rows are one instance: leave one to the columns of the table.")
        names = Counter([*self.keep, *self._results()])
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(f"Two columns of the result would be named {twice[0]!r}: rename one, outputs={{name: column}}.")

    @property
    def signature(self) -> Signature:
        """What the layer takes and gives."""
        return Signature.of(self.layer.compiled)

    @property
    def needed(self) -> list[str]:
        """The columns that are read, each once."""
        return list(dict.fromkeys([*self.keep, *self.columns.values(), *self.cotangents.values()]))

    @property
    def key(self) -> str:
        """32 hexadecimal digits that solvers share whose results are the same."""
        options = {name: value for name, value in self.layer.engine.options.items() if name != "threads"}
        arguments = {name: value for name, value in self.arguments.items() if name != "threads"}
        tables = (self.outputs, self.cotangents, self.columns, self.shared, self.keep, self.report, self.lists)
        return codec.digest((self.layer.compiled, self.layer.kind.name, options, arguments, tables))

    def with_threads(self, count: int) -> TableSolver:
        """The same solver on ``count`` threads, derivatives included; itself where its engine has no such option."""
        names = self.layer.kind.option_names()
        if names is None or "threads" not in names:
            return self
        found, old = copy.copy(self), self.layer
        options = {**old.engine.options, "threads": count}
        found.layer = Layer.of(old.compiled, old.kind, options, on_failure=old.on_failure, chosen=old.chosen)
        found.arguments = {name: value for name, value in self.arguments.items() if name != "threads"}
        return found

    def schema(self, given: pa.Schema) -> pa.Schema:
        """The schema of the results for tables of the schema ``given``.

        Raises:
            InputError, InputTypeError: a column is missing, or cannot hold its parameter.
        """
        for name in self.needed:
            if (found := given.get_all_field_indices(name)) and len(found) == 1:
                continue
            near = difflib.get_close_matches(name, given.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, given.names))}."
            remedy = "columns={parameter: column} renames, shared={parameter: value} needs no column"
            raise InputError(f"Column {name!r} is {'there twice' if found else f'missing; {hint} {remedy}'}.")
        signature = self.signature
        for name, source in self.columns.items():
            check(source, given.field(source).type, signature.parameters[name])
        for name, source in self.cotangents.items():
            check(source, given.field(source).type, signature.outputs[name])
        kept = [given.field(name) for name in self.keep]
        return pa.schema([*kept, *(pa.field(name, kind) for name, kind in self._results().items())])

    def __call__(self, table: Any) -> Any:
        """Results of a table or record batch as a table, of an iterator of record batches as an iterator; a row for each row.

        Raises:
            InputError, InputTypeError: columns are missing or of the wrong type; nothing has been solved then.
        """
        if isinstance(table, Iterator):
            return self._stream(table)
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        if not isinstance(table, pa.Table):
            raise InputTypeError(f"A pyarrow.Table or RecordBatch is needed; got {type(table).__name__}.")
        schema = self.schema(table.schema)
        if table.num_rows == 0:
            return schema.empty_table()
        return pa.table([*(table.column(name) for name in self.keep), *self._solve(table)], schema=schema)

    def _stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from self(batch).to_batches()

    def _results(self) -> dict[str, Any]:
        """Names and types of the columns that are made, in their order."""
        shapes, parameters = self.signature.outputs, self.signature.parameters
        found = [(target, field_type(shapes[name], self.lists)) for name, target in self.outputs.items()]
        found += [("status", STATUS), *((name, REPORTS[name]) for name in self.report)]
        if self.cotangents:
            found += [(f"d_{name}", field_type(shape, self.lists)) for name, shape in parameters.items()]
            found += [("degenerate", pa.bool_())]
        return _unique(found)

    def _solve(self, table: pa.Table) -> list[Any]:
        """The columns of ``_results``, for at least one row."""
        layer, signature = self.layer, self.signature
        arrays = [
            self.shared[name] if name in self.shared else numbers(table.column(self.columns[name]), shape)
            for name, shape in signature.parameters.items()
        ]
        call = layer.solve(arrays, solver_args=self.arguments, on_failure="nan", tape=bool(self.cotangents))
        failed = ~call.info.solved
        by_name = dict(zip(signature.outputs, call.outputs, strict=True))
        found = [column(by_name[name], failed, self.lists) for name in self.outputs]
        found.append(words(call.info.codes))
        for name in self.report:
            values = getattr(call.info, name)
            found.append(pa.array(values, mask=failed if name == "objective" and failed.any() else None))
        return found + (self._gradients(table, call, failed) if self.cotangents else [])

    def _gradients(self, table: pa.Table, call: Call, failed: Bool) -> list[Any]:
        """One gradient per parameter and row, also of shared ones, whose own gradient is the sum of the column; and the flags."""
        shapes = self.signature.outputs
        given: list[Float64 | None] = [None] * len(shapes)
        for k, (name, shape) in enumerate(shapes.items()):
            if name in self.cotangents:
                given[k] = cotangent = numbers(table.column(self.cotangents[name]), shape).astype(np.float64)
                wrong = ~np.isfinite(cotangent.reshape(len(failed), -1)).all(axis=1)
                cotangent[wrong], failed = 0.0, failed | wrong
        specs = self.layer.compiled.parameters
        at = call.point._replace(batch=call.point.batch.per_instance())
        found = self.layer.vjp(at, given, [True] * len(specs))
        columns = [
            column(np.ascontiguousarray(g).reshape(len(failed), *spec.shape), failed, self.lists)
            for g, spec in zip(found, specs, strict=True)
            if g is not None
        ]
        return [*columns, pa.array(call.info.degenerate)]


def _list(what: str, names: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise InputTypeError(f"{what} must be a list of names: [{names!r}].")
    return list(names)


def _known(what: str, names: Iterable[str], valid: Iterable[str]) -> None:
    for name in names:
        if name not in valid:
            raise InputError(f"There is no {what} {name!r}; there are {', '.join(map(repr, valid))}.")


def _named(what: str, names: Names, valid: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Each name with that of its column."""
    if isinstance(names, Mapping):
        _known(what, names, valid)
        return dict(names)
    listed = _list(f"{what}s", names)
    _known(what, listed, valid)
    return {name: prefix + name for name in listed}


def _unique(found: list[tuple[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, kind in found:
        if name in columns:
            raise InputError(f"Two columns of the result would be named {name!r}: rename one, outputs={{name: column}}.")
        columns[name] = kind
    return columns
