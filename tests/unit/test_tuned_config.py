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


@pytest.mark.parametrize(
    ("section", "left_out", "left"),
    [
        ('[teacher.options]\nmodel = "any"\napi_key = "{}"', "teacher.options.api_key", {"model": "any"}),
        ('[teacher]\noptions = { apiKey = "{}", model = "any" }', "teacher.options.apiKey", {"model": "any"}),
        (
            '[teacher.options]\nheaders = { Authorization = "Bearer {}", Accept = "all" }',
            "teacher.options.headers.Authorization",
            {"headers": {"Accept": "all"}},
        ),
        (
            '[teacher.options]\nbase_url = "https://me:{}@example.org/v1"  # mine',
            "teacher.options.base_url",
            {"base_url": "https://example.org/v1"},
        ),
    ],
)
def test_secrets_are_left_out_and_a_comment_says_where(section, left_out, left):
    secret = "correct-horse-battery"
    text = f"# Not {secret}, please.\n{section.replace('{}', secret)}\n"
    tuned = tuned_config(text, WANTED, "By hand.")
    assert secret not in tuned
    assert f"# Secrets are left out of {left_out}.\n" in tuned
    assert tomllib.loads(tuned)["teacher"]["options"] == left
    assert tuned.count("# mine") == text.count("# mine")


def test_secrets_in_lists_of_tables_are_left_out():
    text = '[[strategies]]\nname = "a"\noptions = { token = 3, password = "swordfish" }\n[[strategies]]\nname = "b"\n'
    tuned = tuned_config(text, {}, "Same.")
    assert tomllib.loads(tuned)["strategies"] == [{"name": "a", "options": {"token": 3}}, {"name": "b"}]
    assert "swordfish" not in tuned


def test_the_snippet_is_a_section_to_copy():
    assert tomllib.loads(options_snippet(WANTED)) == {"distill": {"options": WANTED}}
