"""The attention patterns of single prompts, out of the arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing.labels import head_label
from kdprobe.probing.patterns.axes import PromptArray, Stated, by_prompt
from kdprobe.probing.patterns.containers import HINT
from kdprobe.probing.patterns.generated import joined
from kdprobe.probing.patterns.names import Numbered, axes_in, numbered
from kdprobe.probing.patterns.padding import NEGLIGIBLE, by_mask, by_weights
from kdprobe.words import counted

PREFERRED = ("attention", "attentions", "pattern", "patterns")
"""Keys that are used if a file contains several arrays."""
CACHED = ("hook_pattern", "attn.pattern")
"""How the names of attention end in caches of all activations; scores before the softmax are not attention."""
_TOKENS = ("input_ids", "token_ids", "tokens")
_MASKS = ("attention_mask", "mask")
ROW_SUM_TOLERANCE = 0.02
"""How far a row may be from summing to one: patterns dumped in bfloat16 are off by up to 0.003."""
_MATRIX, _WHOLE = 2, 4


@dataclass(frozen=True)
class PromptPatterns:
    """One student's attention patterns on one prompt.

    Attributes:
        name: The prompt's name.
        pattern: `[layer, head, query, key]`, float32, as dumped but without padding.
        tokens: Token ids, `[position]`, if the file contains them.
        padding: Positions of padding that were left out, on the left and on the right.
        masked: Whether a mask said what is padding; otherwise the weights did.
        causal: Whether no token attends to a later one.
        first: The numbers of its first layer and head in the file; here they are counted from 0.
        generated: Whether a model wrote a part of it, of which masks say nothing.
    """

    name: str
    pattern: NDArray[np.float32]
    tokens: NDArray[np.int64] | None = None
    padding: tuple[int, int] = (0, 0)
    masked: bool = False
    causal: bool = True
    first: tuple[int, int] = (0, 0)
    generated: bool = False

    def named(self, name: str) -> PromptPatterns:
        """The same patterns under another name."""
        return replace(self, name=name)

    def reads_like(self, other: PromptPatterns) -> bool:
        """Whether both have the same name, length, layers, heads and tokens, as far as the files say."""
        same = self.tokens is None or other.tokens is None or np.array_equal(self.tokens, other.tokens)
        return same and (self.name, self.first, self.pattern.shape) == (other.name, other.first, other.pattern.shape)


def prompts_of(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[PromptPatterns]:
    """Finds the patterns of every prompt in a file's arrays.

    Raises:
        UsageError: The arrays are not patterns, or it is ambiguous what their axes are.
    """
    tokens, masks = (_rows(arrays, names, file) for names in (_TOKENS, _MASKS))
    stated = [Stated(len(rows), by) for rows, by in ((tokens, "tokens"), (masks, "attention masks")) if rows]
    found = _patterns({key: array for key, array in arrays.items() if _last(key) not in (*_TOKENS, *_MASKS)}, file)
    assembled = by_prompt(joined(found, file), stated[0] if stated else None, file)
    for prompts, by in stated:
        if prompts != len(assembled):
            held = counted(len(assembled), "prompt")
            raise UsageError(
                f"{file} contains patterns for {held}, but {by} for {prompts}.", f"Save the {by} of the same prompts."
            )
    generated = any("step" in each.numbers for each in found)
    return [
        _prompt(each, tokens[index] if tokens else None, masks[index] if masks else None, file, generated=generated)
        for index, each in enumerate(assembled)
    ]


def _last(key: str) -> str:
    """The last part of a name such as `prompt_0/input_ids`."""
    return key.rpartition("/")[2]


def _rows(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], file: Path) -> Sequence[NDArray[Any]] | None:
    """The tokens or the mask of each prompt under one of these names, `[position]` each.

    Raises:
        UsageError: They are not integers by prompt and position, or there are several for one prompt.
    """
    name = next((name for name in names if any(_last(key) == name for key in arrays)), None)
    if name is None:
        return None
    found = {key: np.atleast_2d(array) for key, array in arrays.items() if _last(key) == name}
    for key, array in found.items():
        if array.ndim != _MATRIX or array.dtype.kind not in "biu":
            raise UsageError(
                f"{key} in {file} has dtype {array.dtype} and shape {list(array.shape)}.",
                "Save it as integers of shape [prompt, position].",
            )
    first = next(iter(found.values()))
    if all(np.array_equal(array, first) for array in found.values()):
        return list(first)
    each = numbered(found, file)
    if all(row.prompt and len(row.array) == 1 for row in each):
        return [row.array[0] for row in sorted(each, key=lambda row: row.numbers["prompt"])]
    raise UsageError(
        f"{file} contains several arrays called {name}.", "Save a single array of shape [prompt, position]."
    )


def _patterns(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[Numbered]:
    """The arrays that hold attention.

    Raises:
        UsageError: None does, or several of them do without numbers.
    """
    cached = {key: array for key, array in arrays.items() if key.endswith(CACHED)}
    found = {key: array for key, array in (cached or arrays).items() if _is_pattern(key, array)}
    if not found:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in list(arrays.items())[:4]) or "nothing"
        raise UsageError(f"{file} contains no attention patterns (it contains {shapes}).", HINT)
    for array in found.values():
        if array.dtype.kind != "f":
            raise UsageError(
                f"The patterns in {file} have dtype {array.dtype}.", "Save them as float16, float32 or float64."
            )
    whole = {key: array for key, array in found.items() if array.ndim >= _WHOLE}
    if preferred := [key for key in PREFERRED if key in whole]:
        return numbered({preferred[0]: whole[preferred[0]]}, file)
    if len(found) > 1 and not any(character.isdigit() for key in found for character in key):
        if len(whole) == 1:
            return numbered(whole, file)
        raise UsageError(f"{file} contains several pattern arrays: {', '.join(sorted(found))}.", "Keep one of them.")
    return numbered(found, file)


def _is_pattern(key: str, array: NDArray[Any]) -> bool:
    """Whether an array may be attention: square, or the queries of one of several steps of generation."""
    if array.ndim < _MATRIX or not array.size:
        return False
    queries, keys = array.shape[-2:]
    step = array.ndim > _MATRIX and queries < keys and "step" in axes_in(key)
    return bool(queries == keys or step)


def _prompt(
    found: PromptArray,
    tokens: NDArray[Any] | None,
    mask: NDArray[Any] | None,
    file: Path,
    *,
    generated: bool,
) -> PromptPatterns:
    """Leaves out padding and checks the rest."""
    pattern = found.pattern.astype(np.float32)
    length = pattern.shape[-1]
    if float(np.nanmin(pattern, initial=0.0)) < 0:
        raise UsageError(f"The patterns in {file} contain negative weights.", HINT)
    if generated:
        # The mask covers only what the model was given, and the last token that it writes is not read.
        mask = None if mask is None else np.concatenate([mask, np.ones(max(0, length - len(mask)), mask.dtype)])
        tokens = None if tokens is None else tokens[: max(len(tokens) - 1, length)]
    if tokens is not None and len(tokens) != length:
        raise UsageError(
            f"{file} contains {counted(len(tokens), 'token')} for a prompt of {length} positions.",
            "Save the token ids that the model read, one per position.",
        )
    left, right = by_weights(pattern, file) if mask is None else by_mask(pattern, mask.astype(np.bool_), file)
    real = slice(left, length - right)
    kept = pattern[:, :, real, real]
    _refuse_wrong(kept, file)
    return PromptPatterns(
        name=found.name or "prompt",
        pattern=kept,
        tokens=None if tokens is None else tokens[real].astype(np.int64),
        padding=(left, right),
        masked=mask is not None,
        causal=bool(np.triu(kept.max(axis=(0, 1)), 1).max() <= NEGLIGIBLE),
        first=found.first,
        generated=generated,
    )


def _refuse_wrong(pattern: NDArray[np.float32], file: Path) -> None:
    """Raises if the array is not a valid attention pattern."""
    if not np.isfinite(pattern).all():
        raise UsageError(f"The patterns in {file} contain NaN or infinity.", HINT)
    errors = np.abs(pattern.sum(axis=-1, dtype=np.float64) - 1)
    if errors.max() > ROW_SUM_TOLERANCE:
        layer, head, query = (int(index) for index in np.unravel_index(errors.argmax(), errors.shape))
        raise UsageError(
            f"The patterns in {file} do not sum to one over keys: {head_label(layer, head)}, query {query} is off by "
            f"{errors.max():.2g}.",
            f"{HINT} Omit padding.",
        )
