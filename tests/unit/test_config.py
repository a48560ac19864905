import copy
import tomllib

import pytest

from kdprobe.errors import ConfigError, UsageError
from kdprobe.experiment.config import ALL_STRATEGIES, check, load_experiment
from kdprobe.host.registry import Host

DATA = {
    "name": "mine",
    "strategies": ["none", "teacher"],
    "problems": {"source": "jsonl", "options": {"transfer": "a", "test": "b"}, "transfer": 4, "test": 4},
    "teacher": {"options": {"model": "somewhere"}},
}


@pytest.fixture(scope="module")
def host():
    return Host()


def mistakes(host, **changes):
    with pytest.raises(ConfigError) as caught:
        check({**copy.deepcopy(DATA), **changes}, host, "mine.toml")
    return caught.value.mistakes


def test_embedded_config_is_valid(host):
    experiment = load_experiment(None, host)
    assert [strategy.name for strategy in experiment.strategies] == ["none", "ground-truth"]


def test_full_takes_all_strategies_under_another_name(host):
    experiment = load_experiment(None, host, full=True)
    assert [strategy.name for strategy in experiment.strategies] == ALL_STRATEGIES
    assert experiment.name == "embedded-full"


def test_a_strategy_may_be_a_name_or_a_table(host):
    own = {"name": "template", "label": "polite", "options": {"text": "Please: {question}"}}
    experiment = check({**DATA, "strategies": ["none", own]}, host, "mine.toml")
    assert [strategy.arm for strategy in experiment.strategies] == ["none", "polite"]


def test_all_mistakes_are_told_at_once(host):
    told = mistakes(host, transfer={"top_p": 7}, strategies=["none", "techer"], distill={"options": {"alpha": 3}})
    assert len(told) == 3
    assert any(sentence.startswith("transfer.top_p:") for sentence in told)
    assert any(sentence.startswith("distill.options.alpha:") for sentence in told)
    assert any("no strategy named 'techer'" in sentence for sentence in told)


def test_one_mistake_does_not_hide_another(host):
    told = mistakes(
        host,
        problems={"source": "jsnl", "transfer": "two", "test": 4},
        strategies=["none", "none", {"name": "template", "options": {"txt": "x"}}],
        controls={"fine_tune_options": {"epochs": 0}},
        seeds=[0, 0],
        probe=3,
    )
    for words in (
        "problems.transfer: ",
        "problems.source: There is no problem source named 'jsnl'",
        "'none' occurs twice",
        "strategies.template.options.text: is missing",
        "strategies.template.options.txt: is not known",
        "controls.fine_tune_options.epochs: ",
        "seeds: 0 occurs twice",
        "probe: must be a table (got 3)",
    ):
        assert any(sentence.startswith(words) or words in sentence for sentence in told), words
    assert len(told) == 8


@pytest.mark.parametrize("section", ["problems", "student", "teacher", "distill", "controls", "probe"])
@pytest.mark.parametrize("value", [3, [], "x", None, {"options": 3}, {"name": 3}])
def test_nonsense_in_any_section_is_a_sentence(host, section, value):
    assert all(isinstance(sentence, str) for sentence in mistakes(host, **{section: value}))


def test_one_error_lists_every_mistake(host):
    error = ConfigError("mine.toml", mistakes(host, seeds=[], strategies=["techer"]))
    assert "2 mistakes" in str(error)
    assert all(sentence in str(error) for sentence in error.mistakes)


def test_unknown_strategy_names_the_nearest(host):
    (told,) = mistakes(host, strategies=["ground-trut"])
    assert "Did you mean 'ground-truth'?" in told


def test_unknown_key_names_the_nearest(host):
    (told,) = mistakes(host, evalution={"max_new_tokens": 8})
    assert told.startswith("evalution: is not known")
    assert "'evaluation'" in told


def test_unknown_plugin_option_is_placed(host):
    (told,) = mistakes(host, distill={"options": {"lora": {"ranks": 4}}})
    assert told.startswith("distill.options.lora.ranks: is not known")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["none", "none"]}, "'none' occurs twice"),
        ({"strategies": [{"name": "none", "label": "untrained"}]}, "name of a control"),
        ({"seeds": [1, 1]}, "seeds: 1 occurs twice"),
        ({"name": "../up"}, "name:"),
        ({"strategies": [{"name": "none", "options": {"loud": True}}]}, "takes no options"),
        ({"strategies": [{"name": "template", "options": {"text": "no place"}}]}, "must contain {question}"),
    ],
)
def test_senseless_configs_are_refused(host, changes, words):
    assert words in " ".join(mistakes(host, **changes))


@pytest.mark.parametrize(("content", "words"), [("", "is empty"), ("a = [", "is not TOML"), (None, "cannot be read")])
def test_unreadable_configs_are_refused(host, tmp_path, content, words):
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=words):
        load_experiment(file, host)


def test_init_text_is_a_valid_config(host, tmp_path):
    from click.testing import CliRunner

    from kdprobe.cli.init import command

    result = CliRunner().invoke(command, [])
    assert check(tomllib.loads(result.stdout), host, "init").name == "my-experiment"
