"""An evaluation whose process is killed loses only its current batch."""

import json
import subprocess
import sys
import time


def records(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_process_that_is_killed_outright_loses_the_batch_that_it_was_in(tiny_model, problem_files, tmp_path):
    def command(store):
        told = ["eval", tiny_model, "--problems", problem_files[1], "--max-new-tokens", 300, "--batch-size", 1]
        told += ["--store", store, "--out", store.with_suffix(".jsonl")]
        return [sys.executable, "-m", "kdprobe", *map(str, told)]

    killed = subprocess.Popen(command(tmp_path / "killed"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    kept = []
    while not kept or kept[0].read_bytes().count(b"\n") < 3:
        assert killed.poll() is None, killed.stderr.read()
        kept = list((tmp_path / "killed" / "making").glob("*.scratch/answers.jsonl"))
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    there = kept[0].read_bytes().count(b"\n") - 1
    assert there < 6
    told = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True, check=True).stderr
    assert f"{there} of 6 answers already saved" in told
    subprocess.run(command(tmp_path / "whole"), capture_output=True, check=True)
    assert records(tmp_path / "killed.jsonl") == records(tmp_path / "whole.jsonl")
