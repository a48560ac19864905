"""A plugin must not change anything merely by being installed: its changes to the process's state are undone.

Changes made by kdprobe's own libraries on import are kept: they are the same no matter what imports them first.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.host.state.process import State, adopt, changed, described, put_back, read_state

_OWN = frozenset(
    {
        "kdprobe",
        "accelerate",
        "click",
        "datasets",
        "filelock",
        "huggingface_hub",
        "jinja2",
        "lm_eval",
        "numpy",
        "optuna",
    }
    | {"pandas", "peft", "platformdirs", "plotly", "pluggy", "psutil", "pyarrow", "pydantic", "pydantic_core"}
    | {"rich", "safetensors", "scipy", "statsmodels", "tokenizers", "tomlkit", "torch", "transformer_lens"}
    | {"transformers", "yaml"}
)
"""Everything that kdprobe itself may import, as in pyproject.toml."""


@contextlib.contextmanager
def unchanged(who: str) -> Iterator[list[str]]:
    """Undoes a plugin's changes to the process's state while the block runs.

    Args:
        who: The plugin, for the error.

    Yields:
        A list that contains, after the block, what was undone.

    Raises:
        KdprobeError: Something cannot be undone.
    """
    state = read_state()
    watcher = _Watcher(state)
    sys.meta_path.insert(0, watcher)
    undone: list[str] = []
    try:
        yield undone
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(watcher)
        after = read_state()
        undone += described(state, after)
        try:
            put_back(state, changed(state, after))
        except Exception as error:
            raise KdprobeError(
                f"The plugin {who} changed {', '.join(undone)}, and the change cannot be undone: {error}.",
                f"Uninstall it, or set KDPROBE_BLOCK={who}.",
            ) from error


class _Watcher(MetaPathFinder):
    """Copies into a state what kdprobe's own libraries change on import."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._inside = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._inside or fullname.partition(".")[0] not in _OWN:
            return None
        self._inside = True
        try:
            others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        finally:
            self._inside = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            if self._inside:
                loader.exec_module(module)
                return
            before = read_state()
            self._inside = True
            try:
                loader.exec_module(module)
            finally:
                self._inside = False
                adopt(self._state, before, read_state())

        loader.exec_module = exec_module
