"""The contract of a distiller: it writes an adapter that loads and that changes the student."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.host.registry import Host
from kdprobe.students.student import Student
from kdprobe.testing.contract import require
from kdprobe.words import counted


def check_distiller(
    host: Host,
    name: str,
    options: dict[str, Any] | None,
    train_context: Callable[..., TrainContext],
) -> Trained:
    """Trains the tiny student once.

    Args:
        host: The host that provides it.
        name: The distiller.
        options: Its options, as in a config; a few steps are enough.
        train_context: The kit's fixture with that name.

    Returns:
        The result of training, for the plugin's own tests.

    Raises:
        ContractError: The distiller needs something that does not exist, or it writes no adapter, one that does not
            load, one with pickles, or one that changes nothing.
    """
    distiller = host.create("distillers", name, options)
    unknown = set(distiller.needs) - set(get_args(Need))
    require(
        not unknown,
        f"{name!r} declares {counted(len(unknown), 'unknown need')}: {', '.join(map(repr, sorted(unknown)))}. "
        f"Supported needs: {', '.join(get_args(Need))}.",
    )
    temperatures = distiller.temperatures()
    require(
        isinstance(temperatures, tuple) and all(t > 0 for t in temperatures),
        f"temperatures() of {name!r} must return a tuple of positive numbers, not {temperatures!r}.",
    )
    context = train_context(distiller.needs, temperatures)
    trained: Trained = distiller.train(context)
    require(isinstance(trained, Trained), f"train() of {name!r} must return Trained, not {type(trained).__name__}.")
    _check_history(trained, name)
    _check_adapter(trained.adapter, context, name)
    return trained


def _check_history(trained: Trained, name: str) -> None:
    require(
        math.isfinite(trained.adapter_norm) and trained.adapter_norm > 0,
        f"{name!r} reports an adapter_norm of {trained.adapter_norm}; it must be a positive, finite number.",
    )
    require(trained.history, f"{name!r} returns no history; return one row per optimiser step, each with a `loss`.")
    losses = [row.get("loss", math.nan) for row in trained.history]
    wrong = next((row for row, loss in enumerate(losses, start=1) if not math.isfinite(loss)), None)
    require(wrong is None, f"{name!r}: row {wrong} of the history has no finite `loss`.")


def _check_adapter(folder: Path, context: TrainContext, name: str) -> None:
    import torch

    from kdprobe.models.conversation import prompt_ids

    require(folder == context.folder, f"{name!r} wrote its adapter to {folder}, not to the context's folder.")
    weights = folder / "adapter_model.safetensors"
    require(
        weights.is_file() and (folder / "adapter_config.json").is_file(),
        f"{name!r} wrote no adapter to {folder}; write adapter_config.json and adapter_model.safetensors.",
    )
    pickles = sorted(file.name for file in folder.rglob("*") if file.suffix in {".bin", ".pt", ".pth", ".pkl"})
    require(not pickles, f"{name!r} wrote pickles ({', '.join(pickles)}), which kdprobe does not load.")
    base = Student("base", context.student).load(dtype="float32")
    taught = Student("taught", context.student, folder).load(dtype="float32")
    messages = context.conversations[context.problems[0].id].student
    ids = torch.tensor([prompt_ids(base.tokenizer, messages)])
    with torch.inference_mode():
        before, after = (loaded.model(input_ids=ids).logits for loaded in (base, taught))
    require(bool(torch.isfinite(after).all()), f"The student trained by {name!r} has logits that are not finite.")
    require(not torch.equal(before, after), f"The adapter written by {name!r} does not change the student's logits.")
