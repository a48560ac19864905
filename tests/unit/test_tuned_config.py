import tomllib

import pytest

from kdprobe.experiment.tune.tuned_config import options_snippet, tuned_config

WANTED = {"epochs": 1, "temperature": 2.0, "lora": {"rank": 16, "alpha": 32.0}}
LAYOUTS = [
    "",
    "[distill]\n",
    '[distill]\nname = "logits"  # mine\n',
    "[distill]\noptions = { epochs = 1, beta = 0.3 }  # mine\n",
    "[distill]\noptions = { epochs = 1, lora = { rank = 8, dropout = 0.1 } }\n",
    "[distill.options]\nepochs = 1  # mine\nbeta = 0.3\n[distill.options.lora]\nrank = 8  # mine\n",
    "[distill]\noptions.epochs = 1\noptions.lora.rank = 8\n",
    "distill = { options = { epochs = 1 } }\n",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_options_are_replaced_however_they_are_written(layout):
    text = f'name = "x"  # the first\n{layout}\n# after\n[probe]\nproblems = 2\n'
    tuned = tuned_config(text, WANTED, "By hand.")
    data = tomllib.loads(tuned)
    assert data["distill"]["options"] == WANTED
    before = tomllib.loads(text)
    assert {key: value for key, value in data.items() if key != "distill"} == {
        key: value for key, value in before.items() if key != "distill"
    }
    assert data["distill"].get("name") == before.get("distill", {}).get("name")
    assert tuned.startswith("# By hand.\n")
    assert tuned.count("# mine") == text.count("# mine")
    assert "# the first" in tuned
    assert "# after" in tuned


def test_what_stays_the_same_is_not_written_anew():
    text = "[distill]\noptions = { learning_rate = 2e-3, temperature = 2 }\n"
    assert tuned_config(text, {"learning_rate": 0.002, "temperature": 2.0}, "Same.") == f"# Same.\n{text}"


def test_the_snippet_is_a_section_to_copy():
    assert tomllib.loads(options_snippet(WANTED)) == {"distill": {"options": WANTED}}
