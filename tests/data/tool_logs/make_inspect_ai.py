"""Writes small logs of inspect_ai with its mock model. It needs `pip install inspect_ai`, but no network and no model.

Usage: python make_inspect_ai.py FOLDER
"""

import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.scorer import Score, accuracy, choice, exact, f1, match, mean, scorer
from inspect_ai.solver import generate, multiple_choice, solver, system_message

SUMS = [(3, 4), (10, 5), (6, 6), (20, 1)]
RIGHT = [f"We add {a} and {b}, so the answer is {a + b}" for a, b in SUMS]
HALF = [RIGHT[0], "The answer is 16", RIGHT[2], "The answer is 22"]


@scorer(metrics=[mean()])
def length():
    async def score(state, target):
        return Score(value=len(state.output.completion))

    return score


@scorer(metrics={"right": [accuracy()], "brief": [mean()]})
def both():
    async def score(state, target):
        text = state.output.completion
        return Score(value={"brief": len(text) < 30, "right": "C" if text == target.text else "I"})

    return score


@scorer(metrics=[accuracy()])
def marked(marks):
    async def score(state, target):
        mark = marks[state.sample_id - 1]
        return Score.unscored(reason="no grade") if mark is None else Score(value=mark)

    return score


@solver
def failing(number):
    async def solve(state, generate):
        if state.sample_id == number:
            raise RuntimeError("the tool crashed")
        return state

    return solve


def sums():
    return [
        Sample(id=number, input=f"How many apples are {a} apples and {b} apples?", target=str(a + b))
        for number, (a, b) in enumerate(SUMS, start=1)
    ]


def said(content, stop="stop"):
    output = ModelOutput.from_content("mockllm/model", content, stop_reason=stop)
    output.usage = ModelUsage(input_tokens=20, output_tokens=9, total_tokens=29)
    return output


CHOICES = [
    Sample(id="fruit", input="Which is a fruit?", choices=["stone", "apple", "car"], target="B"),
    Sample(id="colour", input="Which is a colour?", choices=["blue", "seven", "dog"], target="A"),
    Sample(
        id="a/number",
        input=[ChatMessageSystem(content="Choose."), ChatMessageUser(content="Which are numbers?")],
        choices=["one", "two", "tree"],
        target=["A", "B"],
    ),
]
WORDS = [
    Sample(id=1, input="Name the capital of France", target=["Paris", "paris"]),
    Sample(id=2, input="Name the capital of Peru", target="Lima"),
    Sample(id=3, input="Name the capital of Mali", target="Bamako"),
]
NAMED = ["Paris", "Quito", "Bamako"]
THOUGHTS = [
    said([ContentReasoning(reasoning="3 and 4, that is 8? No, 7."), ContentText(text="The answer is 7")]),
    said("Let me add them: 10 and", "max_tokens"),
    *RIGHT[2:],
]


def main(folder):
    def write(name, task, answers, formats=("eval",), **options):
        outputs = [said(answer) if isinstance(answer, str) else answer for answer in answers]
        model = get_model("mockllm/model", custom_outputs=outputs)
        with tempfile.TemporaryDirectory() as scratch:
            options |= {"log_dir": scratch, "display": "none", "max_connections": 1, "max_samples": 1}
            log = read_eval_log(inspect_ai.eval(task, model=model, **options)[0].location)
        # Without the transcript, a log is a tenth of its size; tracebacks have paths of the machine.
        log.eval.model_args = {}
        for sample in log.samples:
            sample.events, sample.events_data = [], None
            if sample.error:
                sample.error.traceback = sample.error.traceback_ansi = ""
        if log.error:
            log.error.traceback = log.error.traceback_ansi = ""
        for ending in formats:
            write_eval_log(log, str(folder / f"{name}.{ending}"), format=ending)

    def of_sums(solvers=None, scorers=None, **more):
        scorers = scorers or [match(numeric=True)]
        return inspect_ai.Task(name="sums", dataset=sums(), solver=solvers or [generate()], scorer=scorers, **more)

    config = GenerateConfig(temperature=0.5, max_tokens=64)
    told = of_sums([system_message("Answer briefly."), generate()], [length(), match(numeric=True)], config=config)
    write("sums", told, HALF, ("eval", "json"))
    write("epochs", of_sums(epochs=inspect_ai.Epochs(3, "mean")), [*RIGHT, *HALF, *HALF])
    write("thinking", of_sums(), THOUGHTS)
    chosen = inspect_ai.Task(
        name="choices", dataset=CHOICES, solver=multiple_choice(multiple_correct=True), scorer=choice()
    )
    write("choices", chosen, ["ANSWER: B", "ANSWER: B", "ANSWER: A, B"])
    for name, scorers in {"words": [f1(), exact(), both()], "partly": [marked("CPN")]}.items():
        write(name, inspect_ai.Task(name="words", dataset=WORDS, solver=generate(), scorer=scorers), NAMED)
    write("ungraded", of_sums(scorers=[marked(["C", "I", None, "C"])]), RIGHT)
    write("unscored", of_sums(), RIGHT, score=False)
    write("errors", of_sums([failing(2), generate()]), [RIGHT[0], *RIGHT[2:]], fail_on_error=False)
    write("failed", of_sums([failing(3), generate()]), RIGHT)
    write("nothing", of_sums([failing(1), generate()]), RIGHT)
    # What is on disk when an evaluation is killed: neither the header nor the summaries.
    whole = ZipFile(folder / "sums.eval")
    with ZipFile(folder / "killed.eval", "w", whole.infolist()[0].compress_type) as cut:
        for name in whole.namelist():
            if name == "_journal/start.json" or name.startswith(("samples/1_", "samples/2_")):
                cut.writestr(name, whole.read(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
