"""The processes that a plan has beside its own, because transformers and torch take longer to import than all else.

transformers imports torch wherever it is installed, although tokenizers, chat templates and configurations do not need
it. A process in which transformers does not find torch is of no use for anything else, so it is a fork that ends with
the plan. What does need torch, the modules of a new model, is found out in a second fork meanwhile.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol, TypeVar

from kdprobe.models.load import load_tokenizer, model_folder
from kdprobe.models.outline.fork import Fork, UnansweredError
from kdprobe.models.reference import ModelRecord

Result = TypeVar("Result")
_MODELS = (
    *("torch", "transformers.modeling_utils", "transformers.models.auto.modeling_auto"),
    *("kdprobe.models.anatomy", "kdprobe.models.outline.attention_projections"),
)


class Reads(Protocol):
    """A model's tokenizer, loaded when first used."""

    @property
    def record(self) -> ModelRecord:
        """The model."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, in this process."""


class Helpers:
    """Two processes, each started only if it saves time.

    Attributes:
        without_torch: Transformers does not find torch in it.
        with_torch: It has imported what builds models.
    """

    def __init__(self) -> None:
        self.without_torch = Fork(_hide_torch)
        self.with_torch = Fork(_import_models)

    def ask(self, function: Callable[..., Result], readers: Sequence[Reads], *arguments: Any) -> Result:
        """What a function returns for tokenizers and further arguments, in a process without torch if that saves time.

        Args:
            function: A function of a module; what it is given and returns can be pickled.
            readers: The models.
            arguments: What follows their tokenizers in the call.

        Raises:
            KdprobeError: A tokenizer cannot be loaded, or the function raised it.
        """
        self.without_torch.start()
        records = [reader.record for reader in readers]
        for record in records:
            # Converting a GGUF file needs torch.
            model_folder(record)
        with suppress(UnansweredError):
            answer: Result = self.without_torch.ask(_called, function, records, arguments)
            return answer
        return function(*(reader.tokenizer for reader in readers), *arguments)

    def close(self) -> None:
        """Ends the processes."""
        self.without_torch.close()
        self.with_torch.close()


@contextmanager
def helpers() -> Iterator[Helpers]:
    """`Helpers` that end with the block."""
    both = Helpers()
    try:
        yield both
    finally:
        both.close()


def import_torch() -> None:
    """Imports torch alone."""
    import torch  # noqa: F401


def _import_models() -> None:
    """Imports what lists the modules of a model, except for its architecture's own code."""
    for module in _MODELS:
        importlib.import_module(module)


def _hide_torch() -> None:
    """Imports transformers as if torch were not installed."""
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
