"""The analysis `priming_heads`: which of the teacher's attention heads priming moves, before any training.

The teacher predicts every response after the primed prompt, after the bare question, and after prompts with neutral
text of equal length in place of the priming, because any added text takes attention from everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.options import PrimingHeadsOptions
from kdprobe.probing.outputs.differences.tables import token_texts
from kdprobe.probing.priming.heads.attending import DIVERGENCE, PRIMING, HeadReader, head_reader
from kdprobe.probing.priming.heads.figures import figures
from kdprobe.probing.priming.heads.layout import Layout, layouts, replaced
from kdprobe.probing.priming.heads.measured import PrimedHeads
from kdprobe.probing.priming.heads.neutral import neutral_tokens
from kdprobe.probing.priming.heads.report import statements, summary
from kdprobe.probing.priming.heads.tables import head_tables
from kdprobe.probing.priming.reading import loaded_teacher, read_responses, refuse_long
from kdprobe.probing.priming.report import unreadable
from kdprobe.probing.priming.teaching import Priming, Teaching
from kdprobe.strategies.prompt_pair import bare


class PrimingHeadsAnalysis:
    """Attention of the teacher after primed, bare and neutral prompts, by strategy and head."""

    def __init__(self, options: PrimingHeadsOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads the responses of every strategy; a teacher that cannot be read is a result, which says why."""
        teaching = context.teaching
        assert teaching is not None  # noqa: S101 - `needs` says so
        try:
            loaded = loaded_teacher(teaching, "does not expose its attention")
            reader = head_reader(loaded, self._text(loaded, teaching))
            heads = [self._heads(reader, teaching, priming, context) for priming in teaching.primings]
        except KdprobeError as error:
            return AnalysisResult({}, statements=[unreadable("result for the teacher's heads", error)])
        return AnalysisResult(
            tables=head_tables(heads),
            figures=figures(heads),
            statements=statements(heads, teaching, reader.loaded.dtype, self.options),
            summary=summary(heads),
        )

    def _text(self, loaded: LoadedModel, teaching: Teaching) -> Sequence[int]:
        """What the teacher reads first: a prompt and its response."""
        for priming in teaching.primings:
            for problem, response in read_responses(teaching, priming, self.options.problems):
                prompt, text = priming.prompts[problem.id], response.token_ids.tolist()
                refuse_long(loaded.model.config, prompt, text)
                return [*prompt, *text]
        raise KdprobeError("All of the teacher's responses are empty.")

    def _heads(self, reader: HeadReader, teaching: Teaching, priming: Priming, context: AnalysisContext) -> PrimedHeads:
        tokenizer = reader.loaded.tokenizer
        responses = list(read_responses(teaching, priming, self.options.problems))
        pairs = [
            layouts(tokenizer, problem, priming.prompts[problem.id], prompt_ids(tokenizer, bare(problem)))
            for problem, _ in responses
        ]
        unprimed = all(primed.ids == plain.ids for primed, plain in pairs)
        # Where priming adds nothing, there is nothing to compare.
        chosen = [index for index, (primed, plain) in enumerate(pairs) if unprimed or primed.ids != plain.ids]
        located = [responses[index][0].id for index in chosen if pairs[index][0].question]
        compared = self.options.neutral if len(located) == len(chosen) else 0
        values = []
        with progress(f"Teacher's heads: {priming.strategy}", len(chosen), unit="tok") as bar:
            for index in chosen:
                primed, plain = pairs[index]
                prompts = [plain, primed, *_neutral(tokenizer, primed, compared)]
                if not compared:
                    # Alike for all problems, so that means are of one kind.
                    prompts = [Layout(prompt.ids, ()) for prompt in prompts]
                response = responses[index][1].token_ids.tolist()
                refuse_long(reader.loaded.model.config, max((prompt.ids for prompt in prompts), key=len), response)
                values.append(reader.attention(prompts, response, context.batch_size))
                bar.advance(1, work=len(prompts) * len(response))
        return PrimedHeads(
            strategy=priming.strategy,
            problems=[responses[index][0].id for index in chosen],
            located=located,
            priming=[len(pairs[index][0].priming) for index in chosen],
            tokens=[len(responses[index][1].token_ids) for index in chosen],
            values=np.stack(values) if values else reader.nothing(2 + compared),
            smallest={DIVERGENCE: self.options.smallest_divergence, PRIMING: self.options.smallest_share},
            unprimed=unprimed,
            seed=context.seed,
        )


def build(options: PrimingHeadsOptions) -> PrimingHeadsAnalysis:
    """The analysis."""
    return PrimingHeadsAnalysis(options)


def _neutral(tokenizer: Any, primed: Layout, count: int) -> Sequence[Layout]:
    """The primed prompt with neutral texts in place of the priming."""
    decode = token_texts(tokenizer)
    return [replaced(primed, neutral_tokens(tokenizer, text, len(primed.priming)), decode) for text in range(count)]
