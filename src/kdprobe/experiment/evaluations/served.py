"""Models that another of lm-eval's model classes runs, or that it queries over the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.protocol import COMPLETION, Protocol, task_of
from kdprobe.experiment.evaluations.models import EvalRequest, refuse_unheard
from kdprobe.experiment.stages.absence import Records
from kdprobe.experiment.stages.context import problems_digest
from kdprobe.experiment.stages.evaluate import examination_stage
from kdprobe.experiment.stages.stage import Stage
from kdprobe.files import digest_files
from kdprobe.models.conversation import Conversation
from kdprobe.models.reference import short_name

_SEEDED = frozenset(
    {"local-chat-completions", "local-completions", "openai-chat-completions", "openai-completions", "vllm"}
)
"""Model types that send each answer's own seed on."""


@dataclass(frozen=True)
class ServedModel:
    """A model that one of lm-eval's model classes runs.

    What a name refers to is unknown here: keys contain the name, the arguments, and the digest of a local folder.

    Attributes:
        model: The model's name, or a folder.
        model_type: The model type in lm-eval.
        arguments: lm-eval's `--model_args`.
        batch_size: lm-eval's `--batch_size`; `None` uses the class's default.
    """

    model: str
    model_type: str
    arguments: str
    batch_size: str | None

    @property
    def name(self) -> str:
        """Its name in results."""
        return short_name(self.model)

    @property
    def chats(self) -> bool:
        """Whether it takes conversations."""
        return "chat" in self.model_type or not self.model_type.endswith("completions")

    @cached_property
    def _parsed(self) -> dict[str, Any]:
        from lm_eval.utils import simple_parse_args_string

        return dict(simple_parse_args_string(self.arguments))

    @property
    def key(self) -> dict[str, Any]:
        """What is known of it."""
        folder = Path(self.model) if Path(self.model).is_dir() else None
        return {
            "model": None if folder else self.model,
            "digest": digest_files([file for file in folder.iterdir() if file.is_file()]) if folder else None,
            "model_type": self.model_type,
            "model_args": self._parsed,
            "batch_size": self.batch_size,
        }

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries whose versions affect its answers."""
        return ("lm-eval", *({self.model_type.partition("-")[0]} & {"vllm", "sglang"}))

    def recording(self, mixin: type) -> Any:
        """The model, behind a mixin that records what it answers."""
        from lm_eval.api.registry import get_model

        from kdprobe.evaluation.lm_eval_run import quiet_lm_eval

        named = {"pretrained", "model"} & self._parsed.keys()
        arguments = self._parsed if named else {"pretrained": self.model, **self._parsed}
        with quiet_lm_eval():
            kind: Any = type("RecordingModel", (mixin, get_model(self.model_type)), {})
            return kind.create_from_arg_obj(arguments, {"batch_size": self.batch_size})

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns any error of its library or server into a sentence."""
        try:
            yield
        except KdprobeError:
            raise
        except Exception as error:
            # Any library or server may be involved, so any exception can occur.
            raise KdprobeError(
                f"lm-eval's model type {self.model_type!r} failed: {first_line(error)}",
                "The answers so far are saved. Check --model-type and --model-args, then rerun the command to resume.",
            ) from error


def served_eval_stage(served: ServedModel, request: EvalRequest) -> Stage:
    """A stage in which such a model answers the problems of the deciding task.

    Args:
        served: The model.
        request: What it is evaluated on.
    """
    protocol = replace(
        request.protocol,
        task=task_of(request.protocol, chat=True) if served.chats else _completion(request.protocol),
    )
    task = protocol.task or ""
    refuse_unheard(task, request.conversation)
    if protocol.samples > 1 and served.model_type not in _SEEDED:
        raise UsageError(
            f"With the model type {served.model_type!r}, kdprobe cannot set a seed for each answer, so several samples "
            "could be the same answer.",
            f"Use --samples 1, or one of these types: {', '.join(sorted(_SEEDED))}.",
        )

    def answer(_inputs: list[Path], scratch: Path, label: str) -> Records:
        from kdprobe.evaluation.lm_eval_run import run_task
        from kdprobe.evaluation.recording import Recording

        with served.explained():
            model = served.recording(Recording)
            return run_task(
                model,
                request.problems,
                protocol,
                task=task,
                label=label,
                ledger=Ledger(scratch / "answers.jsonl"),
                shots=request.shots,
                told=_told(model, served, request.conversation, speaks=not task.endswith(COMPLETION)),
            )

    identity = {
        **served.key,
        "conversation": request.conversation.as_key(),
        "shots": problems_digest(request.shots),
    }
    return examination_stage(
        served.name, request.problems, protocol, identity=identity, answer=answer, libraries=served.libraries
    )


def _told(model: Any, served: ServedModel, conversation: Conversation, *, speaks: bool) -> Any:
    from kdprobe.evaluation.lm_eval_conversation import NOTHING_TOLD, tell

    return tell(model, served.model_type, conversation) if speaks else NOTHING_TOLD


def _completion(protocol: Protocol) -> str:
    task = task_of(protocol, chat=False)
    return task if task.endswith(COMPLETION) else f"{task}{COMPLETION}"
