"""From a config to the graph of stages, without doing any of them.

Problems are drawn and conversations rendered here: both are cheap, and their digests belong into the keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import Experiment, StrategyConfig, to_data
from kdprobe.experiment.identities import plugin_identity
from kdprobe.experiment.stages import Maker
from kdprobe.experiment.store import Stage, digest
from kdprobe.experiment.training import caution_of
from kdprobe.host.registry import Host
from kdprobe.host.specs import StrategySpec
from kdprobe.models.reference import ModelRecord, resolve
from kdprobe.problems.draw import Draw, draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, Strategy

UNTRAINED = "untrained"
FINE_TUNED = "fine-tuned"


@dataclass(frozen=True)
class Arm:
    """Strategy x distiller x seed; controls have no strategy, the untrained student has no distiller."""

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    transfer: Stage | None
    select: Stage | None
    distill: Stage | None
    evaluate: Stage


@dataclass(frozen=True)
class Plan:
    """An experiment, ready to run.

    Attributes:
        experiment: Its config.
        run: The run's name: the experiment's, and a digest of everything that decides it.
        draw: The problems.
        student: The base model.
        conversations: Strategy to problem id to conversations.
        arms: All arms, controls first.
        analyses: Analysis name to its stage.
        stages: All stages, in an order in which each comes after its inputs.
        plugins: Who provides what was used.
        cautions: What everybody must know who sees this run's students.
    """

    experiment: Experiment
    run: str
    draw: Draw
    student: ModelRecord
    conversations: dict[str, dict[str, PromptPair]]
    arms: tuple[Arm, ...]
    analyses: dict[str, Stage]
    stages: tuple[Stage, ...]
    plugins: dict[str, dict[str, str]]
    cautions: tuple[str, ...] = ()


def make_plan(experiment: Experiment, host: Host) -> Plan:
    """Draws the problems, renders the conversations and lays out the stages.

    Raises:
        KdprobeError: A model, a file or a plugin that the config names is not there, or problems overlap.
    """
    student = resolve(experiment.student.model, experiment.student.revision)
    problems = experiment.problems
    source = host.make("problem-sources", problems.source, problems.options)
    drawn = draw(source, transfer=problems.transfer, test=problems.test)
    conversations = {strategy.arm: _render(host, strategy, drawn.transfer) for strategy in experiment.strategies}
    maker = Maker(experiment, host, student, drawn)
    transfers = transfers_of(experiment, maker, conversations)
    selections = selections_of(experiment, maker, transfers)
    arms = _controls(experiment, maker, selections)
    for seed in experiment.seeds:
        for strategy in experiment.strategies:
            name = _with_seed(strategy.arm, seed, experiment)
            transfer, selected = transfers.get(strategy.arm), selections.get(strategy.arm)
            distill = maker.distill(name, strategy.arm, seed, transfer, selected, conversations[strategy.arm])
            evaluate = maker.evaluate(name, distill)
            arms.append(Arm(name, strategy.arm, experiment.distill.name, seed, transfer, selected, distill, evaluate))
    analyses = {
        analysis.name: maker.analyse(
            analysis.name, analysis.options, [(arm.name, arm.distill, arm.evaluate) for arm in arms]
        )
        for analysis in experiment.probe.analyses
    }
    ordered = [
        *texts_first(transfers),
        *{stage.key: stage for stage in selections.values()}.values(),
        *(arm.distill for arm in arms if arm.distill),
        *(arm.evaluate for arm in arms),
        *analyses.values(),
    ]
    identity = digest({"config": to_data(experiment), "keys": [stage.key for stage in ordered]})
    return Plan(
        experiment=experiment,
        run=f"{experiment.name}-{identity[:8]}",
        draw=drawn,
        student=student,
        conversations=conversations,
        arms=tuple(arms),
        analyses=analyses,
        stages=tuple(ordered),
        plugins=_plugins(experiment, host),
        cautions=tuple(_cautions(experiment, host)),
    )


def transfers_of(
    experiment: Experiment,
    maker: Maker,
    conversations: dict[str, dict[str, PromptPair]],
    temperatures: tuple[float, ...] = (),
) -> dict[str, Stage]:
    """A transfer set for each strategy, where the distiller learns from one.

    Args:
        experiment: Its config.
        maker: Lays out stages.
        conversations: Strategy to problem id to conversations.
        temperatures: At which the tail is kept besides those that the distiller plans.
    """
    if not maker.needs_responses:
        return {}
    texts = experiment.transfer.texts
    written = maker.transfer(texts, conversations[texts], None, temperatures) if texts in conversations else None
    return {
        arm: written if written and arm == texts else maker.transfer(arm, rendered, written, temperatures)
        for arm, rendered in conversations.items()
    }


def selections_of(experiment: Experiment, maker: Maker, transfers: dict[str, Stage]) -> dict[str, Stage]:
    """Which answers each strategy's students learn from, where that is not all of them."""
    match experiment.transfer.filter:
        case "matched" if transfers:
            return dict.fromkeys(transfers, maker.select(transfers))
        case "correct":
            return {arm: maker.select({arm: transfer}) for arm, transfer in transfers.items()}
        case _:
            return {}


def texts_first(transfers: dict[str, Stage]) -> list[Stage]:
    """Transfer sets, those first that others read."""
    return sorted(transfers.values(), key=lambda stage: len(stage.inputs))


def _controls(experiment: Experiment, maker: Maker, selections: dict[str, Stage]) -> list[Arm]:
    # The control sees the problems that the others see; a selection of each arm's own gives it none to go by.
    matched = next(iter(selections.values()), None) if experiment.transfer.filter == "matched" else None
    arms = []
    if experiment.controls.untrained:
        arms.append(Arm(UNTRAINED, None, None, 0, None, None, None, maker.evaluate(UNTRAINED, None)))
    if experiment.controls.fine_tuned:
        for seed in experiment.seeds:
            name = _with_seed(FINE_TUNED, seed, experiment)
            distill = maker.fine_tune(name, seed, matched)
            arms.append(Arm(name, None, "fine-tune", seed, None, matched, distill, maker.evaluate(name, distill)))
    return arms


def _with_seed(name: str, seed: int, experiment: Experiment) -> str:
    return name if len(experiment.seeds) == 1 else f"{name}@{seed}"


def _render(host: Host, strategy: StrategyConfig, problems: tuple[Problem, ...]) -> dict[str, PromptPair]:
    render = host.make("strategies", strategy.name, strategy.options)
    provider = host.get("strategies", strategy.name).provider.name
    return {problem.id: _pair(render, problem, f"The strategy {strategy.arm!r} of {provider}") for problem in problems}


def _pair(render: Strategy, problem: Problem, who: str) -> PromptPair:
    """What a strategy makes of a problem; a plugin's fault is the plugin's, told in a sentence."""
    try:
        pair = render(problem)
    except KdprobeError:
        raise
    except (Exception, SystemExit) as error:
        raise KdprobeError(
            f"{who} failed on problem {problem.id!r}: {type(error).__name__}: {error}",
            "This is a fault of the plugin; --debug shows where.",
        ) from error
    if not isinstance(pair, PromptPair):
        raise KdprobeError(
            f"{who} must return a PromptPair, and returned {type(pair).__name__} for problem {problem.id!r}.",
            "This is a fault of the plugin.",
        )
    return pair


def _cautions(experiment: Experiment, host: Host) -> Iterator[str]:
    if caution := caution_of(host, experiment.distill.name):
        yield caution
    for strategy in experiment.strategies:
        spec = host.get("strategies", strategy.name).spec
        if isinstance(spec, StrategySpec) and spec.student_sees_gold:
            yield (
                f"The strategy {strategy.arm!r} shows students the gold answer while they train, and the test does "
                "not: what they learn may be to copy it."
            )


def _plugins(experiment: Experiment, host: Host) -> dict[str, dict[str, str]]:
    used = [
        ("problem-sources", experiment.problems.source),
        ("teachers", experiment.teacher.name),
        ("distillers", experiment.distill.name),
        *(("strategies", strategy.name) for strategy in experiment.strategies),
        *(("analyses", analysis.name) for analysis in experiment.probe.analyses),
        *([("distillers", "fine-tune")] if experiment.controls.fine_tuned else []),
        *(("extractors", name) for name in host.unique_names("extractors")),
    ]
    return {f"{kind}/{name}": plugin_identity(host, kind, name) for kind, name in used}
