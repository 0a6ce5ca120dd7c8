"""Work that threads do ahead of whoever needs its results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yield every item with the future result of ``work(item)``, in the order of the items.

    Args:
        pool: where the work is done.
        work: called once for each item.
        items: what to work on; taken one by one.
        most: how many items beyond the one that is yielded have been begun, at most.
    """
    begun: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        begun.append((item, pool.submit(work, item)))
        if len(begun) > most:
            yield begun.popleft()
    while begun:
        yield begun.popleft()
