"""Resolves the names of adapters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import digest_files
from kdprobe.host.checks import HUB_ID
from kdprobe.host.suggestions import suggested
from kdprobe.models.merging.files import CONFIG, ENDS, TOKENIZER, WEIGHTS
from kdprobe.models.outline.model_files import refuse_unreadable

SHIPPED_PREFIX = "kdprobe:"
_SHIPPED = Path(__file__).parent / "shipped"
_CAUTIONS = {
    "embedded-teacher": "Demonstration: the teacher model was trained to answer with worked steps when primed with "
    "either of the built-in strategies 'ground-truth' and 'teacher', and otherwise to give only the final answer. "
    "These results show what kdprobe reports when priming works; they say nothing about other models."
}
"""What everyone must know who sees results of an adapter shipped with kdprobe."""

Adapters = Mapping[str, str | os.PathLike[str]] | Sequence[str]
"""A mapping of names to paths, or a list of `PATH` and `NAME=PATH` as on the command line."""


@dataclass(frozen=True)
class AdapterRecord:
    """The adapter that a name refers to.

    Attributes:
        name: As the user wrote it.
        path: Its folder.
        digest: SHA-256 of its weights, its configuration, and the tokenizer next to them.
    """

    name: str
    path: Path
    digest: str

    @property
    def caution(self) -> str:
        """What everyone who sees its results must know; empty unless it is one shipped with kdprobe."""
        return _CAUTIONS.get(self.path.name, "") if self.path.parent == _SHIPPED else ""


def resolve_adapter(name: str) -> AdapterRecord:
    """Finds an adapter: a folder, `kdprobe:NAME` for one shipped with kdprobe, or an id on the Hub.

    Raises:
        UsageError: It does not exist, or is not a PEFT adapter in safetensors format.
        KdprobeError: It could not be downloaded from the Hub.
    """
    if name.startswith(SHIPPED_PREFIX):
        folder = _SHIPPED / name.removeprefix(SHIPPED_PREFIX)
        if not folder.is_dir():
            names = [f"{SHIPPED_PREFIX}{path.name}" for path in sorted(_SHIPPED.iterdir()) if path.is_dir()]
            raise UsageError(
                f"kdprobe ships no adapter {name!r}.", suggested(name, names) or f"It ships {', '.join(names)}."
            )
    else:
        folder = Path(name).expanduser()
        folder = _fetched(name) if not folder.exists() and HUB_ID.fullmatch(name) else folder
    if missing := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise UsageError(
            f"The adapter {name!r} has no {' and no '.join(missing)}.",
            "Use a folder written by PEFT's save_pretrained, in safetensors format.",
        )
    refuse_unreadable(folder)
    files = [folder / file for file in (CONFIG, WEIGHTS, ENDS, *TOKENIZER) if (folder / file).is_file()]
    return AdapterRecord(name, folder, digest_files(files))


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, ENDS, *TOKENIZER]))
    except Exception as error:
        # Missing, gated, offline, no network: the library has a class for each, but the advice is the same.
        raise KdprobeError(
            f"The adapter {name!r} is not a local folder and could not be downloaded from the Hub "
            f"({type(error).__name__}).",
            "Check the name and the network (and `hf auth login` for gated adapters), or specify a folder.",
        ) from error


def named_adapters(arguments: Adapters) -> dict[str, AdapterRecord]:
    """Finds the adapters named on the command line.

    Args:
        arguments: A mapping of names to paths, or a list whose items are `NAME=PATH` or `PATH`. Without a name, an
            adapter is named after the last parts of its path, as many as it takes for all names to differ.

    Raises:
        UsageError: One does not exist, or two have the same name.
    """
    if isinstance(arguments, Mapping):
        return {name: resolve_adapter(os.fspath(path)) for name, path in arguments.items()}
    if isinstance(arguments, str):
        raise UsageError("The adapters are a single string.", "Pass a list of paths, or a dict of names to paths.")
    pairs = [_name_and_path(text) for text in arguments]
    short_names = iter(_last_parts([path for name, path in pairs if name is None]))
    names = [next(short_names) if name is None else name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two adapters are named {repeated[0]!r}.", "Use distinct names: --adapter NAME=PATH.")
    return {name: resolve_adapter(path) for name, (_, path) in zip(names, pairs, strict=True)}


def _name_and_path(text: str) -> tuple[str | None, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals and not Path(text).exists() else (None, text)


def _last_parts(paths: Sequence[str]) -> list[str]:
    all_parts = [Path(path.removeprefix(SHIPPED_PREFIX)).expanduser().absolute().parts for path in paths]
    longest = max(map(len, all_parts), default=0)
    candidates = (["/".join(parts[-count:]) for parts in all_parts] for count in range(1, longest + 1))
    # If the names never differ, the paths refer to the same folder.
    return next((names for names in candidates if len(set(names)) == len(names)), [parts[-1] for parts in all_parts])
