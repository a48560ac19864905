"""Writes small details of lighteval with a model that returns given answers.

It needs `pip install lighteval`, but no network and no model.

Usage: python make_lighteval.py FOLDER
"""

import json
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.metrics.metrics import Metrics
from lighteval.models.dummy.dummy_model import DummyModel, DummyModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

SUMS = [(3, 4), (10, 5), (6, 6), (20, 1)]
ROWS = [
    {
        "question": f"How many apples are {a} apples and {b} apples?",
        "answer": f"{a} + {b} = {a + b}\n#### {a + b}",
        "choices": ["stone", str(a + b), "car"],
    }
    for a, b in SUMS
]
THOUGHT = "<think>3 and 4, that is 8? No, 7.</think>The answer is 7"
TEXTS = [[THOUGHT], ["Let me add them: 10 and"], ["The answer is 12"], ["The answer is 22"]]
SAMPLES = [["#### 7", "#### 8"], ["#### 15", "#### 15"], ["#### 1", "#### 12"], ["#### 22", "#### 23"]]


class Told(DummyModel):
    def greedy_until(self, docs):
        texts = [(TEXTS if doc.num_samples == 1 else SAMPLES)[int(doc.id)] for doc in docs]
        return [
            ModelResponse(input=doc.query, input_tokens=[1, 2], text=said, output_tokens=[[1, 2, 3]] * doc.num_samples)
            for doc, said in zip(docs, texts, strict=True)
        ]

    def loglikelihood(self, docs):
        return [
            ModelResponse(
                input=doc.query,
                input_tokens=[1, 2],
                logprobs=[-2.0, -1.0, -3.0 if int(doc.id) else -0.5],
                argmax_logits_eq_gold=[False] * 3,
                output_tokens=[[1]] * 3,
            )
            for doc in docs
        ]


def written(line, task_name=None):
    return Doc(task_name=task_name, query=line["question"], choices=[line["answer"]], gold_index=0)


def chosen(line, task_name=None):
    return Doc(task_name=task_name, query=line["question"], choices=line["choices"], gold_index=1)


def task(name, prompt, *metrics):
    return LightevalTaskConfig(
        name=name,
        prompt_function=prompt,
        hf_repo=str(DATA),
        hf_subset="default",
        hf_avail_splits=["train"],
        evaluation_splits=["train"],
        generation_size=16,
        stop_sequence=[],
        metrics=list(metrics),
    )


DATA = Path(tempfile.mkdtemp())
(DATA / "train.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
TASKS_TABLE = [
    task("sums", written, Metrics.expr_gold_metric),
    task("choices", chosen, Metrics.loglikelihood_acc),
    task("mixed", chosen, Metrics.exact_match, Metrics.loglikelihood_acc),
    task("samples", written, Metrics.avg_at_n_math(sample_params={"n": 2})),
]

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parameters = PipelineParameters(launcher_type=ParallelismManager.NONE, custom_tasks_directory=__file__)
    for each in TASKS_TABLE:
        with tempfile.TemporaryDirectory() as scratch:
            tracker = EvaluationTracker(output_dir=scratch, save_details=True)
            pipeline = Pipeline(f"{each.name}|0", parameters, tracker, model=Told(DummyModelConfig(model_name="told")))
            pipeline.evaluate()
            pipeline.save_and_push_results()
            (details,) = Path(scratch).glob("details/**/*.parquet")
            # Without statistics and schemas of libraries, a file is a third of its size.
            table = pq.read_table(details).replace_schema_metadata(None)
            pq.write_table(table, folder / f"lighteval_{each.name}.parquet", write_statistics=False, store_schema=False)
