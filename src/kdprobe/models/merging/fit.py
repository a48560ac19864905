"""Checks whether an adapter fits a base: all of its tensors, no others, in the right shapes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from kdprobe.console.messages import warn
from kdprobe.errors import UsageError, first_line
from kdprobe.models.chatter import quiet
from kdprobe.models.load import LoadedModel
from kdprobe.models.merging.files import PREFIX, adapter_config, adapter_tensors
from kdprobe.models.public_names import public_name
from kdprobe.models.reference import short_name
from kdprobe.models.weights import count_of, without_weights


def fitting(base: LoadedModel, folder: Path) -> list[Any]:
    """The modules of a base that an adapter changes, if the adapter fits completely.

    The check uses the base's modules without their weights.

    Raises:
        UsageError: Its tensors do not match its configuration on this base, or PEFT rejects it.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper
    from peft.utils.save_and_load import get_peft_model_state_dict

    config, tensors = adapter_config(folder), adapter_tensors(folder)
    _warn_of_other_base(folder, config.base_model_name_or_path or "", base)
    if hasattr(config, "init_lora_weights"):
        # No tensor depends on it, and some initialisations need the weights.
        config.init_lora_weights = True
    shell_config = copy.deepcopy(config)
    # Otherwise PEFT warns about the base's name, which is reported above.
    shell_config.base_model_name_or_path = None
    try:
        with quiet():
            shell = get_peft_model(without_weights(base.model), shell_config)
            needed, allowed = (
                {
                    key: tensor.shape
                    for key, tensor in get_peft_model_state_dict(shell, save_embedding_layers=whole).items()
                }
                for whole in (False, True)
            )
    except Exception as error:
        # PEFT reports mismatches in many places, each with an error of its own.
        raise misfit(base, folder, config, f"PEFT reports: {first_line(error)}") from error
    if missing := sorted(needed.keys() - tensors.keys()):
        raise misfit(base, folder, config, f"it lacks {count_of(missing)}")
    if left_over := sorted(tensors.keys() - allowed.keys()):
        raise misfit(base, folder, config, f"the model does not use {count_of(left_over)}")
    for key, tensor in tensors.items():
        if tensor.shape != allowed[key]:
            shapes = f"{list(tensor.shape)} instead of {list(allowed[key])}"
            raise misfit(base, folder, config, f"{key} has shape {shapes}")
    changed = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    names = {name.removeprefix(PREFIX) for name, module in shell.named_modules() if isinstance(module, changed)}
    modules = dict(base.model.named_modules())
    for key in tensors:
        path = key.removeprefix(PREFIX)
        while path and path not in modules:
            path = path.rpartition(".")[0]
        names.add(path)
    return [modules[name] for name in sorted(names & modules.keys() - {""})]


def misfit(base: LoadedModel, folder: Path, config: Any, reason: str) -> UsageError:
    """The error that says why an adapter does not fit."""
    trained_on = config.base_model_name_or_path
    hint = "Its files are incomplete or damaged, or do not belong together."
    if trained_on and not _is_called(base, trained_on):
        hint = f"It was trained on {trained_on!r}."
    return UsageError(f"The adapter {folder} does not fit the model {base.record.name!r}: {reason}.", hint)


def _is_called(base: LoadedModel, name: str) -> bool:
    """Whether a name may refer to the base: folders move, and aliases differ from names on the Hub."""
    names = {base.record.name, short_name(base.record.name), base.record.path.name, public_name(base.record)}
    return Path(name).name.lower() in {Path(known).name.lower() for known in names}


def _warn_of_other_base(folder: Path, trained_on: str, base: LoadedModel) -> None:
    if trained_on and not _is_called(base, trained_on):
        warn(f"The adapter {folder} was trained on {trained_on!r} but is used on {base.record.name!r}.", once=True)
