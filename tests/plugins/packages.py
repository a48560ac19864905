"""The packages in plugins/ at work, once they are installed: `python packages.py CHECKOUT FOLDER`.

Called by `.ci/plugins`. Each is listed with what it provides, every example can be planned, and two experiments on the
tiny model run with strategies, teacher, distiller, problems, analyses, head metric and observer of third parties.
"""

import json
import subprocess
import sys
from pathlib import Path

from kdprobe.host.packages import PACKAGES
from kdprobe.models.load import load_tokenizer
from kdprobe.models.reference import resolve
from kdprobe.testing.models import write_tiny_model

OBSERVES = "kdprobe-trackers"
FULL_SIZE = {"llama-405b", "rehearsal"}
"""Examples that need GSM8K and models beside them; `test_full_size.py` plans them."""


def main(checkout, folder):
    check_listed()
    for example in sorted((checkout / "examples").glob("*.toml")):
        if example.stem in FULL_SIZE:
            continue
        kdprobe(folder, "plan", str(example))
        print(f"{example.name} can be planned")
    model = write_tiny_model(folder / "tiny")
    check_served_experiment(checkout, folder, model)
    check_on_policy_experiment(folder, model)


def check_listed():
    """Every package is loaded, and provides what kdprobe claims in its error messages."""
    listed = {
        plugin["source"]: plugin
        for plugin in json.loads(kdprobe(Path.cwd(), "plugins", "--json"))
        if plugin["source"] != "builtin"
    }
    assert set(listed) == {*PACKAGES, OBSERVES}, sorted(listed)
    for package, plugin in listed.items():
        assert plugin["status"] == "ok", plugin
        provided = {kind: set(names) for kind, names in plugin["provides"].items()}
        assert provided == {kind: set(names) for kind, names in PACKAGES.get(package, {}).items()}, package
    assert listed[OBSERVES]["observes"]
    print(f"{len(listed)} packages are listed")


def check_served_experiment(checkout, folder, model):
    """Strategies, a teacher behind a server, log-probabilities over HTTP, and analyses of weights and patterns."""
    sys.path.insert(0, str(checkout / "plugins" / "kdprobe-openai" / "tests"))
    from served import ServedModel, serving

    with serving(ServedModel(load_tokenizer(resolve(str(model))))) as server:
        config = config_file(
            folder,
            name="served",
            model=model,
            strategies='["none", "step-back", { name = "rationalise", options = { show = "solution" } }]',
            teacher=f"""
name = "openai"
options = {{ base_url = "{server.url}", model = "any", tokenizer = "{model}", log_probabilities = "required" }}
""",
            distill="""
name = "logits"
options = { epochs = 1, batch_size = 2, learning_rate = 1e-2 }
""",
        )
        told = json.loads(kdprobe(folder, "run", str(config), "--store", str(folder / "store"), "--json"))
        asked = [body["messages"][-1]["content"] for _, _, body in server.asked]
        assert sum("Take a step back first" in question for question in asked) == 4, asked
        assert sum("The correct answer is known" in question for question in asked) == 4, asked
        again = len(server.asked)
        kdprobe(folder, "run", str(config), "--store", str(folder / "store"), "--json")
        assert len(server.asked) == again, "a run that is there asked the teacher again"
    run = folder / "store" / "runs" / told["run"]
    record = json.loads((run / "run.json").read_text())
    for place in ("strategies/step-back", "teachers/openai", "analyses/ov-copying", "problem-sources/stories"):
        assert record["plugins"][place]["version"] == "0.1.0", place
    page = (run / "report.html").read_text()
    for shown in ("OV copying score", "Successor score", "(attention rollout)", "step-back"):
        assert shown in page, shown
    assert_tracked(folder, told["run"], {"unprimed", "step-back", "rationalise", "untrained", "fine-tuned"})
    print("the experiment with a served teacher ran, and its report shows what plugins found")


def check_on_policy_experiment(folder, model):
    """TRL's trainer under kdprobe's evaluation."""
    config = config_file(
        folder,
        name="on-policy",
        model=model,
        strategies='["none", "plan-and-solve"]',
        teacher=f"""
options = {{ model = "{model}" }}
""",
        distill="""
name = "trl-on-policy"
options = { batch_size = 2, learning_rate = 1e-2, max_new_tokens = 6 }
""",
    )
    told = json.loads(kdprobe(folder, "run", str(config), "--store", str(folder / "store"), "--json"))
    record = json.loads((folder / "store" / "runs" / told["run"] / "run.json").read_text())
    assert record["plugins"]["distillers/trl-on-policy"]["plugin"] == "trl"
    assert all(arm["transfer"] is None for arm in record["arms"])
    print("the on-policy experiment ran")


def config_file(folder, *, name, model, strategies, teacher, distill):
    file = folder / f"{name}.toml"
    file.write_text(
        f"""
name = "{name}"
strategies = {strategies}
[resources]
threads = 1
[problems]
source = "stories"
options = {{ steps = 1, largest = 20 }}
transfer = 4
test = 4
[student]
model = "{model}"
[teacher]{teacher}[transfer]
max_new_tokens = 64
top_logprobs = 8
[distill]{distill}[controls]
fine_tune_options = {{ epochs = 1, batch_size = 2, learning_rate = 1e-2 }}
[evaluation]
max_new_tokens = 8
batch_size = 4
[probe]
problems = 2
batch_size = 2
analyses = ["heads", "ov-copying", "successor-heads"]
""",
        encoding="utf-8",
    )
    return file


def assert_tracked(folder, run, arms):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("kdprobe").experiment_id])
    (told,) = [one for one in found if one.info.run_name == run]
    assert set(told.data.metrics) == {f"accuracy/{arm}" for arm in arms}


def kdprobe(folder, *words):
    """Runs the installed command in a folder; returns what it printed to stdout."""
    command = [sys.executable, "-m", "kdprobe", *words]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"kdprobe {' '.join(words)} exited with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
