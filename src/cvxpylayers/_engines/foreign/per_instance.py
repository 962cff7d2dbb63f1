"""What engines share that solve one instance at a time: threads, failures that stay apart, statuses, options."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cvxpylayers._engines.foreign.chunks import Chunked
from cvxpylayers._engines.foreign.package import Packaged
from cvxpylayers._engines.judge.judge import Claim, Outcome
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.native.threads import thread_count
from cvxpylayers._typing import Float64, Shaped
from cvxpylayers.errors import CvxpyLayersError


class PerInstance(Chunked):
    """Solves every instance by itself on a pool of threads: an exception in one is a failure of that one."""

    @abc.abstractmethod
    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        """Solve one instance, given the value vector [P, q, A, b, d]; finite, and P positive semidefinite."""

    def _outcomes(self, values: Shaped[Float64, "k values"], settings: Mapping[str, Any]) -> list[Outcome]:
        threads = min(len(values), thread_count(settings))
        if threads == 1:
            return [self._guarded(row, settings) for row in values]
        pool = ThreadPoolExecutor(threads)
        try:
            return list(pool.map(lambda row: self._guarded(row, settings), values))
        finally:
            pool.shutdown(cancel_futures=True)

    def _guarded(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        try:
            return self._outcome(values, settings)
        except CvxpyLayersError:  # a mistake, not an outcome
            raise
        except Exception as error:
            return self._blamed(error)


class Adapter(Packaged, PerInstance):
    """A solver that takes a ``ConeProgram``: subclasses name it and its package, translate a program and read its answer."""

    @abc.abstractmethod
    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        """Solve one program with the solver's own ``settings``; exceptions become the instance's failure."""

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        program = self._assemble(values)
        claim = self.claim(program, self._own(settings))
        return self._settled(program, claim, settings)


class BatchAdapter(Packaged, Chunked):
    """A solver that takes many value vectors of one structure at once; each answer is judged by itself."""

    @abc.abstractmethod
    def claims(self, values: Shaped[Float64, "k values"], settings: dict[str, Any]) -> list[Claim]:
        """Solve k programs with the solver's own ``settings``."""

    def _outcomes(self, values: Shaped[Float64, "k values"], settings: Mapping[str, Any]) -> list[Outcome]:
        try:
            claims = self.claims(values, self._own(settings))
        except CvxpyLayersError:
            raise
        except Exception as error:
            if len(values) == 1:
                return [self._blamed(error)]
            return [outcome for row in values for outcome in self._outcomes(row[None], settings)]  # to find out whose it is
        return [self._settled(self._assemble(row), claim, settings) for row, claim in zip(values, claims, strict=True)]
