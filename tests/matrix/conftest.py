"""Models of every family, and a finished run for every family and kind of teacher."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, teacher_of, write_model
from serve import ServedModel, serving

ROOT = Path(__file__).parents[2]
TOKENIZERS = Path(os.environ.get("KDPROBE_TOKENIZERS", ROOT / ".tokenizers"))
SERVED_TEACHER = ROOT / "plugins" / "kdprobe-openai" / "src"

CONFIG = """
name = "matrix"
plugins = "plugins"
strategies = ["none", "teacher"]
[problems]
source = "jsonl"
options = {{ transfer = "{transfer}", test = "{test}" }}
transfer = 3
test = 2
[student]
model = "{student}"
[conversation]
template_arguments = {arguments}
[teacher]
{teacher}
[transfer]
max_new_tokens = 6
top_logprobs = 8
[distill]
name = "{distiller}"
options = {{ epochs = 1, batch_size = 2, lora = {{ target_modules = {lora} }} }}
[controls]
fine_tune_options = {{ epochs = 1, batch_size = 2, lora = {{ target_modules = {lora} }} }}
[evaluation]
max_new_tokens = 6
batch_size = 2
[probe]
analyses = []
"""


def pytest_collection_modifyitems(items):
    """Everything in this folder belongs to the matrix; the tests of one run or family stay in one process."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            shared = params.get("finished") or (item.path.stem, params.get("family"))
            item.add_marker(pytest.mark.matrix)
            item.add_marker(pytest.mark.xdist_group("-".join(map(str, shared))))


@dataclass(frozen=True)
class Cell:
    """A finished run.

    Attributes:
        family: Of the student.
        teacher: The family of the teacher.
        folders: Family to the folder of its model.
        config: The config's file.
        store: The store.
        record: The run's record.
        results: What `kdprobe run --json` printed.
    """

    family: str
    teacher: str
    folders: dict[str, Path]
    config: Path
    store: Path
    record: dict[str, Any]
    results: dict[str, Any]

    def stage(self, kind: str, arm: str) -> Path:
        """The folder of an arm's stage."""
        key = next(found[kind] for found in self.record["arms"] if found["name"] == arm)
        return self.store / "stages" / kind / key


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Maps a family to the folder of its model, which is written on first use."""
    if not (TOKENIZERS / "node_modules").is_dir():
        pytest.fail(f"{TOKENIZERS} holds no tokenizers: `make matrix` fetches them")
    folder = tmp_path_factory.mktemp("models")
    written = {}

    def model(name):
        if name not in written:
            written[name] = write_model(name, TOKENIZERS, folder / name)
        return written[name]

    return model


@pytest.fixture(scope="session")
def served(models):
    """Maps a family to the address of a server for its model."""
    from contextlib import ExitStack

    running = {}
    with ExitStack() as stack:

        def address(name):
            if name not in running:
                running[name] = stack.enter_context(serving(ServedModel(models(name), FAMILIES[name].ends)))
            return running[name]

        yield address


@pytest.fixture(scope="session")
def cell(models, served, problem_files, run_cli, tmp_path_factory):
    """Runs the whole experiment of a family, a kind of teacher, its family and a distiller, once."""
    finished = {}
    sys.path.insert(0, str(SERVED_TEACHER))

    def run(name, kind, arguments=None, *, teacher=None, distiller="logits"):
        told = (name, kind, json.dumps(arguments), teacher, distiller)
        if told not in finished:
            finished[told] = _run(name, kind, arguments, teacher or teacher_of(name, kind), distiller)
        return finished[told]

    def _run(name, kind, arguments, teacher, distiller):
        folder = tmp_path_factory.mktemp(f"{name}-{kind}")
        (folder / "plugins").mkdir()
        (folder / "plugins" / "server.py").write_text("from kdprobe_openai import kdprobe_teachers\n")
        config = folder / "matrix.toml"
        if kind == "served":
            options = f'base_url = "{served(teacher)}", model = "any", tokenizer = "{models(teacher)}"'
            options += ', log_probabilities = "required", concurrency = 1, extra = { return_token_ids = true }'
        else:
            options = f'model = "{models(teacher)}", dtype = "float32", batch_size = 2'
        text = CONFIG.format(
            transfer=problem_files[0],
            test=problem_files[1],
            student=models(name),
            arguments=_toml(FAMILIES[name].arguments if arguments is None else arguments),
            teacher=f'name = "{"openai" if kind == "served" else kind}"\noptions = {{ {options} }}',
            distiller=distiller,
            lora=json.dumps(FAMILIES[name].lora),
        )
        config.write_text(text)
        results = json.loads(run_cli("run", config, "--store", folder / "store", "--json"))
        record = json.loads((folder / "store" / "runs" / results["run"] / "run.json").read_text())
        folders = {family: models(family) for family in {name, teacher}}
        return Cell(name, teacher, folders, config, folder / "store", record, results)

    return run


def _toml(arguments):
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in arguments.items()) + "}"
