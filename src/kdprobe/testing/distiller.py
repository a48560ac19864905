"""The contract of a distiller: what it leaves behind loads as an adapter, and has moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.host.registry import Host
from kdprobe.students.student import Student
from kdprobe.testing.contract import require


def check_distiller(
    host: Host,
    name: str,
    options: dict[str, Any] | None,
    train_context: Callable[..., TrainContext],
) -> Trained:
    """Trains the tiny student once.

    Args:
        host: Who provides it.
        name: The distiller.
        options: As a config gives them; few steps are enough.
        train_context: The kit's fixture of that name.

    Returns:
        What training left behind, for the plugin's own tests.

    Raises:
        ContractError: It asks for what there is not, or leaves no adapter, one that does not load, one that holds
            pickles, or one that did not move.
    """
    distiller = host.create("distillers", name, options)
    unknown = set(distiller.needs) - set(get_args(Need))
    require(not unknown, f"{name!r} needs {sorted(unknown)}; there are {', '.join(get_args(Need))}.")
    temperatures = distiller.temperatures()
    require(
        isinstance(temperatures, tuple) and all(t > 0 for t in temperatures),
        f"temperatures() of {name!r} must be a tuple of numbers above 0, and is {temperatures!r}.",
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
        f"{name!r} reports an adapter_norm of {trained.adapter_norm}; training must move the weights, and say how far.",
    )
    require(trained.history, f"{name!r} leaves no history: one row per optimiser step, `loss` among its numbers.")
    wrong = [row for row in trained.history if not math.isfinite(row.get("loss", math.nan))]
    require(not wrong, f"{name!r}: a row of the history has no finite loss: {wrong[:1]}.")


def _check_adapter(folder: Path, context: TrainContext, name: str) -> None:
    import torch

    from kdprobe.models.conversation import prompt_ids

    require(folder == context.folder, f"{name!r} wrote its adapter to {folder}, not to the context's folder.")
    weights = folder / "adapter_model.safetensors"
    require(
        weights.is_file() and (folder / "adapter_config.json").is_file(),
        f"{name!r} left no adapter in {folder}: it needs adapter_config.json and adapter_model.safetensors.",
    )
    pickles = sorted(file.name for file in folder.rglob("*") if file.suffix in {".bin", ".pt", ".pth", ".pkl"})
    require(not pickles, f"{name!r} left pickles ({', '.join(pickles)}); kdprobe reads none.")
    base = Student("base", context.student).load(dtype="float32")
    taught = Student("taught", context.student, folder).load(dtype="float32")
    messages = context.conversations[context.problems[0].id].student
    ids = torch.tensor([prompt_ids(base.tokenizer, messages)])
    with torch.inference_mode():
        before, after = (loaded.model(input_ids=ids).logits for loaded in (base, taught))
    require(bool(torch.isfinite(after).all()), f"The student of {name!r} gives logits that are not finite.")
    require(
        not torch.equal(before, after), f"The student of {name!r} is the untrained one: its adapter changes nothing."
    )
