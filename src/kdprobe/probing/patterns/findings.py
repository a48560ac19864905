"""What may mislead about attention patterns from files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from kdprobe.comparison.finding import Finding
from kdprobe.probing.labels import head_label
from kdprobe.probing.patterns.files import PatternFile
from kdprobe.probing.patterns.prompts import PromptPatterns
from kdprobe.words import counted

_REPEATED = 3
"""How many identical tokens in a row at an end of a prompt look like padding."""


def pattern_findings(files: Sequence[PatternFile]) -> list[Finding]:
    """Says which files had padding, attention to later tokens, what looks like padding, or numbers that changed."""
    return [*_padding(files), *_bidirectional(files), *_repeated(files), *_unknown_ends(files), *_renumbered(files)]


def _padding(files: Sequence[PatternFile]) -> list[Finding]:
    guessed = {
        file.name: [prompt for prompt in file.prompts if any(prompt.padding) and not prompt.masked] for file in files
    }
    listed = ", ".join(
        f"{name}: {counted(sum(sum(prompt.padding) for prompt in prompts), 'position')} in "
        f"{counted(len(prompts), 'prompt')}"
        for name, prompts in guessed.items()
        if prompts
    )
    if not listed:
        return []
    return [
        Finding(
            "padding-left-out",
            f"Some positions at the ends of prompts receive no attention ({listed}). They were treated as padding and "
            "left out.",
            "To say what is padding, save the attention_mask of the forward pass in the same file.",
        )
    ]


def _bidirectional(files: Sequence[PatternFile]) -> list[Finding]:
    names = [file.name for file in files if "causal" not in file.offers]
    if not names:
        return []
    return [
        Finding(
            "bidirectional-attention",
            f"Tokens attend to later tokens: {', '.join(names)}. Metrics that assume causal attention are skipped.",
            "If the model is causal, record its attention again with its causal mask.",
        )
    ]


def _repeated(files: Sequence[PatternFile]) -> list[Finding]:
    names = [file.name for file in files if any(map(_looks_padded, file.prompts))]
    if not names:
        return []
    return [
        Finding(
            "repeated-tokens",
            f"Prompts begin or end with a run of {_REPEATED} or more identical tokens, to which other tokens attend: "
            f"{', '.join(names)}. The repeated tokens may be padding that the model read "
            "as text.",
            "Pass the attention_mask to the model when you record its attention, and save it in the same file.",
        )
    ]


def _looks_padded(prompt: PromptPatterns) -> bool:
    if prompt.tokens is None or len(set(prompt.tokens.tolist())) == 1:
        return False
    runs = [len(list(run)) for _, run in groupby(prompt.tokens.tolist())]
    # A mask says nothing about what was generated after it.
    unknown = [*([] if prompt.masked else runs[:1]), *([] if prompt.masked and not prompt.generated else runs[-1:])]
    return max(unknown, default=0) >= _REPEATED


def _unknown_ends(files: Sequence[PatternFile]) -> list[Finding]:
    names = [
        file.name
        for file in files
        if len(file.prompts) > 1 and all(prompt.generated and prompt.tokens is None for prompt in file.prompts)
    ]
    if not names:
        return []
    return [
        Finding(
            "unknown-ends",
            "Answers of different lengths generated in one batch are padded at the end; without their tokens, the "
            f"padding cannot be identified: {', '.join(names)}.",
            "Save the generated sequences as input_ids in the same file, or generate one answer at a time.",
        )
    ]


def _renumbered(files: Sequence[PatternFile]) -> list[Finding]:
    starts = {file.name: file.prompts[0].first for file in files}
    listed = ", ".join(f"{name}: {head_label(*first)}" for name, first in starts.items() if any(first))
    if not listed:
        return []
    return [
        Finding(
            "renumbered-heads",
            f"Layers and heads are counted from 0 here, but the numbers in some files start higher ({listed}).",
            "To get a file's own numbering, add the number of its first layer or head to the numbers in tables and "
            "figures; or save all layers and heads, numbered from 0.",
        )
    ]
