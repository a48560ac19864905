"""Runs the stages of a plan: each as soon as its inputs are finished and the executor has room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from kdprobe.console.bars import as_part
from kdprobe.console.board import Board, board
from kdprobe.console.messages import note, warn
from kdprobe.console.relay import Progressed, Said
from kdprobe.console.remainder import Remainder
from kdprobe.experiment.executors.executor import Ended, Executor, Job, Task
from kdprobe.experiment.foresight.estimates import Estimates, outlook
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.words import counted

Finished = Callable[[Stage, bool], None]
"""Called with every finished stage, and whether this run made it."""
_FIRST = ("transfer", "select", "distill", "analyse", "evaluate", "task")
"""Kinds of stages: those that others wait for, then those that take longest."""
_Event = tuple[Task, Said | Progressed | Ended]


@dataclass
class _Entry:
    """A stage of the plan.

    Attributes:
        stage: The stage.
        label: Its number in the plan, its kind and its name.
        needs: The keys of its inputs.
        done: Whether it is finished and whole.
        begun: Whether it was submitted.
    """

    stage: Stage
    label: str
    needs: list[str]
    done: bool = False
    begun: bool = False


@dataclass
class Schedule:
    """The stages of a run on their way.

    Attributes:
        stages: All stages; each comes after its inputs.
        store: The store.
        finished: Called with every finished stage, in the main thread.
        jobs: How many stages may run at the same time; `None` leaves that to the executor.
    """

    stages: Iterable[Stage]
    store: Store
    finished: Finished
    jobs: int | None = None
    _events: SimpleQueue[_Event] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        """Looks up what the store has."""
        stages = [*self.stages]
        digits = len(str(len(stages)))
        self._entries: list[_Entry] = []
        self._by_key: dict[str, _Entry] = {}
        for index, stage in enumerate(stages, start=1):
            key, label = stage.key, f"[{index:>{digits}}/{len(stages)}] {stage.kind} {stage.name}"
            # Arms with the same conversations share stages; those after the first wait for it.
            needs = [key] if key in self._by_key else [needed.key for needed in stage.inputs]
            self._entries.append(_Entry(stage, label, needs))
            self._by_key.setdefault(key, self._entries[-1])
        self._missing = {key for key, entry in self._by_key.items() if not self.store.has(entry.stage)}
        self._running: set[str] = set()
        self._error: BaseException | None = None
        self._made = False
        self._estimates = Estimates(self.store.manifests())

    def run(self, executor: Executor, job: Job) -> bool:
        """Has an executor run every missing stage; returns whether there was one.

        If a stage fails, no further ones are begun; those that run are finished first.

        Raises:
            KdprobeError: A stage failed.
        """
        try:
            executor.start(job, self.jobs, lambda task, event: self._events.put((task, event)))
            with board() as shown:
                while True:
                    while (entry := self._next()) is not None:
                        self._begin(entry, executor)
                        self._handle_all(shown)
                    if not self._running:
                        break
                    self._handle(self._events.get(), shown)
        finally:
            executor.stop()
        if self._error:
            raise self._error
        return self._made

    def _next(self) -> _Entry | None:
        """The next stage to begin; those that are whole already are counted as finished on the way.

        Several at the same time are begun in the order of `_FIRST`, since a long stage at the end would run alone.
        """
        if self._error or (self.jobs and len(self._running) >= self.jobs):
            return None
        ready = self._ready()
        if self.jobs and self.jobs > 1:
            return min(ready, key=lambda entry: _FIRST.index(entry.stage.kind), default=None)
        return next(ready, None)

    def _ready(self) -> Iterator[_Entry]:
        for entry in self._entries:
            if entry.done or entry.begun:
                continue
            if not all(self._by_key[key].done for key in entry.needs):
                continue
            if not self.store.is_whole(entry.stage):
                yield entry
                continue
            entry.done = True
            note(f"{entry.label}: already done")
            self.finished(entry.stage, False)

    def _begin(self, entry: _Entry, executor: Executor) -> None:
        self._missing.add(entry.stage.key)
        entry.begun = True
        self._running.add(entry.stage.key)
        note(f"{entry.label} …")
        with as_part(self._remainder(entry)):
            executor.submit(task_of(entry.stage))

    def _handle_all(self, shown: Board) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except Empty:
                return
            self._handle(event, shown)

    def _handle(self, event: _Event, shown: Board) -> None:
        task, told = event
        entry = self._by_key[task.key]
        if isinstance(told, Said) and told.warning:
            warn(told.text, once=told.once)
        elif isinstance(told, Said):
            note(told.text)
        elif isinstance(told, Progressed):
            shown.show(task.key, told)
            shown.foot(self._words())
        else:
            self._running.discard(task.key)
            shown.ended(task.key)
            self._end(entry, told)

    def _end(self, entry: _Entry, ended: Ended) -> None:
        if ended.error:
            self._fail(entry, ended.error)
            return
        entry.done = True
        self._made |= ended.made
        self._missing.discard(entry.stage.key)
        if ended.made:
            manifest = self.store.checks.manifest(self.store.folder(entry.stage))
            self._estimates.add(manifest)
            left = self._remainder(None).words()
            # The stage's own duration, which excludes its time in an executor's queue.
            note(f"{entry.label}: {manifest['seconds']:.0f} s{f'; {left}' if left else ''}")
        else:
            note(f"{entry.label}: already done")
        self.finished(entry.stage, ended.made)

    def _fail(self, entry: _Entry, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        elif str(error) != str(self._error):
            warn(f"{entry.label} also failed: {error}")
        if self._running:
            them = "it" if len(self._running) == 1 else "them"
            note(
                f"{entry.label} failed. Waiting for {counted(len(self._running), 'other stage')} to finish, so that no "
                f"work is lost; Ctrl-C stops {them}."
            )

    def _remainder(self, entry: _Entry | None) -> Remainder:
        """What is left of the run while a stage runs, or between two stages."""
        others = [self._by_key[key] for key in self._missing if entry is None or key != entry.stage.key]
        after = outlook(self._estimates.of(other.stage) for other in others)
        side_by_side = max(1, min(self.jobs or 1, len(others)))
        estimate = self._estimates.of(entry.stage) if entry else None
        now = 0.0 if entry is None else estimate.seconds if estimate else None
        return Remainder(now, after.seconds / side_by_side, after.unknown)

    def _words(self) -> str:
        done = sum(entry.done for entry in self._entries)
        left = self._remainder(None).words()
        return f"{done} of {len(self._entries)} stages are done{f'; {left}' if left else ''}"


def task_of(stage: Stage) -> Task:
    """A stage as executors see it."""
    return Task(stage.key, stage.kind, stage.name, stage.resources, stage.settings)
