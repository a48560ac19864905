"""A tiny random model, a handful of problems and a tiny experiment; nothing here reaches the network."""

import contextlib
import io
import json
import os
from collections import Counter

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Loading a plotting or array library must not find a GPU: the tests' numbers are a CPU's.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# And one thread's, whatever number of tests run at once.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings

from architectures import write_model
from kdprobe.testing import problem_rows as rows

# How fast examples are drawn depends on what else the machine does.
settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any machine")

# The kit that plugins are tested with: a tiny model, problems, their conversations.
pytest_plugins = ["kdprobe.testing"]


def pytest_terminal_summary(terminalreporter):
    """The seconds of each suite, summed over all workers."""
    seconds, tests = Counter(), Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                suite = "/".join(report.nodeid.split("/")[:2])
                seconds[suite] += report.duration
                tests[suite] += report.when == "call"
    terminalreporter.section("seconds per suite")
    for suite in sorted(seconds):
        terminalreporter.line(f"{suite:<20}{seconds[suite]:>8.1f} s {tests[suite]:>6} tests")


def write_jsonl(file, data):
    file.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def problem_rows():
    return rows


@pytest.fixture(scope="session")
def run_cli():
    """Runs a command in this process; returns what it printed to stdout."""
    from kdprobe.cli import _run

    def run(*arguments):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = _run([str(argument) for argument in arguments])
        assert code == 0, arguments
        return printed.getvalue()

    return run


@pytest.fixture(scope="session")
def torch():
    import torch

    return torch


@pytest.fixture(scope="session")
def model_of(torch, tiny_model, tmp_path_factory):
    """Writes a random model of an architecture, each only once; returns its record."""
    from transformers import AutoTokenizer

    from kdprobe.models.reference import resolve

    tokenizer, folder, written = AutoTokenizer.from_pretrained(tiny_model), tmp_path_factory.mktemp("models"), {}

    def make(architecture, **changed):
        name = "-".join([architecture, *(f"{key}={value}" for key, value in changed.items())])
        if name not in written:
            written[name] = resolve(str(write_model(architecture, tokenizer, folder / name, **changed)))
        return written[name]

    return make


@pytest.fixture(scope="session")
def problem_files(tmp_path_factory):
    """Two JSONL files, transfer and test."""
    folder = tmp_path_factory.mktemp("problems")
    return write_jsonl(folder / "transfer.jsonl", rows(0, 6)), write_jsonl(folder / "test.jsonl", rows(50, 6))


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory, problem_files):
    """Writes the config of a tiny experiment around a model folder; returns the file."""

    def write(model, strategies='["none", "teacher"]', extra="", transfer=4):
        file = tmp_path_factory.mktemp("config") / "tiny.toml"
        file.write_text(
            f"""
name = "tiny"
strategies = {strategies}
[problems]
source = "jsonl"
options = {{ transfer = "{problem_files[0]}", test = "{problem_files[1]}" }}
transfer = {transfer}
test = 4
[student]
model = "{model}"
[teacher.options]
model = "{model}"
batch_size = 3
[transfer]
max_new_tokens = 8
top_logprobs = 16
[distill]
name = "logits"
options = {{ epochs = 1, batch_size = 2, learning_rate = 1e-2 }}
[controls]
fine_tune_options = {{ epochs = 1, batch_size = 2, learning_rate = 1e-2 }}
[evaluation]
max_new_tokens = 8
batch_size = 3
[probe]
problems = 2
batch_size = 2
{extra}
""",
            encoding="utf-8",
        )
        return file

    return write


@pytest.fixture(scope="session")
def setting(tiny_record):
    """How the tiny model decodes; keywords are those of `Sampling`."""
    from kdprobe.models.conversation import template_digest, tokenizer_digest
    from kdprobe.models.load import load_tokenizer
    from kdprobe.teachers.teacher import Sampling
    from kdprobe.transfer.capture import Setting

    tokenizer = load_tokenizer(tiny_record)
    manifest = {
        "strategy": "teacher",
        "tokenizer": tokenizer_digest(tokenizer),
        "vocabulary": len(tokenizer),
        "chat_template": template_digest(tokenizer),
    }

    def make(scratch=None, **sampling):
        known = {"max_new_tokens": 8, "top_logprobs": 16, "temperatures": (1.0, 2.0), **sampling}
        return Setting(Sampling(**known), manifest, scratch=scratch)

    return make


@pytest.fixture(scope="session")
def capture_set(tiny_teacher, setting, problems, conversations):
    """Has the tiny model answer; returns the transfer set."""
    from kdprobe.transfer.capture import capture

    def ask(batch_size=4, samples=1, **known):
        return capture(tiny_teacher(batch_size), problems, conversations, setting(**known), samples)

    return ask


@pytest.fixture(scope="session")
def score_set(tiny_teacher, setting, conversations, tiny_record):
    """Has the tiny model score texts; returns the transfer set."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.transfer.capture import score

    tokenizer = load_tokenizer(tiny_record)
    prompts = {id_: prompt_ids(tokenizer, pair.teacher) for id_, pair in conversations.items()}

    return lambda texts, **known: score(tiny_teacher(), texts, prompts, setting(**known))


@pytest.fixture(scope="session")
def transfer_set(capture_set):
    return capture_set()


@pytest.fixture(scope="session")
def check_padding(torch):
    """Measures random tokens one by one, and shuffled, in batches, padded: no metric may differ by more than 1e-5."""
    from dataclasses import replace

    import numpy as np

    from kdprobe.console import progress
    from kdprobe.host.registry import Host
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.probing.patterns.stream import head_metrics
    from kdprobe.students.sequence import ProblemSequence

    def near_the_threshold(view):
        """Cells of a query within 1e-5 of the threshold of sparsity, which may fall on either side of it."""
        return view.mean_over_queries(((view.pattern - 0.1).abs() < 1e-5).sum(dim=-1))

    metrics = head_metrics_of(Host())
    near = replace(metrics["entropy"], name="near", measure=near_the_threshold)

    def measure(bridged, sequences, batch_size, padding):
        with progress("heads", len(sequences)) as bar:
            known = {**metrics, "near": near}
            return head_metrics(bridged, sequences, known, batch_size=batch_size, bar=bar, padding=padding)

    def check(bridged, lengths, batch_size, padding, seed):
        random = np.random.default_rng(seed)
        sequences = []
        for number, length in enumerate(lengths):
            ids = tuple(int(id_) for id_ in random.integers(3, 300, length))
            begin = length // 2
            parts = {"prompt": ids[:begin], "solution": ids[begin:-1], "end": ids[-1:]}
            sequences.append(
                ProblemSequence(f"p{number}", **parts, question=(0, 1), numbers=(1, 2), value=(length - 1,))
            )
        alone = measure(bridged, sequences, 1, "right")
        order = random.permutation(len(sequences))
        found = measure(bridged, [sequences[place] for place in order], batch_size, padding)
        for name in metrics:
            expected = alone[name][order]
            allowed = np.full_like(expected, 1e-5)
            if name.startswith("sparsity"):
                counted = 1 if name.endswith("normalised") else np.array(lengths)[order][:, None, None]
                allowed += alone["near"][order] / counted * (1 + 1e-6)
            np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(expected), err_msg=name)
            assert (np.nan_to_num(np.abs(found[name] - expected)) <= allowed).all(), name

    return check


@pytest.fixture(scope="session")
def check_architecture(model_of, problems, tmp_path_factory):
    """Runs an analysis on a base and an adapter of an architecture; returns `right` or why it was refused."""
    from architecture_checks import BASE, OPTIONS, TUNED, Reference, write_adapter
    from architectures import attention_projections
    from kdprobe.errors import KdprobeError
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.students.student import Student

    host, known = Host(), {}

    def prepared(architecture):
        if architecture not in known:
            record = model_of(architecture)
            adapter = write_adapter(record, attention_projections(architecture), tmp_path_factory.mktemp("adapter"))
            students = [Student(BASE, record), Student(TUNED, record, adapter)]
            context = AnalysisContext(
                students=students, problems=problems[:2], batch_size=4, head_metrics=head_metrics_of(host)
            )
            known[architecture] = context, Reference(record, adapter, context.sequences)
        return known[architecture]

    def check(architecture, analysis):
        context, reference = prepared(architecture)
        try:
            result = run_analysis(analysis, host.create("analyses", analysis, OPTIONS.get(analysis)), context)
        except KdprobeError as error:
            return f"refused: {error.message}"
        reference.check(analysis, result.tables)
        return "right"

    return check
