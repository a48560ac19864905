"""Chat templates that cannot write what the run has them write, or do not read what they are told."""

from __future__ import annotations

from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.conversation import refuse_unread
from kdprobe.models.turn import assistant_turn
from kdprobe.teachers.teacher import RenderingTeacher


def check_templates(context: StageContext) -> None:
    """Checks that chat templates write assistants' turns and read the arguments that they are given.

    Raises:
        KdprobeError: A template refuses an assistant's turn, or no template reads an argument.
    """
    teacher = context.teacher if context.uses_teacher else None
    tokenizers = [context.tokenizer]
    if isinstance(teacher, RenderingTeacher):
        tokenizers.append(context.teacher_tokenizer)
    for tokenizer in tokenizers:
        assistant_turn(tokenizer)
    if teacher is None or isinstance(teacher, RenderingTeacher):
        # What a server's template reads is not known here.
        refuse_unread(context.experiment.conversation.conversation, tokenizers)
