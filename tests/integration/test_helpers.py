"""What helping processes say is what is said here; whatever goes wrong there, or causes a warning, is done here."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, signal, sys
from kdprobe.console.messages import listening, warn
from kdprobe.errors import KdprobeError
from kdprobe.models.outline.blueprint import blueprint, modules
from kdprobe.models.outline.helpers import helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.reader import Reader
from kdprobe.models.reference import resolve

def imported(_tokenizer=None):
    return sorted({"torch", "transformers"} & sys.modules.keys())

def refuse(_tokenizer):
    raise KdprobeError("What is wrong.", "What to do.")

def interrupted(_tokenizer):
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()

def warn_everywhere(_tokenizer):
    warn("Look out.")
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

def examined(*helping):
    about, listed = blueprint(record, Memory(), *helping), modules(record, Memory(), *helping)
    return [about.kind, about.context, about.rows, listed.linear, listed.attention, listed.headless]

with helpers() as process:
    process.with_torch.start()
    reader = Reader(record, Memory(), helpers=process)
    found = {"there": said(reader), "examined there": examined(process)}
    found["imported there"] = [process.ask(imported, [reader]), process.with_torch.call(imported)]
    found["imported here"] = imported()
    found["interrupted there"] = process.ask(interrupted, [reader]) != here
    with listening(shown=True) as warnings:
        found["warned here"] = [process.ask(warn_everywhere, [reader]) == here, warnings]
    for function in (refuse, fail_there, die_there):
        try:
            found[function.__name__] = process.ask(function, [reader], *([] if function is refuse else [here]))
        except KdprobeError as error:
            found[function.__name__] = [error.message, error.hint]
    found["after"] = reader.texts([[{"role": "user", "content": "Still?"}]])
plain = Reader(record, Memory())
found["here"] = said(plain)
found["examined here"] = examined()
found["still"] = plain.texts([[{"role": "user", "content": "Still?"}]])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a process cannot be forked safely")
def test_helping_processes_say_the_same_and_their_faults_cost_only_time(tiny_model):
    command = [sys.executable, "-c", SCRIPT, tiny_model]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    found = json.loads(done.stdout)
    assert found["imported there"] == [["transformers"], ["torch", "transformers"]]
    assert found["imported here"] == []
    # Ctrl-C reaches every process of a terminal; the plan's own process answers it.
    assert found["interrupted there"]
    assert found["there"] == found["here"]
    assert found["examined there"] == found["examined here"]
    assert found["warned here"] == [True, ["Look out."]]
    assert done.stderr.count("Look out.") == 1
    assert found["there"]["long"]
    assert len(found["there"]["beyond"]) <= 3
    assert found["refuse"] == ["What is wrong.", "What to do."]
    assert found["fail_there"] == found["die_there"] == found["there"]["size"]
    assert found["after"] == found["still"]
    assert "PyTorch" not in done.stderr
