"""Tokenizers in a process that does without torch.

transformers imports torch wherever it is installed, which takes longer than all else in a plan, although tokenizers and
chat templates do not need it. A process in which transformers does not find torch is of no use for anything else, so it
is a fork that ends with the plan.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol, TypeVar

from kdprobe.models.load import load_tokenizer, model_folder
from kdprobe.models.reference import ModelRecord

Result = TypeVar("Result")


class Reads(Protocol):
    """A model's tokenizer, loaded when first used."""

    @property
    def record(self) -> ModelRecord:
        """The model."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, in this process."""


class TokenizerProcess:
    """Calls functions with tokenizers: in a process of its own if that saves time, in this one otherwise."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def ask(self, function: Callable[..., Result], readers: Sequence[Reads], *arguments: Any) -> Result:
        """What a function returns for tokenizers and further arguments.

        Args:
            function: A function of a module; what it is given and returns can be pickled.
            readers: The models.
            arguments: What follows their tokenizers in the call.

        Raises:
            KdprobeError: A tokenizer cannot be loaded, or the function raised it.
        """
        self.start()
        if self._pool:
            records = [reader.record for reader in readers]
            for record in records:
                # Converting a GGUF file needs torch.
                model_folder(record)
            try:
                return self._pool.submit(_called, function, records, arguments).result()
            except Exception:  # noqa: BLE001, S110 - it was killed, or needs torch after all: errors are raised here
                pass
        return function(*(reader.tokenizer for reader in readers), *arguments)

    def start(self) -> None:
        """Starts the process, if it saves time, so that it is ready when it is asked."""
        if self._pool is None and _worthwhile():
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"), _hide_torch)
            # A pool starts its process with the first call, whatever it is.
            self._pool.submit(_worthwhile)

    def close(self) -> None:
        """Ends the process."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextmanager
def tokenizer_process() -> Iterator[TokenizerProcess]:
    """A `TokenizerProcess` that ends with the block."""
    process = TokenizerProcess()
    try:
        yield process
    finally:
        process.close()


def _worthwhile() -> bool:
    """Whether transformers and torch have not been imported here, and this process can safely be forked."""
    imported = {"torch", "transformers"} & sys.modules.keys()
    return sys.platform == "linux" and not imported and threading.active_count() == 1


def _hide_torch() -> None:
    """Imports transformers as if torch were not installed, and leaves Ctrl-C to the plan's own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: None if name == "torch" else found(name, package)
    # transformers would warn that it cannot load models.
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    with suppress(Exception):  # Whatever it is, it is raised again by the first call.
        import transformers  # noqa: F401
    del os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"]


def _called(function: Callable[..., Result], records: Sequence[ModelRecord], arguments: Sequence[Any]) -> Result:
    return function(*map(_tokenizer, records), *arguments)


_tokenizer = cache(load_tokenizer)
