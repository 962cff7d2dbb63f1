"""A small store of what was built lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The values of the latest ``count`` keys, while their sizes sum to no more than ``room``; safe to share between threads."""

    def __init__(self, count: int, room: int, size: Callable[[T], int]) -> None:
        self._count, self._room, self._size = count, room, size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> T | None:
        """The value of ``key``, if it is still there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: T) -> None:
        """Keep ``value``; evict the least recently used ones beyond ``count`` or ``room``."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._count or sum(map(self._size, self._values.values())) > self._room:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Evict everything."""
        with self._lock:
            self._values.clear()
