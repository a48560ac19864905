"""`kdprobe tune`: a search over the distiller's options, decided on validation problems.

Every trial is a distillation and an evaluation in the store, so none is made twice. The test problems take no part:
the stages of trials are run in a context with the validation problems instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq

from kdprobe.console import note
from kdprobe.distill.sufficiency import refuse_cut_rows
from kdprobe.errors import first_line
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.executors.reproducible import reproducible
from kdprobe.experiment.plan import make_plan
from kdprobe.experiment.stages.absence import overflow_sentence, overflowed
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import distill_stage, diverged, divergence_sentence
from kdprobe.experiment.stages.evaluate import RECORDS, evaluate_stage
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.stages.taught import select_stages, texts_first, transfer_stages
from kdprobe.experiment.store import Store
from kdprobe.experiment.tune.space import Space, space_of
from kdprobe.experiment.tune.study import Study, open_study
from kdprobe.experiment.tune.trials import Trial, Tuned, result
from kdprobe.files import digest
from kdprobe.host.registry import Host
from kdprobe.problems.draw import Draw, draw_validation
from kdprobe.redaction import said
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.students.student import Student
from kdprobe.words import counted

CURRENT = "current"


@dataclass(frozen=True)
class Tuning:
    """A search, ready to start.

    Attributes:
        context: The experiment, with validation problems instead of test problems.
        strategy: The arm whose transfer set is used.
        conversations: Conversations by problem id.
        space: What is varied.
        taught: The transfer set, with tails at every temperature that may be tried, if the distiller needs one; then
            the selection of its answers, if there is one.
        prerequisites: The stages all trials depend on; each comes after its inputs.
        study: The study's name: the experiment's name and a digest of everything that determines its trials.
    """

    context: StageContext
    strategy: str
    conversations: Mapping[str, PromptPair]
    space: Space
    taught: tuple[Stage | None, Stage | None]
    prerequisites: tuple[Stage, ...]
    study: str

    @property
    def experiment(self) -> Experiment:
        """The config."""
        return self.context.experiment

    def stages(self, name: str, options: dict[str, Any]) -> tuple[Stage, Stage]:
        """The distillation with these options, and the student's evaluation on the validation problems."""
        distill = self.experiment.distill.model_copy(update={"options": options})
        experiment = self.experiment.model_copy(update={"distill": distill})
        return _trial_stages(replace(self.context, experiment=experiment), name, self)


def prepare(experiment: Experiment, host: Host) -> Tuning:
    """Draws the problems and plans the stages that all trials share.

    Raises:
        KdprobeError: As for a run; or there are too few validation problems, or the distiller cannot be tuned.
    """
    config, distill, source = experiment.tune, experiment.distill, experiment.problems
    space = space_of(distill.name, distill.options, config.space, host)
    for divergence in space.varied.get("divergence", ()):
        varied = host.create("distillers", distill.name, space.chosen({"divergence": divergence}))
        refuse_cut_rows(distill.name, varied, experiment.transfer.tail)
    plan = make_plan(experiment, host)
    problems = host.create("problem-sources", source.source, source.options)
    drawn = Draw(plan.draw.transfer, draw_validation(problems, plan.draw, config.validation))
    strategy = config.strategy or experiment.strategies[0].display_name
    context = StageContext(experiment, host, plan.student, drawn)
    # Matching answers needs all strategies; otherwise those the tuned one learns from are enough.
    labels = {strategy, experiment.transfer.texts}
    rendered_by_label = {
        label: rendered
        for label, rendered in plan.conversations.items()
        if label in labels or experiment.transfer.filter == "matched"
    }
    transfers = transfer_stages(context, rendered_by_label, tuple(space.varied.get("temperature", ())))
    taught = transfers.get(strategy), select_stages(context, transfers).get(strategy)
    prerequisites = tuple(stage for stage in (*texts_first(transfers), taught[1]) if stage)
    tuning = Tuning(context, strategy, plan.conversations[strategy], space, taught, prerequisites, study="")
    # The key of the current options' evaluation depends on problems, models, options, protocol and libraries.
    _, evaluated = _trial_stages(context, CURRENT, tuning)
    identity = digest(
        {
            "current": evaluated.key,
            "space": space.varied,
            "by": config.by,
            "sampler": config.sampler,
            "seed": config.seed,
        }
    )
    return replace(tuning, study=f"{experiment.name}-{identity[:8]}")


def _trial_stages(context: StageContext, name: str, tuning: Tuning) -> tuple[Stage, Stage]:
    transfer, selected = tuning.taught
    distilled = distill_stage(
        context,
        name,
        context.experiment.seeds[0],
        strategy=tuning.strategy,
        conversations=tuning.conversations,
        transfer=transfer,
        selected=selected,
    )
    # Trials are compared on one answer per problem, even if the experiment samples several.
    return distilled, evaluate_stage(context, Student(name, context.student), distilled, samples=1)


def tune(tuning: Tuning, store: Store) -> Tuned:
    """Runs every missing trial.

    Args:
        tuning: The search.
        store: The store with stages and studies.

    Raises:
        KdprobeError: An error that no choice of options can fix, or no trial produced a student.
    """
    config = tuning.experiment.tune
    store.prepare()
    database = store.root / "studies" / f"{tuning.experiment.name}.db"
    with (
        reproducible(),
        open_study(database, tuning.study, tuning.space, sampler=config.sampler, seed=config.seed) as study,
        tuning.context.pool,
    ):
        for stage in tuning.prerequisites:
            _make(store, stage)
        current = _run_trial(tuning, store, None, tuning.space.current)
        if tuning.space.holds_current():
            current = replace(current, number=0)
        _search(tuning, store, study)
        trials = [
            _run_trial(tuning, store, finished.number, finished.choice)
            if finished.failure is None
            else _new_trial(tuning, finished.number, finished.choice, finished.failure)
            for finished in study.tried()
        ]
    return result(
        study=tuning.study,
        database=database,
        strategy=tuning.strategy,
        distiller=tuning.experiment.distill.name,
        by=config.by,
        trials=trials,
        current=current,
    )


def in_words(choice: dict[str, Any]) -> str:
    """A choice in readable form: `temperature 2.0, rank 16`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in choice.items())


def _search(tuning: Tuning, store: Store, study: Study) -> None:
    config = tuning.experiment.tune
    if done := len(study.tried()):
        note(f"Resuming the study {tuning.study}: {done} of {counted(max(done, config.trials), 'trial')} done.")
    while (number := len(study.tried())) < config.trials:
        proposal = study.ask()
        note(f"[{number + 1}/{config.trials}] {in_words(tuning.space.legible(proposal.choice))}")
        trial = _run_trial(tuning, store, number, proposal.choice)
        if trial.failure is None:
            study.tell(proposal, trial.value(config.by))
            note(f"  {trial.correct}/{trial.n} correct, log p(gold value) {trial.log_p_gold_value:.3f}")
        else:
            study.tell_failed(proposal, trial.failure)
            note(f"  failed: {trial.failure}")


def _run_trial(tuning: Tuning, store: Store, number: int | None, proposed: dict[str, Any]) -> Trial:
    """Runs whatever is missing from a trial and reads its results."""
    trial = _new_trial(tuning, number, proposed, None)
    distilled, evaluated = tuning.stages(CURRENT if number is None else f"trial {number}", trial.options)
    try:
        _make(store, distilled)
        if found := diverged(store.folder(distilled)):
            return replace(trial, failure=divergence_sentence(found))
        _make(store, evaluated)
        if found := overflowed(store.folder(evaluated)):
            return replace(trial, failure=overflow_sentence(found))
    except (ArithmeticError, RuntimeError) as error:
        # For example, out of memory at this rank. A KdprobeError, which no choice of options can fix, ends the study.
        return replace(trial, failure=said(f"{type(error).__name__}: {first_line(error)}"))
    return trial.with_records(pq.read_table(store.folder(evaluated) / RECORDS).to_pylist())


def _new_trial(tuning: Tuning, number: int | None, proposed: dict[str, Any], failure: str | None) -> Trial:
    choice = tuning.space.legible(proposed)
    return Trial(number, choice, tuning.space.chosen(choice), failure)


def _make(store: Store, stage: Stage) -> None:
    if not store.has(stage):
        note(f"{stage.kind} {stage.name} …")
    store.make(stage)
