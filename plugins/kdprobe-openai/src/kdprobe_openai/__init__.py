"""A teacher behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a hosted one."""

from collections.abc import Iterator
from typing import Any

from kdprobe import TeacherSpec, hookimpl
from kdprobe_openai.options import ServerOptions


def _build(options: ServerOptions) -> Any:
    from kdprobe_openai.teacher import ServerTeacher

    return ServerTeacher(options)


@hookimpl
def kdprobe_teachers() -> Iterator[TeacherSpec]:
    """`openai`."""
    yield TeacherSpec(
        name="openai",
        summary="Any OpenAI-compatible server; with log-probabilities if it returns them",
        build=_build,
        options=ServerOptions,
    )
