"""A plugin that is merely installed changes nothing: its changes to the process on loading are undone."""

import decimal
import json
import locale
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import warnings

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.host.candidates import folder_candidates
from kdprobe.host.choice import Choice
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host
from kdprobe.host.state.process import PARTS, changed, read_state

OFFER = """
from kdprobe import PromptPair, StrategySpec, hookimpl

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="quiet", summary="Changes nothing", build=lambda options: None)
"""
CHANGES = {
    "the environment (KDPROBE_OF_A_PLUGIN)": "import os; os.environ['KDPROBE_OF_A_PLUGIN'] = '1'",
    "the environment (HOME)": "import os; os.environ.pop('HOME')",
    "sys.path": "import sys; sys.path.insert(0, '/nowhere')",
    "the working directory": "import os; os.chdir('/')",
    "the locale": "import locale; locale.setlocale(locale.LC_NUMERIC, OTHER_LOCALE)",
    "the warning filters": "import warnings; warnings.simplefilter('ignore')",
    "how warnings are shown": "import warnings; warnings.showwarning = print",
    "logging": "import logging; logging.disable(50)",
    "logging ": "import logging; logging.basicConfig(level=10, force=True)",
    "logging  ": "import logging; logging.getLogger().addHandler(logging.NullHandler())",
    "the signal handlers": "import signal; signal.signal(signal.SIGTERM, print)",
    "the recursion limit": "import sys; sys.setrecursionlimit(5000)",
    "Python's random state": "import random; random.seed(8675309)",
    "decimal's precision": "import decimal; decimal.getcontext().prec = 5",
    "the default socket timeout": "import socket; socket.setdefaulttimeout(5)",
    "NumPy's random state": "import numpy; numpy.random.seed(8675309)",
    "NumPy's error handling": "import numpy; numpy.seterr(all='ignore')",
    "torch's default dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "torch's default device": "import torch; torch.set_default_device('meta')",
    "torch's deterministic algorithms": "import torch; torch.use_deterministic_algorithms(True)",
    "torch's deterministic algorithms ": "import torch; torch.use_deterministic_algorithms(True, warn_only=True)",
    "torch's backend flags": "import torch; torch.backends.cudnn.benchmark = True",
    "torch's backend flags ": "import torch; torch.backends.mkldnn.enabled = False",
    "torch's matrix multiplication precision, torch's backend flags": (
        "import torch; torch.backends.fp32_precision = 'tf32'"
    ),
    "torch's matrix multiplication precision, torch's backend flags ": (
        "import torch; torch.set_float32_matmul_precision('high')"
    ),
    "torch's matrix multiplication precision, torch's backend flags  ": (
        "import torch; torch.backends.cuda.matmul.allow_tf32 = True"
    ),
    "torch's attention implementations": "import torch; torch.backends.cuda.enable_flash_sdp(False)",
    "torch's number of threads": "import torch; torch.set_num_threads(torch.get_num_threads() + 1)",
    "torch's gradient mode": "import torch; torch.set_grad_enabled(False)",
    "torch's random state": "import torch; torch.manual_seed(8675309)",
    "torch's random state ": "import torch; torch.rand(1)",
}


def write(folder, code, offer=OFFER):
    (folder / "loud.py").write_text(f"{code}\n{offer}")
    return folder


def read_all():
    """The state if every library that has one is loaded."""
    import numpy.random  # noqa: F401
    import torch

    # This imports more of torch.
    torch.use_deterministic_algorithms(True)
    torch.use_deterministic_algorithms(False)
    assert all((decimal, socket, locale, logging, signal, random, warnings))
    assert read_state().keys() == PARTS.keys()
    return read_state()


@pytest.mark.parametrize(("what", "code"), CHANGES.items(), ids=[name.strip() for name in CHANGES])
@pytest.mark.parametrize("where", ["import", "hook"])
def test_what_a_plugin_changes_is_undone_and_named(what, code, where, tmp_path, capsys):
    before = read_all()
    other = "C.UTF-8" if locale.setlocale(locale.LC_NUMERIC) == "C" else "C"
    code = code.replace("OTHER_LOCALE", repr(other))
    offer = OFFER
    if where == "hook":
        offer, code = OFFER.replace("    yield", f"    {code}\n    yield"), ""
    (provider,) = discover(folder_candidates(write(tmp_path, code, offer)))
    assert changed(before, read_state()) == []
    assert provider.status == "ok", provider.reason
    assert ", ".join(provider.undone) == what.strip()
    Host([provider], Choice())
    told = capsys.readouterr().err
    assert f"Loading the plugin loud ({tmp_path / 'loud.py'}) changed {what.strip()}; the change was undone" in told


def test_there_is_a_case_for_every_part():
    assert {name.partition(" (")[0].strip() for name in CHANGES} >= PARTS.keys() - {
        "torch's backend flags",
        "torch's matrix multiplication precision",
    }


def test_a_broken_plugin_changes_nothing_either(tmp_path):
    before = read_all()
    (provider,) = discover(
        folder_candidates(write(tmp_path, "import random\nrandom.seed(8675309)\nraise ValueError('no')"))
    )
    assert (provider.status, provider.undone) == ("broken", ("Python's random state",))
    assert changed(before, read_state()) == []


def test_what_cannot_be_undone_is_an_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    with pytest.raises(
        KdprobeError, match="The plugin loud changed the working directory, and the change cannot be undone"
    ):
        discover(folder_candidates(write(tmp_path, f"import os; os.chdir('/'); os.rmdir({str(gone)!r})")))


def test_a_quiet_plugin_is_not_named(tmp_path, capsys):
    host = Host(discover(folder_candidates(write(tmp_path, ""))), Choice())
    assert host.providers[0].undone == ()
    assert capsys.readouterr().err == ""


AFTER = """
import json, random, sys, warnings
before = random.getstate()
assert "torch" not in sys.modules and "numpy" not in sys.modules
from pathlib import Path
from kdprobe.host.candidates import folder_candidates
from kdprobe.host.discovery import discover
(provider,) = discover(folder_candidates(Path(sys.argv[1])))
quiet = "torch" not in sys.modules
import numpy, torch
print(json.dumps({
    "quiet": quiet, "undone": provider.undone, "reason": provider.reason, "dtype": str(torch.get_default_dtype()),
    "threads": torch.get_num_threads(), "seed": torch.initial_seed(), "random": random.getstate() == before,
    "deterministic": torch.are_deterministic_algorithms_enabled(), "drawn": numpy.random.get_state()[1][:2].tolist(),
    "filtered": any(entry[:3] == ("ignore", None, Warning) for entry in warnings.filters),
    "numpy": any("numpy.dtype size changed" in str(entry[1]) for entry in warnings.filters),
}))
"""


def alone(folder, code):
    """The changes that a plugin leaves in a process in which neither torch nor NumPy was loaded before."""
    write(folder, textwrap.dedent(code))
    command = [sys.executable, "-W", "default", "-c", AFTER, str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)


def test_torch_is_not_imported_to_look_at_it(tmp_path):
    told = alone(tmp_path, "import random; random.seed(8675309)")
    assert told["quiet"]
    assert (told["undone"], told["random"]) == (["Python's random state"], True)


def test_what_is_changed_by_the_one_who_imports_torch_first_is_undone_too(tmp_path):
    told = alone(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore")
        import numpy, torch
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(7)
        numpy.random.seed(1234)
        """,
    )
    assert not told["quiet"]
    assert sorted(told["undone"]) == [
        "NumPy's random state",
        "the warning filters",
        "torch's default dtype",
        "torch's deterministic algorithms",
        "torch's number of threads",
        "torch's random state",
    ]
    assert (told["dtype"], told["threads"], told["deterministic"]) == ("torch.float32", 1, False)
    assert told["seed"] != 7
    # What NumPy itself does to the filters stays, as if kdprobe had imported it first.
    assert (told["filtered"], told["numpy"]) == (False, True)


def test_to_import_what_kdprobe_imports_is_no_change(tmp_path):
    told = alone(tmp_path, "import torch, transformers, pandas, peft")
    assert (told["undone"], told["reason"]) == ([], "")


def test_the_command_names_it(tmp_path, run_cli):
    write(tmp_path, "import random; random.seed(8675309)")
    rows = json.loads(run_cli("plugins", "--json", "--plugins-dir", tmp_path))
    assert {row["name"]: row["undone"] for row in rows if row["undone"]} == {"loud": ["Python's random state"]}
    for shown in (
        run_cli("plugins", "--plugins-dir", tmp_path),
        run_cli("plugins", "loud", "--plugins-dir", tmp_path),
    ):
        assert "changed Python's random state; the change was undone." in " ".join(shown.split())
