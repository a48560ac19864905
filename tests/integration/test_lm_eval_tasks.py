"""The tasks in plain lm-eval: their prompts, metrics and groups, and the models that answer them."""

import csv
import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
CHAT = ["gsm8k_kdprobe", "gsm8k_kdprobe_fewshot", "gsm8k_kdprobe_cot"]
COMPLETION = [f"{task}_completion" for task in CHAT]
METRICS = ["exact_match", "exact_match_published", "exact_match_strict", "exact_match_flexible", "no_answer"]
THINKING = ["thinking", "unclosed_thinking"]
ANSWERS = [
    "He counts: 53 + 2 = 55.\n#### 55",
    "The answer is 57.",
    "59 apples, or \\boxed{59}, not 60 - 2",
    "I do not know.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, problem_rows):
    """GSM8K's two files with made-up problems."""
    made = tmp_path_factory.mktemp("gsm8k")
    for part, rows in {"train": problem_rows(0, 9), "test": problem_rows(50, 4)}.items():
        (made / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def exam(folder):
    """Runs our tasks, or lm-eval's given as configs, in this process."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from kdprobe.evaluation.protocol import task_folder

    def run(model, tasks, data=folder, **known):
        manager = TaskManager(include_path=str(task_folder()), include_defaults=False, metadata={"folder": str(data)})
        return simple_evaluate(
            model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, log_samples=True, **known
        )

    return run


@pytest.fixture(scope="module")
def replay():
    """A model for lm-eval that returns existing answers, in the order of the problems."""
    from lm_eval.api.model import LM

    class Replay(LM):
        def __init__(self, answers):
            super().__init__()
            self.answers = answers

        def generate_until(self, requests, disable_tqdm=True):
            return [self.answers[request.doc_id] for request in requests]

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    return Replay


@pytest.fixture(scope="module")
def lm_evals_own(folder):
    """A task of lm-eval on a folder's problems instead of those from the Hub."""
    import lm_eval.tasks

    from kdprobe.evaluation.protocol import task_folder

    sys.path.insert(0, str(task_folder() / "gsm8k_kdprobe"))
    try:
        from utils import load
    finally:
        sys.path.pop(0)

    def config(name, data=folder):
        file = Path(lm_eval.tasks.__file__).parent / "gsm8k" / f"{name.replace('_', '-')}.yaml"
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
        for known in ("dataset_path", "dataset_name"):
            read.pop(known)
        return {**read, "custom_dataset": lambda **_: load(str(data))}

    return config


def prompts(results, task):
    return [sample["arguments"][0][0] for sample in results["samples"][task]]


@pytest.fixture(scope="module")
def chat_results(exam, torch, tiny_record):
    from lm_eval.models.huggingface import HFLM

    from kdprobe.models.load import load

    loaded = load(tiny_record)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=2, add_bos_token=False)
    return exam(
        model,
        ["gsm8k_kdprobe_all"],
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        gen_kwargs={"max_gen_toks": 4},
    )


def turns(prompt):
    """A prompt of the tiny model's chat template as (role, text)."""
    *whole, begun = prompt.split("<|im_start|>")[1:]
    assert begun == "assistant\n"
    return [(turn.partition("\n")[0], turn.partition("\n")[2].removesuffix("<|im_end|>\n")) for turn in whole]


def test_the_main_form_is_the_bare_question(chat_results, problem_rows):
    read = [turns(prompt) for prompt in prompts(chat_results, "gsm8k_kdprobe")]
    assert read == [[("user", row["question"])] for row in problem_rows(50, 4)]


def test_few_shot_examples_are_turns_of_train_problems_without_calculator_marks(chat_results, problem_rows):
    solved = {row["question"]: row["answer"] for row in problem_rows(0, 9)}
    assert all("<<" in answer for answer in solved.values())
    for prompt, row in zip(prompts(chat_results, "gsm8k_kdprobe_fewshot"), problem_rows(50, 4), strict=True):
        *examples, (role, asked) = turns(prompt)
        assert (role, asked) == ("user", row["question"])
        assert [role for role, _ in examples] == ["user", "assistant"] * 5
        assert len({text for role, text in examples if role == "user"}) == 5
        for (_, question), (_, answer) in zip(examples[::2], examples[1::2], strict=True):
            marked = solved[question]
            assert answer == marked[: marked.index("<<")] + marked[marked.index(">>") + 2 :]


def test_chain_of_thought_has_the_eight_exemplars_always(chat_results, problem_rows):
    for prompt, row in zip(prompts(chat_results, "gsm8k_kdprobe_cot"), problem_rows(50, 4), strict=True):
        *examples, asked = turns(prompt)
        assert asked == ("user", row["question"])
        assert [role for role, _ in examples] == ["user", "assistant"] * 8
        values = [text.rpartition("The answer is ")[2] for _, text in examples[1::2]]
        assert values == ["6.", "5.", "39.", "8.", "9.", "29.", "33.", "8."]


def test_completions_are_asked_as_text_that_an_answer_can_follow(exam, replay, problem_rows):
    results = exam(replay(ANSWERS), COMPLETION)
    for task, ending, count in zip(COMPLETION, ("\nAnswer:", "\nAnswer:", "\nA:"), (0, 5, 8), strict=True):
        for prompt, row in zip(prompts(results, task), problem_rows(50, 4), strict=True):
            assert prompt.endswith(f": {row['question']}{ending}")
            assert prompt.count(f"{ending} ") == count
    stops = {task: results["configs"][task]["generation_kwargs"]["until"] for task in COMPLETION}
    assert list(stops.values()) == [["\nQuestion:"], ["\nQuestion:"], ["\nQ:"]]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("gsm8k_kdprobe_fewshot_completion", "gsm8k"), ("gsm8k_kdprobe_cot_completion", "gsm8k_cot")]
)
def test_completion_prompts_are_those_of_lm_evals_own_tasks(ours, theirs, exam, replay, lm_evals_own):
    results = exam(replay(ANSWERS), [ours]), exam(replay(ANSWERS), [lm_evals_own(theirs)])
    mine, other = prompts(results[0], ours), prompts(results[1], theirs)
    assert mine == other[:4]
    assert len(mine) == 4


@pytest.mark.parametrize("task", [*CHAT, *COMPLETION])
def test_the_numbers_are_those_of_the_extractors(task, exam, replay, problem_rows):
    from kdprobe.host.registry import Host

    results = exam(replay(ANSWERS), [task])
    host = Host()
    gold = [row["answer"].rpartition("#### ")[2] for row in problem_rows(50, 4)]
    for name in ("robust", "published", "strict", "flexible"):
        extractor = host.create("extractors", name)
        right = [
            extractor.is_right(extractor.extract(answer), value) for answer, value in zip(ANSWERS, gold, strict=True)
        ]
        metric = "exact_match" if name == "robust" else f"exact_match_{name}"
        assert results["results"][task][f"{metric},none"] == pytest.approx(sum(right) / 4)
        assert [sample[metric] for sample in results["samples"][task]] == right
    assert results["results"][task]["no_answer,none"] == 0.25
    known = results["higher_is_better"][task]
    assert known == {metric: metric not in {"no_answer", "unclosed_thinking"} for metric in [*METRICS, *THINKING]}


def both_scores(exam, replay, lm_evals_own, answers, data):
    ours = exam(replay(answers), ["gsm8k_kdprobe_fewshot_completion"], data)
    theirs = exam(replay(answers), [lm_evals_own("gsm8k", data)], data)["results"]["gsm8k"]
    scores = ours["results"]["gsm8k_kdprobe_fewshot_completion"]
    assert scores["exact_match_strict,none"] == theirs["exact_match,strict-match"]
    assert scores["exact_match_flexible,none"] == theirs["exact_match,flexible-extract"]
    return scores


def test_strict_and_flexible_are_what_lm_eval_reports(exam, replay, lm_evals_own, folder):
    scores = both_scores(exam, replay, lm_evals_own, ANSWERS, folder)
    assert (scores["exact_match_strict,none"], scores["exact_match_flexible,none"]) == (0.25, 0.5)


@pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")
def test_strict_and_flexible_are_what_lm_eval_reports_of_real_answers(exam, replay, lm_evals_own):
    csv.field_size_limit(sys.maxsize)
    with gzip.open(DATA / "paper" / "generations" / "ground_truth.csv.gz", "rt", encoding="utf-8") as stream:
        answered = {row["question"].strip(): row["model_answer"] for row in csv.DictReader(stream)}
    lines = (DATA / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [answered[json.loads(line)["question"].strip()] for line in lines]
    scores = both_scores(exam, replay, lm_evals_own, answers, DATA / "gsm8k")
    assert scores["exact_match,none"] == 693 / 1319
    assert scores["exact_match_flexible,none"] == 263 / 1319


@pytest.mark.parametrize("group", ["gsm8k_kdprobe_all", "gsm8k_kdprobe_all_completion"])
def test_a_group_has_the_mean_of_its_tasks(group, exam, replay):
    results = exam(replay(ANSWERS), [group])["results"]
    tasks = COMPLETION if "completion" in group else CHAT
    assert set(results) == {group, *tasks}
    for metric in METRICS:
        values = [results[task][f"{metric},none"] for task in tasks]
        assert results[group][f"{metric},none"] == pytest.approx(sum(values) / 3)


REPEATED = [["#### 55", "#### 54"], ["57", "The answer is 57."], ["I do not know.", "59"], ["60", None]]
"""Two answers to each problem, whose values are 55, 57, 59 and 61."""


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """A folder with the task under `repeats: 2`: plain, with other filters, and included by a task file."""
    from kdprobe.evaluation.protocol import task_folder

    made = tmp_path_factory.mktemp("repeated")
    ours = task_folder() / "gsm8k_kdprobe" / "gsm8k_kdprobe_completion.yaml"
    filters = {
        "all": None,
        "both": [{"function": "take_first_k", "k": 2}],
        "first": [{"function": "take_first"}],
        "vote": [{"function": "majority_vote"}],
    }
    for name, steps in filters.items():
        task = {"include": str(ours), "task": f"repeated_{name}", "repeats": 2}
        task |= {"filter_list": [{"name": "none", "filter": steps}]} if steps else {}
        (made / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return made


@pytest.mark.parametrize(
    ("task", "right", "silent"),
    [
        ("all", [0.5, 1, 0.5, 0], [0, 0, 0.5, 0.5]),
        ("both", [0.5, 1, 0.5, 0], [0, 0, 0.5, 0.5]),
        ("first", [1, 1, 0, 0], [0, 0, 1, 0]),
        ("vote", [1, 1, 0, 0], [0, 0, 1, 0]),
    ],
)
def test_repeats_are_scored_by_their_mean_over_each_problem(task, right, silent, repeated, replay, folder):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    class Repeating(replay):
        def generate_until(self, requests, disable_tqdm=True):
            answers = iter(answer for problem in REPEATED for answer in problem)
            assert [request.doc_id for request in requests] == [0, 0, 1, 1, 2, 2, 3, 3]
            return [next(answers) for _ in requests]

    manager = TaskManager(include_path=str(repeated), include_defaults=False, metadata={"folder": str(folder)})
    name = f"repeated_{task}"
    results = simple_evaluate(
        model=Repeating(None), tasks=[name], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    assert [sample["exact_match"] for sample in samples] == right
    assert [sample["no_answer"] for sample in samples] == silent
    assert results["results"][name]["exact_match,none"] == pytest.approx(sum(right) / 4)
    assert results["results"][name]["no_answer,none"] == pytest.approx(sum(silent) / 4)


def test_a_model_is_asked_as_often_as_a_task_repeats(repeated, folder, torch, tiny_record, tmp_path):
    """From generation to `kdprobe score`, which reads all answers to each problem."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from kdprobe.comparison.answers import read_outputs
    from kdprobe.models.load import load

    loaded = load(tiny_record)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=2, add_bos_token=False)
    results = simple_evaluate(
        model=model,
        tasks=["repeated_all"],
        task_manager=TaskManager(include_path=str(repeated), include_defaults=False, metadata={"folder": str(folder)}),
        bootstrap_iters=0,
        log_samples=True,
        gen_kwargs={"max_gen_toks": 4, "do_sample": True, "temperature": 1.0},
    )
    samples = results["samples"]["repeated_all"]
    assert [len(sample["resps"][0]) for sample in samples] == [2] * 4
    assert all(0 <= sample["exact_match"] <= 1 for sample in samples)
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.general_config_tracker.model_name_sanitized = "tiny"
    tracker.date_id = "now"
    tracker.save_results_samples("repeated_all", samples)
    outputs = read_outputs(tmp_path / "tiny" / "samples_repeated_all_now.jsonl")
    assert outputs.responses == [response for sample in samples for response in sample["resps"][0]]
    assert outputs.samples == [0, 1] * 4


PLUGIN = """
from kdprobe import Extraction, ExtractorSpec, hookimpl


class Shout:
    def extract(self, text):
        if "not" in text:
            raise ValueError("I cannot")
        return Extraction(None, "shout", None, text)

    def is_right(self, extraction, gold):
        return gold in extraction.written


class Breaks(Shout):
    def extract(self, text):
        return super().extract(f"not {text}")


def refuse(_):
    raise ValueError("not today")


@hookimpl
def kdprobe_extractors():
    yield ExtractorSpec(name="shout", summary="Contains it", build=lambda _: Shout())
    yield ExtractorSpec(name="breaks", summary="Always raises", build=lambda _: Breaks())
    yield ExtractorSpec(name="unbuildable", summary="Cannot be built", build=refuse)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed plugin with three extractors."""
    (tmp_path / "shouting.py").write_text(PLUGIN, encoding="utf-8")
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[kdprobe]\nshouting = shouting\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def test_the_command_line_scores_under_the_extractors_of_plugins_too(plugin, folder, tmp_path):
    """Also that a failing plugin affects no other number; the dummy model writes "lol"."""
    from kdprobe.evaluation.protocol import task_folder

    run = [sys.executable, "-m", "lm_eval", "run", "--model", "dummy", "--include_path", str(task_folder())]
    out = tmp_path / "out"
    told = subprocess.run(
        [*run, "--tasks", "gsm8k_kdprobe_all_completion", "--limit", "2", "--log_samples", "--output_path", str(out)],
        env={**os.environ, "KDPROBE_GSM8K": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    (file,) = out.rglob("results_*.json")
    results = json.loads(file.read_text())["results"]
    assert set(results) == {"gsm8k_kdprobe_all_completion", *COMPLETION}
    for task in COMPLETION:
        assert [results[task][f"{metric},none"] for metric in METRICS] == [0, 0, 0, 0, 1]
        assert results[task]["exact_match_shout,none"] == 0
        assert results[task]["exact_match_breaks,none"] != results[task]["exact_match_breaks,none"]
        assert "exact_match_unbuildable,none" not in results[task]
    said = "'unbuildable' is skipped: The extractor 'unbuildable' could not be built: ValueError: not today."
    assert said in told.stderr + told.stdout


def test_a_chat_model_behind_an_api_needs_no_tokenizer(exam, problem_rows):
    """A real server, which must receive what it has to answer."""
    pytest.importorskip("tenacity", reason="lm-eval's API models need lm-eval[api]")
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            # An API may send no content at all, for one thing when a filter stepped in.
            content = None if "54 apples" in body["messages"][-1]["content"] else "#### 55"
            reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
            sent = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            results = exam(
                "local-chat-completions",
                CHAT,
                model_args={
                    "base_url": f"http://127.0.0.1:{server.server_port}/v1/chat/completions",
                    "model": "any",
                    "max_retries": 1,
                },
                apply_chat_template=True,
                fewshot_as_multiturn=True,
            )
        finally:
            server.shutdown()
    assert len(asked) == 4 * len(CHAT)
    assert {body["max_tokens"] for body in asked} == {512}
    assert {len(body["messages"]) for body in asked} == {1, 11, 17}
    questions = {row["question"] for row in problem_rows(50, 4)}
    assert {body["messages"][-1]["content"] for body in asked} == questions
    assert [results["results"][task]["exact_match,none"] for task in CHAT] == [0.25] * 3
    assert [results["results"][task]["no_answer,none"] for task in CHAT] == [0.25] * 3


def test_thinking_is_no_answer_in_plain_lm_eval(exam, replay):
    """The prompts open the thinking, which responses do not repeat; one response never ends it."""

    class Thinker(replay):
        tokenizer_name = "thinker"

        def chat_template(self, *_):
            return "thinks"

        def apply_chat_template(self, messages, add_generation_prompt=True):
            return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]<think>\n"

    texts = [
        "It is 55? #### 9\n</think>\n\n#### 55",
        "57, so #### 57",
        "<think>1</think>59",
        "9</think>The answer is 9.",
    ]
    results = exam(Thinker(texts), ["gsm8k_kdprobe"], apply_chat_template=True)
    scores = results["results"]["gsm8k_kdprobe"]
    assert [scores[f"{metric},none"] for metric in ("exact_match", "no_answer", "thinking", "unclosed_thinking")] == [
        0.5,
        0.25,
        1.0,
        0.25,
    ]
    assert scores["exact_match_strict,none"] == 0.25
    # What is logged says by itself where thinking begins.
    logged = [sample["resps"][0][0] for sample in results["samples"]["gsm8k_kdprobe"]]
    assert logged == [text if text.startswith("<think>") else f"<think>\n{text}" for text in texts]


def test_a_run_in_which_no_thinking_ends_is_warned_of(exam, replay, caplog):
    class Thinker(replay):
        tokenizer_name = "thinker"

        def chat_template(self, *_):
            return "thinks"

        def apply_chat_template(self, messages, add_generation_prompt=True):
            return "[assistant]<think>\n"

    results = exam(Thinker(["55", "57", "59", "61"]), ["gsm8k_kdprobe"], apply_chat_template=True)
    assert results["results"]["gsm8k_kdprobe"]["unclosed_thinking,none"] == 1.0
    assert "think_end_token" in caplog.text
