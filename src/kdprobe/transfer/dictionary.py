"""Predicts the token ids in a teacher's distributions, so that they take fewer bytes.

Which ids are probable depends on the token before. An id is therefore stored as its index in the list of the ids that
were kept most often after the same token. An id that is not in this list, or that follows a token without one, is
stored as the length of the list plus its index in an order of the whole vocabulary. Frequent ids become small numbers,
which compress well, and every id comes back exactly, whatever the dictionary predicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kdprobe.files import UnreadableError
from kdprobe.teachers.teacher import Response

Ids = NDArray[np.int64]

START = -1
"""The token before the first one of a response."""
_FEWEST = 4
"""Number of times an id must have been kept to be listed; listing it costs about as much as it saves in so many."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Lists of token ids, those kept most often first.

    Attributes:
        vocabulary: Number of token ids.
        common: Ids listed for all tokens; the rest of the vocabulary follows in ascending order.
        tokens: The tokens that have a list of their own, ascending; `START` may be among them.
        lengths: The lengths of their lists.
        ids: Their lists, one after another.
    """

    vocabulary: int
    common: Ids
    tokens: Ids
    lengths: Ids
    ids: Ids

    @classmethod
    def empty(cls, vocabulary: int) -> Dictionary:
        """A dictionary without lists, in which every id is its own index."""
        nothing = np.array([], dtype=np.int64)
        return cls(vocabulary, nothing, nothing, nothing, nothing)

    @classmethod
    def of(cls, responses: Iterable[Response], vocabulary: int) -> Dictionary:
        """A dictionary of the ids kept in these responses."""
        rows = [(r.token_ids, r.rows.ids) for r in responses if r.rows is not None and len(r.token_ids)]
        if not rows:
            return cls.empty(vocabulary)
        kept = [ids >= 0 for _, ids in rows]
        before = np.concatenate(
            [np.repeat(tokens_before(tokens), mask.sum(axis=1)) for (tokens, _), mask in zip(rows, kept, strict=True)]
        )
        ids = np.concatenate([ids[mask] for (_, ids), mask in zip(rows, kept, strict=True)]).astype(np.int64)
        counts = np.bincount(ids, minlength=vocabulary)
        order = np.argsort(-counts, kind="stable")
        pairs, times = np.unique((before + 1) * vocabulary + ids, return_counts=True)
        pairs, times = pairs[times >= _FEWEST], times[times >= _FEWEST]
        owners = pairs // vocabulary - 1
        pairs, owners = (values[np.lexsort((pairs, -times, owners))] for values in (pairs, owners))
        tokens, lengths = np.unique(owners, return_counts=True)
        common = order[: int((counts >= _FEWEST).sum())]
        return cls(vocabulary, common, tokens, lengths.astype(np.int64), pairs % vocabulary)

    @property
    def width(self) -> type[np.unsignedinteger[Any]]:
        """The smallest integer type that holds every index."""
        return width(self.vocabulary + int(self.lengths.max(initial=0)))

    def encode(self, before: Ids, ids: Ids) -> Ids:
        """Indices of ids `[n]`, given the token before each, `[n]`."""
        found, length = self._lists_of(before)
        keys, indices = self._index
        pairs = (before + 1) * self.vocabulary + ids
        place = np.minimum(np.searchsorted(keys, pairs), max(len(keys) - 1, 0))
        listed = found & (keys[place] == pairs) if len(keys) else found
        codes = length + self._ranks[ids]
        codes[listed] = indices[place[listed]]
        return codes

    def decode(self, before: Ids, codes: Ids) -> Ids:
        """The inverse of `encode`.

        Raises:
            UnreadableError: An index is beyond the vocabulary.
        """
        found, length = self._lists_of(before)
        listed = codes < length
        rest = np.where(listed, 0, codes - length)
        if len(rest) and rest.max() >= self.vocabulary:
            raise UnreadableError("has ids beyond its vocabulary")
        ids = self._order[rest]
        if found.any():
            first = self._starts[np.searchsorted(self.tokens, before[listed])]
            ids[listed] = self.ids[first + codes[listed]]
        return ids

    def _lists_of(self, before: Ids) -> tuple[NDArray[np.bool_], Ids]:
        """Whether each token has a list, and the list's length or 0."""
        if not len(self.tokens):
            return np.zeros(len(before), dtype=np.bool_), np.zeros(len(before), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.tokens, before), len(self.tokens) - 1)
        found = self.tokens[place] == before
        return found, np.where(found, self.lengths[place], 0)

    @cached_property
    def _starts(self) -> Ids:
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def _order(self) -> Ids:
        """All ids, the common ones first."""
        rest = np.ones(self.vocabulary, dtype=np.bool_)
        rest[self.common] = False
        return np.concatenate([self.common, np.flatnonzero(rest)])

    @cached_property
    def _ranks(self) -> Ids:
        """The index of every id in this order."""
        return np.argsort(self._order)

    @cached_property
    def _index(self) -> tuple[Ids, Ids]:
        """Pairs of token and listed id as ascending numbers, and the index of each id in its list."""
        pairs = (np.repeat(self.tokens, self.lengths) + 1) * self.vocabulary + self.ids
        indices = np.arange(len(pairs)) - np.repeat(self._starts, self.lengths)
        order = np.argsort(pairs)
        return pairs[order], indices[order]

    def to_bytes(self) -> bytes:
        """The dictionary as a Parquet table: the common ids without a token, then each token with its list."""
        ids = pa.array(np.concatenate([self.common, self.ids]).astype(width(self.vocabulary)))
        offsets = np.cumsum([0, len(self.common), *self.lengths])
        table = pa.table(
            {
                "token": pa.array([None, *self.tokens.tolist()], pa.int32()),
                "ids": pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), ids),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            column_encoding={"ids.list.element": "BYTE_STREAM_SPLIT"},
        )
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def from_bytes(cls, data: bytes, vocabulary: int) -> Dictionary:
        """The inverse of `to_bytes`.

        Raises:
            UnreadableError: It is not a dictionary of this vocabulary.
        """
        try:
            table = pq.read_table(pa.BufferReader(data))
            tokens = table["token"].to_pylist()
            lists = table["ids"].combine_chunks()
            flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.int64)
            lengths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)
        except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
            raise UnreadableError("has no valid dictionary") from error
        named = np.array(tokens[1:], dtype=np.int64) if None not in tokens[1:] else None
        if not tokens or tokens[0] is not None or named is None or (np.diff(named) <= 0).any():
            raise UnreadableError("has no valid dictionary")
        common = flat[: lengths[0]]
        outside = len(flat) and not 0 <= flat.min() <= flat.max() < vocabulary
        if outside or len(np.unique(common)) < len(common):
            raise UnreadableError("has no valid dictionary")
        return cls(vocabulary, common, named, lengths[1:], flat[lengths[0] :])


def tokens_before(token_ids: NDArray[np.integer[Any]]) -> Ids:
    """The token before each token of a response, `[tokens]`."""
    return np.concatenate([[START], token_ids[:-1]]).astype(np.int64)[: len(token_ids)]


def width(values: int) -> type[np.unsignedinteger[Any]]:
    """The smallest integer type for so many values."""
    return np.uint16 if values <= np.iinfo(np.uint16).max + 1 else np.uint32
