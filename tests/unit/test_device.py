"""What models run on, determined without torch if possible."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kdprobe.models.outline import device


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from typing import Optional\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("cuda = '12.8'\nhip = None\n", True),
        ("cuda = None\nhip = '6.4'\n", True),
        ("cuda = None\n", True),
        ("import nowhere\n", True),
        ("cuda =\n", True),
    ],
)
def test_whether_torch_may_find_a_gpu_is_read_from_its_version(tmp_path, monkeypatch, text, expected):
    (tmp_path / "version.py").write_text(text)
    monkeypatch.setattr(device, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert device._built_for_gpus() is expected
    (tmp_path / "version.py").unlink()
    assert device._built_for_gpus()


def test_the_device_is_what_torch_says(torch):
    assert device.default_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device._built_for_gpus() or not torch.cuda.is_available()


def test_the_threads_are_torchs_unless_they_are_known(torch):
    with device.threads_known_by(lambda: torch.get_num_threads() + 3):
        assert device.thread_count() == torch.get_num_threads() + 3
    assert device.thread_count() == torch.get_num_threads()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says which processors a process may use")
def test_what_determines_the_threads_is_told_apart(monkeypatch):
    before = device.threads_inputs()
    assert before == device.threads_inputs()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT", "KMP_AFFINITY"):
        with monkeypatch.context() as changed:
            changed.setenv(variable, "77")
            assert device.threads_inputs() != before
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {977})
    assert device.threads_inputs() != before
    monkeypatch.setattr(device, "_BOOT", device._BOOT.with_name("nowhere"))
    assert device.threads_inputs() is None


def test_nothing_of_this_imports_torch_for_a_processor():
    script = (
        "import sys\n"
        "from kdprobe.models.installed import version\n"
        "from kdprobe.models.outline.device import _built_for_gpus, default_device, threads_inputs\n"
        "threads_inputs(), version('torch')\n"
        "if not _built_for_gpus(): default_device(); print('torch' in sys.modules)\n"
        "else: print(False)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
