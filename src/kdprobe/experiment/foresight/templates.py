"""Chat templates that cannot render what the run needs, or ignore the arguments they are given."""

from __future__ import annotations

from typing import Any

from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.conversation import refuse_unread
from kdprobe.teachers.teacher import RenderingTeacher


def check_templates(context: StageContext) -> None:
    """Checks that chat templates render assistant turns and use the arguments they are given.

    Raises:
        KdprobeError: A template rejects an assistant turn, or no template uses an argument.
    """
    teacher = context.teacher if context.uses_teacher else None
    readers = [context.student_reader]
    if isinstance(teacher, RenderingTeacher):
        readers.append(context.teacher_reader)
    for reader in readers:
        _ = reader.vocabulary
    # It is unknown here which arguments a server's template uses.
    if context.student.conversation.template_arguments and (teacher is None or isinstance(teacher, RenderingTeacher)):
        context.memory.recall(
            "arguments used",
            {"readers": [reader.inputs for reader in readers]},
            lambda: context.asked(_refuse_unread, readers, context.student.conversation),
        )


def _refuse_unread(*tokenizers_and_conversation: Any) -> None:
    *tokenizers, conversation = tokenizers_and_conversation
    refuse_unread(conversation, tokenizers)
