"""Keeps the libraries' chatter off the screen, except for warnings that a result may be wrong."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from kdprobe.console.messages import warn

_LIBRARIES = {"accelerate", "peft", "transformers"}
_ANSWERED = (
    # Loading compares the files with what the model expects, and rejects mismatches.
    "LOAD REPORT",
    "Found missing adapter keys",
    "Unexpected keyword arguments",
    "have invalid shape",
    # Merging gives tied layers their own weights and layers biases, and compares the logits.
    "`lora_bias=True` was passed",
    "tie_word_embeddings",
    "tied modules",
    "Setting `save_embedding_layers`",
    "Could not find a config file in",
    # A note says so, and what would need these weights is refused.
    "are on the meta device because they were offloaded",
    # Checkpoints are ordered by their numbers.
    "mtime may not be reliable",
)
"""Parts of warnings about things that kdprobe handles itself."""
_ABOUT_CODE = (DeprecationWarning, FutureWarning, PendingDeprecationWarning)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' progress bars and chatter off the screen while the block runs.

    Warnings from PEFT, transformers and accelerate are shown on stderr, each one once, because a result may be wrong.
    """
    from transformers.utils import logging as chatter

    had_bar = chatter.is_progress_bar_enabled()
    level = chatter.get_verbosity()
    loggers = [logging.getLogger("transformers"), logging.getLogger("accelerate")]
    handlers = [logger.handlers for logger in loggers]
    # Nested blocks write to the stream of the outer one.
    stream = next((handler.stream for handler in handlers[0] if isinstance(handler, _Handler)), sys.stderr)
    chatter.disable_progress_bar()
    chatter.set_verbosity_warning()
    for logger in loggers:
        logger.handlers = [_Handler(stream)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _shown_on(stream)
            yield
    finally:
        for logger, own in zip(loggers, handlers, strict=True):
            logger.handlers = own
        chatter.set_verbosity(level)
        if had_bar:
            chatter.enable_progress_bar()


class _Handler(logging.Handler):
    """Shows what a library logs."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        _show(record.getMessage(), self.stream)


def _shown_on(stream: TextIO) -> Any:
    """The function that `warnings` calls to show a warning."""

    def show(message: Warning | str, category: type[Warning], filename: str, *_arguments: Any) -> None:
        if not issubclass(category, _ABOUT_CODE) and _LIBRARIES & {*Path(filename).parts}:
            _show(str(message), stream)

    return show


def _show(warning: str, stream: TextIO) -> None:
    if not any(part in warning for part in _ANSWERED):
        warn(f"Warning: {' '.join(warning.split())}", stream, once=True)
