"""How students are loaded and checked, with transformers in place of vLLM."""

import subprocess
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from kdprobe import KdprobeError
from kdprobe.models import load_model, resolve
from kdprobe.students import Student
from kdprobe.testing import host_with, write_random_adapter
from kdprobe_vllm import check, running


class Llm:
    """As much of `vllm.LLM` as is used; it refuses adapters of rank 4."""

    def __init__(self, weights):
        self._weights = weights
        self.model_config = SimpleNamespace(max_model_len=512)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: None))

    def generate(self, prompts, _parameters, *, use_tqdm, lora_request):
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        assert not use_tqdm
        model = AutoModelForCausalLM.from_pretrained(self._weights).eval()
        if lora_request is not None:
            if '"r": 4' in Path(lora_request.path, "adapter_config.json").read_text(encoding="utf-8"):
                raise ValueError("no rank 4")
            model = PeftModel.from_pretrained(model, lora_request.path).eval()
        outputs = []
        for prompt in prompts:
            ids = prompt["prompt_token_ids"]
            with torch.inference_mode():
                log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            rows = [{id_: SimpleNamespace(logprob=float(log_p[at, id_]))} for at, id_ in enumerate(ids[1:])]
            outputs.append(SimpleNamespace(prompt_token_ids=ids, prompt_logprobs=[None, *rows]))
        return outputs


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Puts the module in place of vLLM, and temporary files into a folder of their own."""
    from kdprobe_vllm import version

    request = ModuleType("vllm.lora.request")
    request.LoRARequest = lambda name, number, path: SimpleNamespace(name=name, number=number, path=path)
    vllm = ModuleType("vllm")
    vllm.__spec__ = ModuleSpec("vllm", None)
    vllm.SamplingParams = dict
    for name, module in (("vllm", vllm), ("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(version, "version", lambda _name: "0")
    monkeypatch.setattr(running, "_start", lambda arguments, *_others: Llm(arguments["model"]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


@pytest.fixture
def loaded_bases(monkeypatch):
    """The bases that are loaded to check students."""
    loaded = []

    def base(student, dtype, _bases):
        loaded.append(student.base)
        return load_model(student.base, dtype=dtype)

    monkeypatch.setattr(check, "_base", base)
    return loaded


def logs(folder):
    return [file.name for file in folder.iterdir() if file.suffix == ".log"]


def load(engine, model, adapter=None):
    return engine.load(Student("it", resolve(str(model)), adapter), dtype="float32", bases=None)


@pytest.mark.parametrize("adapters", ["auto", "lora", "merged"])
def test_a_base_is_loaded_once_for_each_student(adapters, installed, loaded_bases, tiny_model, tmp_path, capsys):
    engine = host_with("kdprobe_vllm").create("engines", "vllm", {"adapters": adapters})
    adapter = write_random_adapter(tiny_model, tmp_path / "adapter", r=2, size=0.3)
    student = load(engine, tiny_model, adapter)
    assert len(loaded_bases) == 1
    assert (student._adapter is None) == (adapters == "merged")
    load(engine, tiny_model)
    assert len(loaded_bases) == 2
    engine.close()
    assert [*installed.iterdir()] == []
    assert "it: merged" not in capsys.readouterr().err


def test_a_refused_adapter_is_compared_and_merged_and_leaves_no_log(
    installed, loaded_bases, tiny_model, tmp_path, capsys
):
    engine = host_with("kdprobe_vllm").create("engines", "vllm")
    adapter = write_random_adapter(tiny_model, tmp_path / "adapter", r=4, size=0.3)
    assert load(engine, tiny_model, adapter)._adapter is None
    assert "it: merged for vLLM, because vLLM refuses it as a LoRA request (no rank 4)." in capsys.readouterr().err
    assert len(loaded_bases) == 1
    assert len(logs(installed)) == 1, "that of the running vLLM"
    engine.close()
    assert [*installed.iterdir()] == []


def test_the_log_of_a_failure_that_is_shown_is_kept(installed, tiny_model, tmp_path):
    started = running.Running(tiny_model, tiny_model, dtype="float32", needs=None, options=None)
    adapter = write_random_adapter(tiny_model, tmp_path / "adapter", r=4)
    with pytest.raises(KdprobeError, match=r"vLLM failed: no rank 4\. Its log is ") as told:
        started.ask([[5, 6]], [{}], adapter)
    started.close()
    (log,) = logs(installed)
    assert log in str(told.value)


def test_unused_gpu_memory_is_released_before_vllm_takes_its_share(monkeypatch, tiny_model):
    import torch

    from kdprobe_vllm.lora import NO_LORA
    from kdprobe_vllm.options import VllmOptions

    steps = []
    vllm = ModuleType("vllm")
    vllm.LLM = lambda **_arguments: steps.append("start")
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: steps.append("release"))
    running._start({"model": str(tiny_model)}, NO_LORA, VllmOptions())
    assert steps == ["release", "start"]


PARENT = """
import multiprocessing, os, sys, time
from kdprobe_vllm.lifetime import KDPROBE, end_with_parent

def work(ready):
    end_with_parent()
    ready.send(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    os.environ[KDPROBE] = str(os.getpid())
    end_with_parent()
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe()
    context.Process(target=work, args=[writer], daemon=True).start()
    print(reader.recv(), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends processes with their parent, others do not")
def test_a_process_that_kdprobe_started_ends_with_it(tmp_path):
    import psutil

    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    source = str(Path(running.__file__).parents[1])
    environment = {"PYTHONPATH": ":".join([source, *sys.path])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            child = psutil.Process(int(parent.stdout.readline()))
        finally:
            parent.kill()
    psutil.wait_procs([child], timeout=60)
    ended = not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    if not ended:
        child.kill()
    assert ended
