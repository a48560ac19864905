"""Tokenizers in a process without torch say what they say here; whatever goes wrong there is done here."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, signal, sys
from kdprobe.errors import KdprobeError
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.reader import Reader
from kdprobe.models.outline.tokenizer_process import tokenizer_process
from kdprobe.models.reference import resolve

def imported(_tokenizer):
    return sorted({"torch", "transformers"} & sys.modules.keys())

def refuse(_tokenizer):
    raise KdprobeError("What is wrong.", "What to do.")

def interrupted(_tokenizer):
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()

def fail_there(tokenizer, here):
    if os.getpid() != here:
        raise RuntimeError("torch is missing")
    return len(tokenizer)

def die_there(tokenizer, here):
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(tokenizer)

record, here = resolve(sys.argv[1]), os.getpid()
asked = [[{"role": "user", "content": f"Ünd {number}?"}] for number in range(300)]

def said(reader):
    return {
        "texts": reader.texts(asked),
        "prompts": reader.prompts(asked),
        "long": reader.too_long({str(number): one for number, one in enumerate(asked)}, 12),
        "vocabulary": [reader.vocabulary.end, reader.vocabulary.end_text, reader.vocabulary.pads],
        "size": reader.size,
        "beyond": reader.without_rows(reader.size - 3, asked),
    }

with tokenizer_process() as process:
    reader = Reader(record, Memory(), process=process)
    found = {"there": said(reader), "imported there": process.ask(imported, [reader])}
    found["imported here"] = imported(None)
    found["interrupted there"] = process.ask(interrupted, [reader]) != here
    for function in (refuse, fail_there, die_there):
        try:
            found[function.__name__] = process.ask(function, [reader], *([] if function is refuse else [here]))
        except KdprobeError as error:
            found[function.__name__] = [error.message, error.hint]
    found["after"] = reader.texts([[{"role": "user", "content": "Still?"}]])
plain = Reader(record, Memory())
found["here"] = said(plain)
found["still"] = plain.texts([[{"role": "user", "content": "Still?"}]])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a process cannot be forked safely")
def test_a_process_without_torch_says_the_same_and_its_faults_cost_only_time(tiny_model):
    command = [sys.executable, "-c", SCRIPT, tiny_model]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    found = json.loads(done.stdout)
    assert found["imported there"] == ["transformers"]
    assert found["imported here"] == []
    # Ctrl-C reaches every process of a terminal; the plan's own process answers it.
    assert found["interrupted there"]
    assert found["there"] == found["here"]
    assert found["there"]["long"]
    assert len(found["there"]["beyond"]) <= 3
    assert found["refuse"] == ["What is wrong.", "What to do."]
    assert found["fail_there"] == found["die_there"] == found["there"]["size"]
    assert found["after"] == found["still"]
    assert "PyTorch" not in done.stderr
