"""Transfer sets that are made in parts, and a stage that joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

from kdprobe.experiment.parts.divide import divided
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.prompts import read_prompt_ids, write_prompt_ids
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.stages.transfer import FIDELITY, SERVED, transfer_stage
from kdprobe.files import read_json, write_json
from kdprobe.strategies.prompt_pair import PromptPair


def transfer_in_parts(
    context: StageContext,
    strategy: str,
    conversations: Mapping[str, PromptPair],
    *,
    texts: Stage | None = None,
    temperatures: tuple[float, ...] = (),
) -> Stage:
    """The transfer set of a strategy, in as many parts as `transfer.parts` says; arguments as for `transfer_stage`."""
    whole = transfer_stage(context, strategy, conversations, texts=texts, temperatures=temperatures)
    parts = divided(context.problems.transfer, context.experiment.transfer.parts)
    if len(parts) == 1:
        return whole
    stages = tuple(
        transfer_stage(
            replace(context, problems=replace(context.problems, transfer=problems)),
            strategy,
            {problem.id: conversations[problem.id] for problem in problems},
            texts=texts,
            temperatures=temperatures,
            part=(index, len(parts)),
        )
        for index, problems in enumerate(parts)
    )

    def join(folder: Path, inputs: list[Path], _scratch: Path) -> None:
        from kdprobe.transfer.capture import alike
        from kdprobe.transfer.fidelity import fidelity
        from kdprobe.transfer.responses import Joined, Responses
        from kdprobe.transfer.transfer_set import TransferSet, read, write

        sets = [read(path) for path in inputs]
        responses = alike(Responses(Joined([each.responses for each in sets])))
        seconds = sum(each.manifest["seconds"] for each in sets)
        manifest = sets[0].manifest | {"sampling": whole.settings["sampling"], "seconds": seconds}
        write(TransferSet(responses, manifest), folder)
        write_prompt_ids(folder, chain.from_iterable(map(read_prompt_ids, inputs)))
        found = [read_json(path / FIDELITY) for path in inputs]
        served = {name: sum(each.get(name, 0) for each in found) for name in SERVED if name in found[0]}
        write_json(folder / FIDELITY, asdict(fidelity(read(folder), context.problems.transfer)) | served)

    return replace(whole, settings=whole.settings | {"parts": len(parts)}, inputs=stages, work=join)
