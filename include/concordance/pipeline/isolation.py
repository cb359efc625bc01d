"""Writing a batch although some of it cannot be written: what the store refuses is found and put aside.

A write carries several documents and succeeds or fails as a whole. The first refused document of a batch is found by
halving, in at most ceil(log2 n) writes, and the rest then goes in one: at most ceil(log2 n) + 1 writes more for each
refused document of n, which no scheme that tries both halves keeps. Where refusals were cheaper to find than that, the
saving is spent on writing the rest in smaller pieces, so that a batch full of them costs about one write each.

A batch that is too large for the store's memory is halved, and tells nothing about its documents until one stands
alone; no later write of the batch is larger than what was left of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from concordance.errors import BatchTooLarge, PoisonDocument

Document = TypeVar("Document")
Refusal = PoisonDocument | BatchTooLarge


def write_isolating(
    documents: Sequence[Document],
    write: Callable[[Sequence[Document]], None],
    refuse: Callable[[Document, Refusal], None],
) -> list[Document]:
    """Write all that the store takes; returns it, in order. `refuse` is told each other document, once, with the error
    that it stood alone with. Any other error of `write` ends it: nothing is known about the documents then."""
    return _Isolation(documents, write, refuse).written()


class _Isolation(Generic[Document]):
    def __init__(
        self,
        documents: Sequence[Document],
        write: Callable[[Sequence[Document]], None],
        refuse: Callable[[Document, Refusal], None],
    ) -> None:
        self._documents, self._write, self._refuse = documents, write, refuse
        self._taken: list[Document] = []
        self._most = max(1, len(documents))
        # ceil(log2 n) + 1 for each refused document; the first write of all is no extra one.
        self._share = (len(documents) - 1).bit_length() + 1 if documents else 0
        self._to_spend = 1

    def written(self) -> list[Document]:
        start, end = 0, len(self._documents)
        while start < end:
            size = self._next_size(end - start)
            error = self._try(start, start + size)
            if error is None:
                start += size
            elif isinstance(error, PoisonDocument):
                start = self._find_first(start, start + size, error)
            elif size == 1:
                start = self._put_aside(start, error)
        return self._taken

    def _next_size(self, left: int) -> int:
        """All that is left, unless so many writes are to spare that a smaller piece can be risked."""
        pieces = 1 << min(max(self._to_spend - 1, 0), left.bit_length())
        return min(self._most, -(-left // pieces))

    def _find_first(self, start: int, end: int, error: Refusal) -> int:
        """The store refuses [start, end): write what stands before the first refused document, put that aside, and
        return where the rest begins. The last refusal is always of what begins at `start` and ends at `end`."""
        while end - start > 1:
            middle = start + min((end - start) // 2, self._most)
            found = self._try(start, middle)
            if found is None:
                start = middle
            elif isinstance(found, PoisonDocument):
                end, error = middle, found
            elif middle - start == 1:
                # Too large by itself; whether the others are refused without it is open again.
                return self._put_aside(start, found)
        return self._put_aside(start, error)

    def _try(self, start: int, end: int) -> Refusal | None:
        self._to_spend -= 1
        piece = self._documents[start:end]
        try:
            self._write(piece)
        except PoisonDocument as error:
            return error
        except BatchTooLarge as error:
            self._most = max(1, len(piece) // 2)
            return error
        self._taken.extend(piece)
        return None

    def _put_aside(self, number: int, error: Refusal) -> int:
        self._to_spend += self._share
        self._refuse(self._documents[number], error)
        return number + 1
