"""Prefetches the next item of an iterator while the current one is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class _End:
    """Type of the sentinel at the end of an iterator."""


_END = _End()


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yields the same items; a thread computes the next one while the current one is used.

    An error in an item is raised at the item's turn.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        coming = pool.submit(next, items, _END)
        while not isinstance(item := coming.result(), _End):
            coming = pool.submit(next, items, _END)
            yield item
