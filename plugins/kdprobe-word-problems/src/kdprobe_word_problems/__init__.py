"""Word problems beyond GSM8K: SVAMP, ASDiv, MultiArith, generated stories, and an extractor for calculations."""

from collections.abc import Iterator

from kdprobe import ExtractorSpec, ProblemSourceSpec, hookimpl
from kdprobe_word_problems import collections, extractor, stories


@hookimpl
def kdprobe_problem_sources() -> Iterator[ProblemSourceSpec]:
    """`svamp`, `asdiv`, `multi-arith` and `stories`."""
    for collection in collections.COLLECTIONS:
        yield ProblemSourceSpec(
            name=collection.name,
            summary=collection.summary,
            build=collection.source,
            options=collections.CollectionOptions,
            dataset=collection.hub,
        )
    yield ProblemSourceSpec(
        name="stories",
        summary="Stories about counting things, generated offline",
        build=stories.build,
        options=stories.StoriesOptions,
    )


@hookimpl
def kdprobe_extractors() -> Iterator[ExtractorSpec]:
    """`last-calculation`."""
    yield ExtractorSpec(
        name="last-calculation",
        summary='The result of the last calculation, "= 12", or else what robust reads',
        build=lambda _: extractor.LastCalculation(),
    )
