"""The attention patterns of single prompts, out of the arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing.labels import head_label
from kdprobe.probing.patterns.axes import Numbered, by_prompt, numbered
from kdprobe.probing.patterns.containers import HINT
from kdprobe.probing.patterns.generated import joined
from kdprobe.probing.patterns.padding import Real, by_mask, by_weights

PREFERRED = ("attention", "attentions", "pattern", "patterns")
"""Keys that are used if a file contains several arrays."""
CACHED = ("hook_pattern", "attn.pattern", "attentions")
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
    """

    name: str
    pattern: NDArray[np.float32]
    tokens: NDArray[np.int64] | None = None
    padding: tuple[int, int] = (0, 0)
    masked: bool = False
    causal: bool = True

    def named(self, name: str) -> PromptPatterns:
        """The same patterns under another name."""
        return replace(self, name=name)

    def reads_like(self, other: PromptPatterns) -> bool:
        """Whether both have the same name, length and tokens, as far as the files say."""
        same = self.tokens is None or other.tokens is None or np.array_equal(self.tokens, other.tokens)
        return same and self.name == other.name and self.pattern.shape[-1] == other.pattern.shape[-1]


def prompts_of(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[PromptPatterns]:
    """Finds the patterns of every prompt in a file's arrays.

    Raises:
        UsageError: The arrays are not patterns, or it is ambiguous what their axes are.
    """
    tokens, masks = (_rows(arrays, names, file) for names in (_TOKENS, _MASKS))
    given = tokens if tokens is not None else masks
    rest = {key: array for key, array in arrays.items() if key.rpartition("/")[2] not in (*_TOKENS, *_MASKS)}
    found = _patterns(rest, file)
    assembled = by_prompt(joined(found, file), None if given is None else len(given), file)
    if tokens is not None and any("step" in each.numbers for each in found):
        # The last token that a model generates is not read.
        tokens = tokens[:, : max(tokens.shape[1] - 1, assembled[0].shape[-1])]
    for rows in (tokens, masks):
        if rows is not None and len(rows) != len(assembled):
            raise UsageError(f"{file} contains patterns of {len(assembled)} prompts, but tokens of {len(rows)}.", HINT)
    several = len(assembled) > 1
    return [
        _prompt(
            f"prompt {index}" if several else "prompt",
            pattern.astype(np.float32),
            None if tokens is None else tokens[index],
            None if masks is None else masks[index],
            file,
        )
        for index, pattern in enumerate(assembled)
    ]


def _rows(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], file: Path) -> NDArray[Any] | None:
    """The array of tokens or masks under one of these names, `[prompt, position]`."""
    for key in (key for name in names for key in arrays if key.rpartition("/")[2] == name):
        array = np.atleast_2d(arrays[key])
        if array.ndim != _MATRIX or array.dtype.kind not in "biu":
            raise UsageError(
                f"{key} in {file} must be integers, [prompt, position], but is {array.dtype} {list(array.shape)}.", HINT
            )
        return array
    return None


def _patterns(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[Numbered]:
    """The arrays that hold attention.

    Raises:
        UsageError: None does, or several of them do without numbers.
    """
    cached = {key: array for key, array in arrays.items() if key.endswith(CACHED)}
    found = {key: array for key, array in (cached or arrays).items() if _is_pattern(array)}
    steps = {key: array for key, array in (cached or arrays).items() if _is_step(array)}
    if steps:
        return numbered(found | steps, file)
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


def _is_pattern(array: NDArray[Any]) -> bool:
    return array.ndim >= _MATRIX and array.shape[-1] == array.shape[-2] and array.shape[-1] > 0


def _is_step(array: NDArray[Any]) -> bool:
    """Whether an array may be one row of attention over all tokens so far, with at least an axis of heads."""
    return array.ndim > _MATRIX and array.dtype.kind == "f" and array.shape[-2] == 1 < array.shape[-1]


def _prompt(
    name: str, pattern: NDArray[np.float32], tokens: NDArray[Any] | None, mask: NDArray[Any] | None, file: Path
) -> PromptPatterns:
    """Leaves out padding and checks the rest."""
    if pattern.size and float(np.nanmin(pattern, initial=0.0)) < 0:
        raise UsageError(f"The patterns in {file} contain negative weights.", HINT)
    real = by_weights(pattern, file) if mask is None else by_mask(pattern, mask.astype(np.bool_), file)
    kept = pattern[:, :, real.positions[:, None], real.positions]
    _refuse_wrong(kept, file)
    return PromptPatterns(
        name=name,
        pattern=kept,
        tokens=None if tokens is None else _tokens(tokens, pattern.shape[-1], real, file),
        padding=(real.left, real.right),
        masked=real.masked,
        causal=not np.triu(kept.max(axis=(0, 1)), 1).any(),
    )


def _tokens(tokens: NDArray[Any], length: int, real: Real, file: Path) -> NDArray[np.int64]:
    if len(tokens) != length:
        raise UsageError(f"{file} contains {len(tokens)} tokens for {length} positions.", HINT)
    return tokens[real.positions].astype(np.int64)


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
