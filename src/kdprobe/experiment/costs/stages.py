"""What a stage of each kind does with its models, and so what it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdprobe.experiment.costs.analysing import analyse
from kdprobe.experiment.costs.devices import Devices
from kdprobe.experiment.costs.piece import Known, Piece, Use, of_strategy
from kdprobe.experiment.costs.runner import Runner

_LARGEST_AUTO = {"cpu": 64, "gpu": 256}
"""The batch that `auto` chooses where memory allows, as in `kdprobe.evaluation.batch_size`."""
_ENGINE_BATCH = 256
"""Answers that an engine such as vLLM writes at the same time, by its own default."""
_PADDING = 1.1
"""Tokens of a batch of examples in random order, padding included, per token of text."""
_DISTILLERS = {"logits", "sequence", "fine-tune", "published"}
_JOIN_SECONDS = 1.0
_RECORD = 700
"""Bytes of an evaluated answer, besides its text."""
_DOCUMENT = 200
"""Bytes of a document of a task, measured with 400 of four choices each."""
_TEXT = 4
"""Bytes of the text of a token."""


@dataclass(frozen=True)
class CostModel(Known):
    """Predicts stages."""

    def use(self, piece: Piece, devices: Devices) -> Use | None:
        """What a stage takes on these devices, or `None` if its shapes do not tell."""
        if "parts" in piece.settings:
            return Use(0, 0, _JOIN_SECONDS, 0, self._disk(piece))
        if piece.kind == "select":
            return Use(0, 0, _JOIN_SECONDS, 0, 0)
        kinds = {
            "transfer": self._transfer,
            "distill": self._distill,
            "evaluate": self._evaluate,
            "analyse": self._analyse,
            "task": self._task,
        }
        return kinds[piece.kind](piece, devices) if piece.kind in kinds else None

    def _transfer(self, piece: Piece, devices: Devices) -> Use | None:
        if self.teacher is None:
            return None
        about, n = piece.settings["teacher"], piece.units
        fused = self.served is not None or self.fused_teacher
        dtype, spread = about.get("dtype", "bfloat16"), self.spread_teacher and not fused
        runner = Runner(self.teacher, dtype, devices, fused=fused, spread=spread)
        prompt = of_strategy(self.texts.primed, piece.strategy)
        batch = min(n, self.served or about.get("batch_size") or about.get("answers_at_once", 1))
        given = piece.follows or piece.settings["texts"] is not None
        text = self.texts.solution.mean if given and not piece.follows else self.answer
        if given and not self.fused_teacher:
            read, written = n * (prompt.mean + text), 0.0
            seconds = runner.reading_seconds(read, prompt.mean + text, n * text, math.ceil(n / batch))
        else:
            if runner.fused:
                batch = min(batch, runner.most_rows(prompt.longest + self.budgets[0]) or batch)
            read, written = n * prompt.mean, n * text
            seconds = runner.writing_seconds(n, prompt.mean, text, batch)
        if self.served is None:
            seconds += runner.load_seconds
        memory, fixed = (runner.running_memory(rows, prompt.longest, self.budgets[0]) for rows in (batch, 0))
        return Use(read, written, seconds, memory, self._disk(piece), runner, batch, fixed)

    def _distill(self, piece: Piece, devices: Devices) -> Use | None:
        name, options, n = piece.settings["distiller"]["plugin"], piece.settings["options"], piece.units
        if name not in _DISTILLERS:
            return None
        runner = Runner(self.student, _concrete(piece.settings["dtype"], devices), devices, shards=self.shards)
        asked = self.texts.question if piece.strategy is None else of_strategy(self.texts.taught, piece.strategy)
        follows = name in {"logits", "sequence"}
        learnt = self.answer if follows else self.texts.solution.mean
        longest = asked.longest + (self.budgets[0] if follows else self.texts.solution.longest)
        batch, again = options["batch_size"], options.get("gradient_checkpointing", False)
        tokens, rows = n * (asked.mean + learnt), n * learnt
        padded = tokens * (_PADDING if batch > 1 else 1)
        seconds = runner.load_seconds + runner.training_seconds(
            padded, asked.mean + learnt, rows, math.ceil(n / batch / piece.settings.get("processes", 1)), again=again
        )
        adapter = self._adapter(piece)
        memory, fixed = (runner.training_memory(rows, longest, adapter, again=again) for rows in (min(batch, n), 0))
        if name == "published" and self.teacher:
            teacher = Runner(self.teacher, "float32" if devices.model.is_cpu else "bfloat16", devices)
            prompt = of_strategy(self.texts.primed, piece.strategy).mean
            seconds += teacher.load_seconds + teacher.reading_seconds(n * (prompt + learnt), prompt + learnt, rows, n)
            memory, fixed = memory + teacher.weights, fixed + teacher.weights
        return Use(tokens, 0, seconds, memory, adapter * 4, runner, batch, fixed)

    def _evaluate(self, piece: Piece, devices: Devices) -> Use | None:
        protocol, n = piece.settings["protocol"], piece.units
        dtype, spread = _concrete(protocol["dtype"], devices), self.spread and not self.fused
        runner = Runner(self.student, dtype, devices, fused=self.fused, spread=spread)
        prompt, solution = self.texts.tested, self.texts.test_solution
        batch = min(n, _batch(runner, protocol["batch_size"], prompt.longest + self.budgets[1]))
        seconds = runner.load_seconds + runner.writing_seconds(n, prompt.mean, self.student_answer, batch)
        gold = n * (prompt.mean + solution.mean)
        seconds += runner.reading_seconds(gold, gold / n, n * solution.mean, math.ceil(n / batch))
        memory, fixed = (runner.running_memory(rows, prompt.longest, self.budgets[1]) for rows in (batch, 0))
        read, written = n * prompt.mean + gold, n * self.student_answer
        return Use(read, written, seconds, memory, self._disk(piece), runner, batch, fixed)

    def _analyse(self, piece: Piece, devices: Devices) -> Use | None:
        return analyse(self, piece, devices)

    def _task(self, piece: Piece, devices: Devices) -> Use | None:
        settings, n = piece.settings, piece.units
        of = self.tasks.get(settings.get("task", {}).get("name"))
        if of is None:
            return None
        spread = self.spread and not self.fused
        runner = Runner(self.student, _concrete(settings["dtype"], devices), devices, fused=self.fused, spread=spread)
        batch = _batch(runner, settings["batch_size"], of.longest)
        read, answers, seconds = n * of.read, n * of.answers, runner.load_seconds
        if read:
            # lm-eval computes logits at every token.
            seconds += runner.reading_seconds(read, of.read / of.texts, read, math.ceil(n * of.texts / batch))
        if answers:
            seconds += runner.writing_seconds(answers, of.prompt, of.new, batch)
        logits = 2 * of.longest * self.student.vocabulary * 4 if read else 0
        memory, fixed = (runner.running_memory(rows, of.longest, 0) + rows * logits for rows in (batch, 0))
        tokens = read + answers * of.prompt
        return Use(tokens, answers * of.new, seconds, memory, n * _DOCUMENT, runner, batch, fixed)

    def _adapter(self, piece: Piece) -> int:
        """Parameters of the adapter."""
        lora = piece.settings["options"]["lora"]
        targets = lora["target_modules"]
        return self.student.lora(lora["rank"], None if targets == "all-linear" else targets)

    def _disk(self, piece: Piece) -> float:
        """Bytes of a stage's answers, those of its parts included where it joins them."""
        if piece.kind == "evaluate":
            return piece.units * (_RECORD + self.student_answer * _TEXT)
        kept = piece.settings["sampling"]["top_logprobs"]
        vocabulary = self.teacher.vocabulary if self.teacher else self.student.vocabulary
        # 152 bytes for 64 of 49,152 ids, as measured (benchmarks/transfer_codec.py); fewer if rows are cut to a tail.
        token = 8 + kept * (0.83 * math.log2(vocabulary) + 5) / 8
        return float(piece.units * self.answer * token)


def _concrete(dtype: str, devices: Devices) -> str:
    """The data type that `auto` stands for."""
    if dtype != "auto":
        return dtype
    return "float32" if devices.model.is_cpu else "bfloat16"


def _batch(runner: Runner, stated: int | str, longest: float) -> int:
    """The batch of an evaluation: an engine's own, the one that is stated, or for `auto` one that fits."""
    if runner.fused:
        return min(_ENGINE_BATCH, runner.most_rows(longest) or _ENGINE_BATCH)
    if isinstance(stated, int):
        return stated
    largest = _LARGEST_AUTO["cpu" if runner.devices.model.is_cpu else "gpu"]
    return min(max(1, runner.most_rows(longest)), largest)
