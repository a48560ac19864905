"""Chat templates that cannot render what the run needs, or ignore the arguments they are given."""

from __future__ import annotations

from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.conversation import refuse_unread
from kdprobe.models.turn import assistant_turn
from kdprobe.teachers.teacher import RenderingTeacher


def check_templates(context: StageContext) -> None:
    """Checks that chat templates render assistant turns and use the arguments they are given.

    Raises:
        KdprobeError: A template rejects an assistant turn, or no template uses an argument.
    """
    teacher = context.teacher if context.uses_teacher else None
    tokenizers = [context.tokenizer]
    if isinstance(teacher, RenderingTeacher):
        tokenizers.append(context.teacher_tokenizer)
    for tokenizer in tokenizers:
        assistant_turn(tokenizer)
    if teacher is None or isinstance(teacher, RenderingTeacher):
        # It is unknown here which arguments a server's template uses.
        refuse_unread(context.experiment.conversation.conversation, tokenizers)
