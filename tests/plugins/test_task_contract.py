"""The contract of `kdprobe_tasks`: what `check_task` accepts, and what it says about each fault."""

from types import ModuleType

import pytest

from kdprobe import TaskSpec, hookimpl
from kdprobe.testing import ContractError, check_task, host_with
from own_tasks import questions, write_task

GENERATED = """
task: it
custom_dataset: !function made.documents
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [" yes", " no"]
doc_to_target: gold
metric_list: [{metric: acc}]
"""
RANDOM = """
import os
from datasets import Dataset, DatasetDict

def documents(**_):
    return DatasetDict(test=Dataset.from_list([{"question": os.urandom(4).hex(), "gold": 0}]))
"""


def host_of(folder, name="it"):
    module = ModuleType("someones_plugin")
    module.kdprobe_tasks = hookimpl(lambda: [TaskSpec(name=name, summary="It", build=lambda _: folder)])
    return host_with(module)


def test_a_task_with_data_of_its_own(tmp_path):
    write_task(tmp_path, "it", questions(4))
    check_task(host_of(tmp_path), "it")


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(ContractError, match="must return a Path, not str"):
        check_task(host_of(str(tmp_path)), "it")
    with pytest.raises(ContractError, match="which is not a folder"):
        check_task(host_of(tmp_path / "gone"), "it")


def test_yaml_that_does_not_parse_or_names_another_task(tmp_path):
    write_task(tmp_path, "other", questions(4))
    with pytest.raises(ContractError, match="has a task, group or tag named 'it'"):
        check_task(host_of(tmp_path), "it")
    (tmp_path / "it.yaml").write_text("task: [it", encoding="utf-8")
    with pytest.raises(ContractError, match=r"it\.yaml is not valid YAML: while parsing a flow sequence"):
        check_task(host_of(tmp_path), "it")


@pytest.mark.parametrize(
    ("name", "owner"), [("gsm8k_kdprobe", "kdprobe"), ("arc_easy", "lm-eval"), ("mmlu", "lm-eval")]
)
def test_names_of_other_tasks(tmp_path, name, owner):
    write_task(tmp_path, name, questions(4))
    with pytest.raises(ContractError, match=f"the name of one of {owner}'s own tasks"):
        check_task(host_of(tmp_path, name), name)


def test_data_that_are_elsewhere_or_change(tmp_path):
    write_task(tmp_path, "it", questions(4))
    (tmp_path / "it.jsonl").unlink()
    with pytest.raises(ContractError, match=r"does not load offline: .*The task 'it' cannot be loaded"):
        check_task(host_of(tmp_path), "it")
    check_task(host_of(tmp_path), "it", offline=False)
    (tmp_path / "it.yaml").write_text(GENERATED, encoding="utf-8")
    (tmp_path / "made.py").write_text(RANDOM, encoding="utf-8")
    with pytest.raises(ContractError, match="different documents the second time"):
        check_task(host_of(tmp_path), "it")
