"""Messages agree in number with what they are about."""

from types import SimpleNamespace

import pytest
from torch import nn

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.tasks.find import _elsewhere
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.audit import audit
from kdprobe.models.conversation import Conversation, refuse_unread
from kdprobe.models.devices.placement import Placement
from kdprobe.models.devices.spread import placed, refuse_offloaded


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1 line of {} is damaged; its contents will be"), (2, "2 lines of {} are damaged; their contents will be")],
)
def test_damaged_lines(count, text, tmp_path, capsys):
    file = tmp_path / "ledger"
    file.write_bytes(b"damaged\n" * count)
    Ledger(file)
    assert text.format(file) in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "Perhaps it is in {0}/a.yaml, which is not valid YAML: correct that file."),
        (["a", "b"], "in one of these files, which are not valid YAML: {0}/a.yaml, {0}/b.yaml. Correct them."),
    ],
)
def test_files_that_are_no_yaml(names, text, tmp_path):
    for name in names:
        (tmp_path / f"{name}.yaml").write_text("task: [1\n")
    assert text.format(tmp_path) in _elsewhere("mine", [], [str(tmp_path)])


class Offloaded(nn.Linear):
    """A model without a weight, or also without its bias, in the memory of its device."""

    def __init__(self, count):
        super().__init__(2, 2, bias=False)
        for index in range(count):
            self.register_parameter(f"absent{index}", nn.Parameter(self.weight.to("meta")))

    def get_input_embeddings(self):
        """The embedding."""
        return self


@pytest.mark.parametrize(
    ("count", "note", "refusal"),
    [
        (1, "1 weight of m did not fit into the memory of the devices. It is read", "but 1 does not fit and is read"),
        (2, "2 weights of m did not fit into the memory of the devices. They are", "but 2 do not fit and are read"),
    ],
)
def test_weights_that_do_not_fit(count, note, refusal, capsys):
    model, record = Offloaded(count), SimpleNamespace(name="m", is_packed=False)
    placed(model, record, Placement("auto"), "cpu")
    assert note in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match=rf"^Probing needs all weights of 'm' in device memory, {refusal}"):
        refuse_offloaded(SimpleNamespace(model=model, record=record), "Probing")


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "The chat template of 'a' does not"), (["a", "b", "c"], "The chat templates of 'a', 'b' and 'c' do not")],
)
def test_templates_that_use_no_argument(names, text):
    tokenizers = [SimpleNamespace(chat_template="", name_or_path=name) for name in names]
    with pytest.raises(KdprobeError, match=f"^{text} use the argument 'thinking'"):
        refuse_unread(Conversation(template_arguments={"thinking": True}), tokenizers)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"adapter_norm": 0.0}, "{} identical to the untrained student."),
        ({"adapter_norm": 1.0, "relative_change": 1e-9}, "{} nearly identical to the untrained student."),
    ],
)
@pytest.mark.parametrize(("arms", "those"), [("a", "this arm is"), ("ab", "these arms are")])
def test_adapters_that_did_not_move(arms, those, change, text):
    found = [ArmResults(name, name, "logits", 0, None, None, change, [], {}, None) for name in arms]
    known = {"problems": {"transfer": [], "test": []}, "conversations": {}}
    assert any(finding.action.endswith(text.format(those)) for finding in audit(found, known))
