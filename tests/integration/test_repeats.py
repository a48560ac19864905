"""Tasks with `repeats` in plain lm-eval: the same numbers per problem as kdprobe's, for the same responses."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
import yaml

import kdprobe

SAMPLES = 4
WRITTEN = [
    ["The answer is 55.", "The answer is 55.", "The answer is 54.", "The answer is 55."],
    ["The answer is 1.", "The answer is 57.", "The answer is 2.", "The answer is 1."],
    ["I do not know.", "The answer is 59.", "The answer is 59.", "The answer is 3."],
    ["The answer is 61.", "So 61.", "The answer is 61.", "The answer is 4."],
]
"""Four answers to each problem, whose values are 55, 57, 59 and 61."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, problem_rows):
    """GSM8K's two files with problems of our own, and the task under `repeats`."""
    from kdprobe.evaluation.protocol import task_folder

    made = tmp_path_factory.mktemp("gsm8k")
    for part, rows in {"train": problem_rows(0, 9), "test": problem_rows(50, 4)}.items():
        (made / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ours = task_folder() / "gsm8k_kdprobe" / "gsm8k_kdprobe.yaml"
    sampled = {"do_sample": True, "temperature": 1.3, "until": [], "max_gen_toks": 12}
    task = {"include": str(ours), "task": "sampled", "repeats": SAMPLES, "generation_kwargs": sampled}
    (made / "sampled.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return made


@pytest.fixture
def replayed(folder, tmp_path):
    """Runs lm-eval's own evaluation over given responses; returns its samples and the file that it writes."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    class Replay(LM):
        def __init__(self, answers):
            super().__init__()
            self.answers = iter([answer for problem in answers for answer in problem])

        def generate_until(self, requests, disable_tqdm=True):
            return [next(self.answers) for _ in requests]

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    def run(task, answers):
        manager = TaskManager(include_path=str(folder), include_defaults=False, metadata={"folder": str(folder)})
        results = simple_evaluate(
            model=Replay(answers), tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True
        )
        (name,) = results["samples"]
        tracker = EvaluationTracker(output_path=str(tmp_path))
        tracker.general_config_tracker.model_name_sanitized, tracker.date_id = "replayed", "now"
        (tmp_path / "replayed" / f"samples_{name}_now.jsonl").unlink(missing_ok=True)
        tracker.save_results_samples(name, results["samples"][name])
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        return samples, tmp_path / "replayed" / f"samples_{name}_now.jsonl"

    return run


def test_plain_lm_eval_scores_kdprobes_samples_alike(folder, tiny_model, tmp_path, replayed):
    """The same responses: accuracy per problem from records, from lm-eval's task, and from lm-eval's file."""
    asked = {"samples": SAMPLES, "temperature": 1.3, "max_new_tokens": 12, "progress": False}
    result = kdprobe.evaluate(str(tiny_model), problems=folder / "test.jsonl", store=tmp_path / "store", **asked)
    (records,) = result.records.values()
    groups = [answers for _, answers in records.groupby("id", sort=False)]
    samples, file = replayed("sampled", [answers["response"].tolist() for answers in groups])
    assert [sample["exact_match"] for sample in samples] == pytest.approx([each["correct"].mean() for each in groups])
    assert [sample["no_answer"] for sample in samples] == pytest.approx(
        [each["value"].isna().mean() for each in groups]
    )
    (own,), (read,) = result.details, kdprobe.score(file, progress=False).details
    same = ("n", "problems", "samples", "correct", "accuracy", "interval", "at_k", "no_answer")
    assert [getattr(read, name) for name in same] == [getattr(own, name) for name in same]


def test_its_file_is_scored_and_compared_by_problem(replayed, tmp_path):
    samples, file = replayed("sampled", WRITTEN)
    (score,) = kdprobe.score(file, progress=False).details
    assert (score.n, score.problems, score.correct) == (16, 4, 3 + 1 + 2 + 3)
    assert score.accuracy == pytest.approx(fmean(sample["exact_match"] for sample in samples))
    right = {each.measure: each.value for each in score.at_k}
    assert right["pass@4"] == 1
    # Of the second problem, two wrong answers agree; of the third, an answer without a value has no vote.
    assert right["maj@4"] == 0.75
    one = [{"id": str(n), "response": f"It is {54 + n}.", "gold": str(55 + 2 * n)} for n in range(4)]
    (pair,) = kdprobe.compare({"sampled": file, "greedy": one}, progress=False).comparison.pairs
    assert (pair.test.n, pair.samples) == (4, [1, 4])
    assert pair.test.difference == pytest.approx(9 / 16)


def test_majority_votes_are_those_of_lm_eval_unless_there_is_a_tie_or_no_value(replayed, folder):
    """Filters of lm-eval's `gsm8k_cot_self_consistency`: its vote counts a missing value, and breaks ties by order."""
    import lm_eval.tasks

    kept = yaml.safe_load(
        (Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k-cot-self-consistency.yaml").read_text(encoding="utf-8")
    )
    vote = next(each for each in kept["filter_list"] if each["name"] == "maj@64")
    match = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    task = {
        "task": "voted",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer.split('####')[-1].strip()}}",
        "repeats": SAMPLES,
        "filter_list": [vote],
        "metric_list": [match],
    }
    samples, file = replayed(task, WRITTEN)
    votes = [sample["exact_match"] for sample in samples]
    # "So 61." has no value for lm-eval's pattern, which makes no difference here.
    assert votes == [1, 0, 1, 1]
    found = {each.measure: each.value for each in kdprobe.score(file, progress=False).details[0].at_k}
    assert found["maj@4"] == pytest.approx(fmean(votes))
    silent = [["I do not know.", "Hm.", "Hm.", "The answer is 55."], *WRITTEN[1:]]
    samples, file = replayed(task, silent)
    assert samples[0]["exact_match"] == 0
    found = {each.measure: each.value for each in kdprobe.score(file, progress=False).details[0].at_k}
    assert found["maj@4"] == pytest.approx(0.75)


def test_lm_eval_run_samples_a_model_as_often_as_the_file_says(folder, tiny_model, tmp_path):
    """Its command, a real model, and what `kdprobe score` reads of it."""
    task = ["--include_path", str(folder), "--tasks", "sampled", "--metadata", json.dumps({"folder": str(folder)})]
    model = ["--model", "hf", "--model_args", f"pretrained={tiny_model},dtype=float32", "--apply_chat_template"]
    command = [sys.executable, "-m", "lm_eval", "run", *model, *task, "--log_samples", "--output_path", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (file,) = tmp_path.rglob("samples_sampled_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [len(row["resps"][0]) for row in rows] == [SAMPLES] * 4
    result = kdprobe.score(file, progress=False)
    assert (result.details[0].n, result.details[0].samples) == (16, SAMPLES)
    assert result.details[0].accuracy == pytest.approx(fmean(row["exact_match"] for row in rows))
