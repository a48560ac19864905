"""Plain `lm_eval run`, with the clock set to the configured date, sends the same prompts as kdprobe's evaluation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from families import FAMILIES

from kdprobe.models.conversation import DEFAULT_DATE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompts_are_the_same(family, models, problem_files, run_cli, tmp_path):
    known = FAMILIES[family]
    told = [f"--template-argument={name}={json.dumps(value)}" for name, value in known.arguments.items()]
    command = ["eval", models(family), "--problems", problem_files[1], "--limit", 2, "--max-new-tokens", 3, *told]
    run_cli(*command, "--batch-size", 2, "--store", tmp_path / "store", "--out", tmp_path / "ours.jsonl", "--json")
    ours = [json.loads(line) for line in (tmp_path / "ours.jsonl").read_text().splitlines()]
    for part, file in zip(("train", "test"), problem_files, strict=True):
        shutil.copy(file, tmp_path / f"{part}.jsonl")
    task = ours[0]["conditions"]["task"]["name"]
    arguments = "".join(f",{name}={value}" for name, value in known.arguments.items())
    subprocess.run(
        [
            *(sys.executable, Path(__file__).with_name("lm_eval_on.py"), DEFAULT_DATE.isoformat(), "run"),
            *("--model", "hf", "--model_args", f"pretrained={models(family)},dtype=float32{arguments}"),
            *("--include_path", ROOT / "tasks", "--tasks", task, "--limit", "2", "--batch_size", "2"),
            *(["--apply_chat_template"] if known.template else []),
            *("--gen_kwargs", "max_gen_toks=3", "--device", "cpu", "--log_samples", "--output_path", tmp_path / "out"),
        ],
        env={**os.environ, "KDPROBE_GSM8K": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    theirs = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    assert [row["prompt_hash"] for row in theirs] == [row["prompt_hash"] for row in ours]
