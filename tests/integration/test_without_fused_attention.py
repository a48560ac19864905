import pytest


@pytest.mark.parametrize("architecture", ["gemma2", "gpt_oss"])
def test_architectures_without_fused_attention_are_trained_and_evaluated(
    architecture, model_of, problems, conversations, tmp_path
):
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.host.registry import Host
    from kdprobe.students.student import Student

    host, record = Host(), model_of(architecture)
    raw = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2}
    distiller = host.build("distillers", "fine-tune", host.options("distillers", "fine-tune", raw))
    context = TrainContext(
        student=record,
        dtype="float32",
        problems=problems,
        conversations=conversations,
        transfer=None,
        seed=0,
        folder=tmp_path / "adapter",
        scratch=None,
    )
    adapter = distiller.train(context).adapter
    student = Student("trained", record, adapter).load(dtype="float32")
    assert len(evaluate(student, problems[:2], Protocol(4, batch_size=2, dtype="float32"), label="lm-eval")) == 2
