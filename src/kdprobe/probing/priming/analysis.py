"""The analysis `priming_map`: where priming changes the teacher's next-token distributions, before any training.

The teacher reads every response after the primed and after the bare prompt, as the same token ids.
"""

from __future__ import annotations

import numpy as np

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_ids
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.options import PrimingMapOptions
from kdprobe.probing.outputs.differences.reading import Reading
from kdprobe.probing.outputs.differences.tables import token_texts
from kdprobe.probing.priming.figures import figures
from kdprobe.probing.priming.measured import PrimingMap, ReadResponse
from kdprobe.probing.priming.parts import parts_of
from kdprobe.probing.priming.reading import read_responses, teacher_reading, token_changes
from kdprobe.probing.priming.report import statements, summary, unreadable
from kdprobe.probing.priming.tables import priming_tables
from kdprobe.probing.priming.teaching import Priming, Teaching
from kdprobe.strategies.prompt_pair import bare


class PrimingMapAnalysis:
    """KL(primed || bare) of the teacher at every token of its responses, by strategy and part."""

    def __init__(self, options: PrimingMapOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads the responses of every strategy; a teacher that cannot be read is a result, which says why."""
        teaching = context.teaching
        assert teaching is not None  # noqa: S101 - `needs` says so
        try:
            with teacher_reading(teaching) as teacher:
                maps = [_mapped(teacher, teaching, priming, self.options.problems) for priming in teaching.primings]
        except KdprobeError as error:
            return AnalysisResult({}, statements=[unreadable("priming map", error)])
        tokenizer = teacher.loaded.tokenizer
        return AnalysisResult(
            tables=priming_tables(maps, self.options.smallest_effect, tokenizer),
            figures=figures(maps, token_texts(tokenizer)),
            statements=statements(maps, teaching, self.options, tokenizer),
            summary=summary(maps, self.options.smallest_effect),
        )


def build(options: PrimingMapOptions) -> PrimingMapAnalysis:
    """The analysis."""
    return PrimingMapAnalysis(options)


def _mapped(teacher: Reading, teaching: Teaching, priming: Priming, most: int) -> PrimingMap:
    tokenizer, ends = teacher.loaded.tokenizer, teacher.loaded.eos_ids
    responses = list(read_responses(teaching, priming, most))
    read = []
    with progress(f"Teacher primed and bare: {priming.strategy}", len(responses), unit="tok") as bar:
        for problem, response in responses:
            ids = tuple(response.token_ids.tolist())
            parts = np.array(parts_of(tokenizer, ids, ends))
            bare_ids = prompt_ids(tokenizer, bare(problem))
            changes = token_changes(teacher, priming.prompts[response.id], bare_ids, ids)
            read.append(ReadResponse(response.id, ids, parts, changes))
            bar.advance(1, work=len(ids))
    return PrimingMap(priming.strategy, priming.unprimed, read)
