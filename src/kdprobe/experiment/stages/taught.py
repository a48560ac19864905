"""The stages that produce what students learn from a teacher: transfer sets, and selections of their answers."""

from __future__ import annotations

from collections.abc import Mapping

from kdprobe.experiment.config_checks import GOLD, OWN
from kdprobe.experiment.parts.transfer import transfer_in_parts
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.select import select_stage
from kdprobe.experiment.stages.stage import Stage
from kdprobe.strategies.prompt_pair import PromptPair


def transfer_stages(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]], temperatures: tuple[float, ...] = ()
) -> dict[str, Stage]:
    """A transfer set for each strategy, if the distiller needs one.

    Args:
        context: The experiment.
        conversations: Conversations by strategy and problem id.
        temperatures: Temperatures at which to keep the tail, besides those the distiller plans.
    """
    if "responses" not in context.distiller.needs:
        return {}
    label = context.experiment.transfer.texts
    texts = None
    if label in conversations and label not in {OWN, GOLD}:
        texts = transfer_in_parts(context, label, conversations[label], temperatures=temperatures)
    return {
        strategy: texts
        if texts and strategy == label
        else transfer_in_parts(context, strategy, rendered, texts=texts, temperatures=temperatures)
        for strategy, rendered in conversations.items()
    }


def select_stages(context: StageContext, transfers: Mapping[str, Stage]) -> dict[str, Stage]:
    """Which answers each strategy's students are trained on, unless they are trained on all of them."""
    match context.experiment.transfer.filter:
        case "matched" if transfers:
            return dict.fromkeys(transfers, select_stage(context, transfers))
        case "correct":
            return {strategy: select_stage(context, {strategy: stage}) for strategy, stage in transfers.items()}
        case _:
            return {}


def texts_first(transfers: Mapping[str, Stage]) -> list[Stage]:
    """Transfer sets, ordered so that sets read by others come first."""
    return sorted(transfers.values(), key=lambda stage: len(stage.inputs))
