"""The hooks a plugin may implement. Each is called once, when the host collects what plugins provide.

A hook returns an iterable of specs; a generator is fine. A plugin may implement any number of hooks. The exception is
the observer `kdprobe_stage_finished`, which is called after every stage of a run and returns nothing.

This file is long because it specifies every hook, each with an example.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from kdprobe.host.hook_api import GROUP
from kdprobe.host.specs import (
    KINDS,
    AnalysisSpec,
    DistillerSpec,
    EngineSpec,
    ExecutorSpec,
    ExtractorSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    Spec,
    StrategySpec,
    TaskSpec,
    TeacherSpec,
)
from kdprobe.host.stage import FinishedStage

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function of a plugin as an implementation of the hook with the same name."""


@hookspec
def kdprobe_strategies() -> Iterable[StrategySpec]:
    """Prompt strategies: what the teacher reads of a problem, and what the student reads.

    Called once, when a command needs plugins. `build` returns `(Problem) -> PromptPair`, which is called for every
    problem on every plan, so it must be pure and deterministic. Use the bare question as the student's prompt: a
    finding reports students whose prompts in training and testing differ. A strategy that shows the
    student the gold answer sets `student_sees_gold`.

    Example:
        >>> from kdprobe.strategies import PromptPair, bare
        >>> def build(options):
        ...     def render(problem):
        ...         primed = [{"role": "user", "content": f"Draw a picture first. {problem.question}"}]
        ...         return PromptPair(teacher=primed, student=bare(problem))
        ...     return render
        >>> @hookimpl
        ... def kdprobe_strategies():
        ...     yield StrategySpec(name="picture", summary="A picture first", build=build)
        >>> [spec.name for spec in kdprobe_strategies()]
        ['picture']
    """
    raise NotImplementedError


@hookspec
def kdprobe_teachers() -> Iterable[TeacherSpec]:
    """Teachers: models that answer, with log-probabilities if they have them.

    Called once, when a command needs plugins. `build` returns a `kdprobe.teachers.Teacher` and must not load weights:
    planning asks for its `provenance`, which is part of the key of every stage that uses the teacher. `respond` answers
    every request exactly once, in any order. If there is no text, it returns a response without tokens, from which
    students learn nothing. A teacher that can also `score` given token ids is a `ScoringTeacher`.

    Example:
        >>> class Silent:
        ...     provenance = {"teacher": "silent"}
        ...     part_size = 16
        ...     def respond(self, requests, sampling):
        ...         from kdprobe.teachers import Response
        ...         return (Response(request.id, "", [], finished=True) for request in requests)
        >>> @hookimpl
        ... def kdprobe_teachers():
        ...     yield TeacherSpec(name="silent", summary="Says nothing", build=lambda options: Silent())
        >>> [spec.name for spec in kdprobe_teachers()]
        ['silent']
    """
    raise NotImplementedError


@hookspec
def kdprobe_distillers() -> Iterable[DistillerSpec]:
    """Distillers: train a LoRA adapter for the student, usually from a transfer set.

    Called once, when a command needs plugins. `build` returns a `kdprobe.distill.Distiller`. It declares what it
    `needs`: the teacher's `responses`, the `gold` solutions, or the `teacher` itself. Nothing else is computed or
    passed to it. `train` writes the adapter to the context's folder and returns a record of training.

    Example:
        >>> class Copy:
        ...     needs = frozenset({"gold"})
        ...     def temperatures(self):
        ...         return ()
        ...     def train(self, context):
        ...         raise NotImplementedError("train on context.problems, write to context.folder, return Trained(...)")
        >>> @hookimpl
        ... def kdprobe_distillers():
        ...     yield DistillerSpec(name="copy", summary="Copies gold solutions", build=lambda options: Copy())
        >>> [spec.name for spec in kdprobe_distillers()]
        ['copy']
    """
    raise NotImplementedError


@hookspec
def kdprobe_analyses() -> Iterable[AnalysisSpec]:
    """Analyses of students: produce tidy tables, figures, and statements.

    Called once, when a command needs plugins. `build` returns a `kdprobe.probing.Analysis`. It has `needs`, and
    `run(context)`, which returns tables with one observation per row, figures for the report, and sentences that these
    support.

    Example:
        >>> class Names:
        ...     needs = frozenset({"students"})
        ...     def run(self, context):
        ...         import pandas as pd
        ...         from kdprobe.probing import AnalysisResult
        ...         table = pd.DataFrame({"student": [student.name for student in context.students]})
        ...         return AnalysisResult(tables={"names": table}, statements=[f"There are {len(table)} students."])
        >>> @hookimpl
        ... def kdprobe_analyses():
        ...     yield AnalysisSpec(name="names", summary="Lists students", build=lambda options: Names())
        >>> [spec.name for spec in kdprobe_analyses()]
        ['names']
    """
    raise NotImplementedError


@hookspec
def kdprobe_head_metrics() -> Iterable[HeadMetricSpec]:
    """Head metrics: reduce a layer's attention patterns to one number per sequence and head.

    Called once, when a command needs plugins. `build` returns the metric, which is called for every layer and batch
    and returns one number per sequence and head. It must not change the patterns, and padding must not change its
    numbers.

    Example:
        >>> def first_token(view):
        ...     return view.mean_over_queries(view.pattern[..., 0])
        >>> @hookimpl
        ... def kdprobe_head_metrics():
        ...     yield HeadMetricSpec(name="first-token", summary="Sink", build=lambda options: first_token)
    """
    raise NotImplementedError


@hookspec
def kdprobe_problem_sources() -> Iterable[ProblemSourceSpec]:
    r"""Problem sources: provide problems, by split.

    Called once, when a command needs plugins. `build` returns `(split) -> iterable of Problem`. kdprobe takes only as
    many problems as the config asks for, so the iterable may be infinite. Every call must give the same problems in the
    same order. Ids are unique within a split, and no question is in two splits.

    Example:
        >>> from kdprobe.problems import Problem
        >>> def build(options):
        ...     def problems(split):
        ...         first = {"transfer": 1, "test": 1001}[split]
        ...         for n in range(first, first + 1000):
        ...             row = {"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}.\n#### {2 * n}"}
        ...             yield Problem.from_gsm8k(f"{split}-{n}", row)
        ...     return problems
        >>> @hookimpl
        ... def kdprobe_problem_sources():
        ...     yield ProblemSourceSpec(name="doubles", summary="Numbers doubled", build=build)
        >>> next(build(None)("test")).question
        'What is 1001 + 1001?'
    """
    raise NotImplementedError


@hookspec
def kdprobe_extractors() -> Iterable[ExtractorSpec]:
    """Extractors: read the final value from an answer, and compare it with the gold value.

    Called once, when a command needs plugins. `build` returns a `kdprobe.problems.Extractor`. Its `extract` must not
    raise for any text, and must take time linear in the text's length. `is_right` may compare in its own way.

    Example:
        >>> from fractions import Fraction
        >>> from kdprobe.problems import Extraction, matches
        >>> class LastWord:
        ...     def extract(self, text):
        ...         word = text[-40:].split()[-1:]
        ...         number = word and word[0].isascii() and word[0].isdigit()
        ...         return Extraction(Fraction(word[0]), "last-word") if number else Extraction(None, "none")
        ...     def is_right(self, extraction, gold):
        ...         return matches(extraction, gold)
        >>> @hookimpl
        ... def kdprobe_extractors():
        ...     yield ExtractorSpec(name="last-word", summary="The last word", build=lambda options: LastWord())
        >>> LastWord().is_right(LastWord().extract("It is 7"), "7")
        True
    """
    raise NotImplementedError


@hookspec
def kdprobe_tasks() -> Iterable[TaskSpec]:
    """Tasks: benchmarks in lm-eval's YAML, for `evaluation.tasks` and `kdprobe eval --task`.

    Called once, when a command needs plugins. `build` returns the folder with the YAML, usually one inside the plugin's
    package. The spec's name is that of a task, group or tag there; lm-eval and kdprobe must not have one of that name.
    Data in the package need no network: `custom_dataset: !function` names a function of a module next to the YAML.

    Example:
        >>> from pathlib import Path
        >>> def build(options):
        ...     return Path(__file__).parent / "tasks"
        >>> @hookimpl
        ... def kdprobe_tasks():
        ...     yield TaskSpec(name="capitals", summary="Capital cities", build=build)
        >>> [spec.name for spec in kdprobe_tasks()]
        ['capitals']
    """
    raise NotImplementedError


@hookspec
def kdprobe_engines() -> Iterable[EngineSpec]:
    """Engines: run students in evaluations, for `evaluation.engine` and `kdprobe eval --engine`.

    Called once, when a command needs plugins. `build` returns a `kdprobe.evaluation.Engine` and loads nothing, because
    plans build engines too. An engine turns token ids into token ids and log-probabilities; lm-eval writes the prompts,
    and kdprobe records, checks and judges. It must read prompts exactly as they are, end answers with the given tokens
    only, and give the student's numbers, not those of its base: `check_engine` compares them with transformers.

    Example:
        >>> class Remote:
        ...     versions = {"remote": "1.0"}
        ...     def load(self, student, *, dtype, bases):
        ...         raise NotImplementedError("return a kdprobe.evaluation.EngineStudent")
        ...     def close(self):
        ...         pass
        >>> @hookimpl
        ... def kdprobe_engines():
        ...     yield EngineSpec(name="remote", summary="Runs elsewhere", build=lambda options: Remote())
        >>> [spec.name for spec in kdprobe_engines()]
        ['remote']
    """
    raise NotImplementedError


@hookspec
def kdprobe_executors() -> Iterable[ExecutorSpec]:
    """Executors: run the stages of an experiment, for `kdprobe run --executor`.

    Called once, when a command needs plugins. `build` returns a `kdprobe.experiment.Executor` and starts nothing.
    kdprobe submits stages whose inputs are finished; the executor runs each of them once with
    `kdprobe.experiment.make_stage`, in any process that sees the same folders, and reports its outcome. Results do not
    depend on the executor, so no key does either: a process in which a stage would have a different key refuses to run
    it.

    Example:
        >>> class Here:
        ...     def start(self, job, jobs, report):
        ...         self.job, self.report = job, report
        ...     def submit(self, task):
        ...         from kdprobe.experiment import Ended
        ...         self.report(task, Ended(made=self.job.make(task)))
        ...     def stop(self):
        ...         pass
        >>> @hookimpl
        ... def kdprobe_executors():
        ...     yield ExecutorSpec(name="here", summary="This process", build=lambda options: Here())
        >>> [spec.name for spec in kdprobe_executors()]
        ['here']
    """
    raise NotImplementedError


@hookspec
def kdprobe_stage_finished(stage: FinishedStage) -> None:
    """Observer: called after each stage of a run, whether run or reused, in the main process.

    This hook is for trackers. It returns nothing and changes nothing. An exception in an observer becomes a note on
    stderr and never fails a run. Only `kdprobe run` calls it, not `kdprobe tune`.

    Example:
        >>> @hookimpl
        ... def kdprobe_stage_finished(stage):
        ...     print(stage.kind, stage.name, dict(stage.metrics))
        >>> kdprobe_stage_finished(
        ...     FinishedStage(
        ...         run="mine-12ab", kind="evaluate", name="unprimed", key="k", folder=None, seconds=1.0, made=True,
        ...         metrics={"accuracy": 0.5},
        ...     )
        ... )
        evaluate unprimed {'accuracy': 0.5}
    """
    raise NotImplementedError


OBSERVER = "kdprobe_stage_finished"

HOOKS: dict[str, type[Spec]] = {f"{GROUP}_{spec.kind.replace('-', '_')}": spec for spec in KINDS}
"""Hook name to the type of record it returns."""
