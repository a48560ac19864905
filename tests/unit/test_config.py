import copy
import datetime as dt
import tomllib

import pytest

from kdprobe.errors import ConfigError, UsageError
from kdprobe.experiment.config import ALL_ANALYSES, to_data
from kdprobe.experiment.load_config import check, in_full, load_experiment
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
    assert [strategy.display_name for strategy in experiment.strategies] == ["unprimed", "ground-truth", "polite"]
    assert [analysis.name for analysis in experiment.probe.analyses] == ["heads", "ablation"]


def test_full_adds_strategies_seeds_and_analyses_under_another_name(host):
    experiment = load_experiment(None, host, full=True)
    names = [strategy.display_name for strategy in experiment.strategies]
    assert names == ["unprimed", "ground-truth", "polite", "teacher", "confidence"]
    assert experiment.seeds == [0, 1, 2]
    assert {analysis.name for analysis in experiment.probe.analyses} == set(ALL_ANALYSES)
    ablation = next(analysis for analysis in experiment.probe.analyses if analysis.name == "ablation")
    assert ablation.options["exact"] == 4
    assert experiment.name == "embedded-full"
    (task,) = experiment.evaluation.benchmarks
    assert (task.name, task.role, task.margin) == ("basics_kdprobe", "retention", 0.05)
    assert not load_experiment(None, host).evaluation.benchmarks
    assert experiment.controls.fine_tuned
    assert not load_experiment(None, host).controls.fine_tuned


def test_full_reads_enough_random_updates_for_a_test(host):
    def control(experiment):
        (heads,) = [analysis for analysis in experiment.probe.analyses if analysis.name == "heads"]
        return host.options("analyses", "heads", heads.options).control

    assert control(load_experiment(None, host)) == 0
    assert control(load_experiment(None, host, full=True)) == 19

    def full(*analyses):
        return check(in_full({**DATA, "probe": {"analyses": [*analyses]}}, host), host, "mine.toml")

    assert control(full("heads")) == 19
    assert control(full()) == 19
    off = full({"name": "heads", "options": {"control": 0, "smallest_effect": 0.1}})
    assert control(off) == 19
    assert off.probe.analyses[0].options["smallest_effect"] == 0.1
    assert control(full({"name": "heads", "options": {"control": 4}})) == 4


def test_full_contrasts_problems_only_if_their_source_offers_counterfactuals(host):
    def analyses(**problems):
        experiment = check(in_full({**DATA, "problems": {**DATA["problems"], **problems}}, host), host, "mine.toml")
        return {analysis.name for analysis in experiment.probe.analyses}

    assert set(ALL_ANALYSES) - analyses() == {"contrast"}
    assert analyses(source="gsm-symbolic", options={"templates": [6]}) == set(ALL_ANALYSES)


def test_full_keeps_what_a_config_has(host):
    experiment = check(in_full({**DATA, "strategies": ["teacher"], "seeds": [5, 1]}, host), host, "mine.toml")
    assert [strategy.name for strategy in experiment.strategies] == ["teacher", "none", "ground-truth", "confidence"]
    assert experiment.seeds == [5, 1, 0]
    own = [{"name": "arc_easy", "role": "retention"}]
    assert [
        task.name
        for task in check(in_full({**DATA, "evaluation": {"tasks": own}}, host), host, "").evaluation.benchmarks
    ] == ["arc_easy"]
    options = {"epochs": 2}
    controls = {"untrained": False, "fine_tuned": False, "fine_tune_options": options}
    full = check(in_full({**DATA, "controls": controls}, host), host, "").controls
    assert (full.untrained, full.fine_tuned, full.fine_tune_options) == (True, True, options)
    several = check(in_full({**DATA, "seeds": [7, 8, 9, 10]}, host), host, "mine.toml")
    assert several.seeds == [7, 8, 9, 10]


def test_a_strategy_may_be_a_name_or_a_table(host):
    own = {"name": "template", "label": "polite", "options": {"text": "Please: {question}"}}
    experiment = check({**DATA, "strategies": ["none", own]}, host, "mine.toml")
    assert [strategy.display_name for strategy in experiment.strategies] == ["unprimed", "polite"]


def template(label):
    return {"name": "template", "label": label, "options": {"text": "Please: {question}"}}


def test_a_label_is_the_display_name_whatever_it_is(host):
    bare, primed = {"name": "none", "label": "bare"}, {"name": "teacher", "label": "none"}
    experiment = check({**DATA, "strategies": [bare, primed, "none"]}, host, "mine.toml")
    assert [strategy.display_name for strategy in experiment.strategies] == ["bare", "none", "unprimed"]
    same = check({**DATA, "strategies": [{"name": "none", "label": "unprimed"}]}, host, "mine.toml")
    assert same.strategies[0].display_name == "unprimed"


def named(host, strategies, name, seeds=(0,), student=None):
    """The values of `transfer.texts`, `tune.strategy` and an analysis's students if each is given this name."""
    data = {
        **DATA,
        "seeds": list(seeds),
        "strategies": strategies,
        "transfer": {"texts": name},
        "tune": {"strategy": name},
        "probe": {"analyses": ["heads", {"name": "ablation", "options": {"students": ["untrained", student or name]}}]},
    }
    experiment = check(data, host, "mine.toml")
    (_, chosen) = experiment.probe.analyses[1].options["students"]
    return experiment.transfer.texts, experiment.tune.strategy, chosen


def test_a_config_names_strategies_by_display_name_or_by_name(host):
    assert named(host, ["none", "teacher"], "unprimed") == ("unprimed",) * 3
    assert named(host, ["none", "teacher"], "none") == ("unprimed",) * 3
    assert named(host, [template("polite")], "template") == ("polite",) * 3
    assert named(host, ["none"], "none", seeds=(3, 5), student="none@5") == ("unprimed", "unprimed", "unprimed@5")
    # The display name goes before the name.
    crossed = [{"name": "none", "label": "bare"}, {"name": "teacher", "label": "none"}]
    assert named(host, crossed, "none") == ("none",) * 3
    assert named(host, crossed, "teacher") == ("none",) * 3


def test_a_name_that_two_strategies_have_is_refused(host):
    told = mistakes(
        host,
        strategies=[template("short"), template("long")],
        transfer={"texts": "template"},
        tune={"strategy": "template"},
    )
    assert len(told) == 2
    assert all(sentence.endswith("short, long") for sentence in told)


def test_own_and_gold_texts_are_never_a_strategys(host):
    for texts in ("own", "gold"):
        data = {**DATA, "strategies": [template(texts), "teacher"], "transfer": {"texts": texts}}
        assert check(data, host, "mine.toml").transfer.texts == texts


def test_all_mistakes_are_told_at_once(host):
    told = mistakes(host, transfer={"top_p": 7}, strategies=["none", "techer"], distill={"options": {"alpha": 3}})
    assert len(told) == 3
    assert any(sentence.startswith("transfer.top_p:") for sentence in told)
    assert any(sentence.startswith("distill.options.alpha:") for sentence in told)
    assert any("no strategy named 'techer'" in sentence for sentence in told)


@pytest.mark.parametrize("seeds", [3, "0, 1", 1.5])
def test_seeds_that_are_no_list_are_told_what_to_write(host, seeds):
    told = mistakes(host, seeds=seeds)
    assert f"seeds: must be a list of seeds, such as [0, 1, 2], not a single value (got {seeds!r})" in told


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
        "'none' appears twice",
        "strategies.template.options.text: missing",
        "strategies.template.options.txt: unknown key",
        "controls.fine_tune_options.epochs: ",
        "seeds: 0 appears twice",
        "probe: must be a table (got 3)",
    ):
        assert any(sentence.startswith(words) or words in sentence for sentence in told), words
    assert len(told) == 8


@pytest.mark.parametrize("section", ["problems", "student", "teacher", "distill", "controls", "probe", "tune"])
@pytest.mark.parametrize("value", [3, [], "x", None, {"options": 3}, {"name": 3}])
def test_nonsense_in_any_section_is_a_sentence(host, section, value):
    assert all(isinstance(sentence, str) for sentence in mistakes(host, **{section: value}))


def test_one_error_lists_every_mistake(host):
    error = ConfigError("mine.toml", mistakes(host, seeds=[], strategies=["techer"]))
    assert "mine.toml has 2 errors:" in str(error)
    assert all(sentence in str(error) for sentence in error.mistakes)


def test_unknown_strategy_names_the_nearest(host):
    (told,) = mistakes(host, strategies=["ground-trut"])
    assert "Did you mean 'ground-truth'?" in told


def test_unknown_key_names_the_nearest(host):
    (told,) = mistakes(host, evalution={"max_new_tokens": 8})
    assert told.startswith("evalution: unknown key")
    assert "'evaluation'" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"teacher": {"model": "x", **DATA["teacher"]}},
            "teacher.model: unknown key; did you mean 'teacher.options.model'?",
        ),
        ({"model": "x"}, "model: unknown key; did you mean 'student.model' or 'teacher.options.model'?"),
        ({"transfer": {"temprature": 1.0}}, "transfer.temprature: unknown key; did you mean 'transfer.temperature'?"),
        ({"distill": {"rank": 4}}, "distill.rank: unknown key; did you mean 'distill.options.lora.rank'?"),
        (
            {"distill": {"options": {"rank": 4}}},
            "distill.options.rank: unknown key; did you mean 'distill.options.lora.rank'?",
        ),
        (
            {"student": {"top_p": 0.9}},
            "student.top_p: unknown key; did you mean 'transfer.top_p' or 'evaluation.top_p'?",
        ),
        (
            {"strategies": [{"name": "none", "lable": "x"}]},
            "strategies.0.lable: unknown key; did you mean 'strategies.label'?",
        ),
        (
            {"probe": {"analyses": ["heads"], "smallest_effect": 0.1}},
            "probe.smallest_effect: unknown key; did you mean 'probe.analyses.heads.options.smallest_effect'?",
        ),
        ({"xyzzy": 1}, "xyzzy: unknown key"),
    ],
)
def test_an_unknown_key_that_exists_elsewhere_names_the_place(host, changes, told):
    assert mistakes(host, **changes) == (told,)


def test_unknown_plugin_option_is_placed(host):
    (told,) = mistakes(host, distill={"options": {"lora": {"ranks": 4}}})
    assert told.startswith("distill.options.lora.ranks: unknown key")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["none", "none"]}, "'none' appears twice"),
        ({"strategies": [{"name": "none", "label": "untrained"}]}, "name of a control"),
        ({"strategies": [{"name": "teacher", "label": "unprimed"}]}, "use another label for 'teacher'"),
        ({"strategies": ["none", {"name": "none", "label": "unprimed"}]}, "'none' appears twice"),
        ({"strategies": [{"name": "none", "label": ["x"]}]}, "strategies.0.label: "),
        ({"seeds": [1, 1]}, "seeds: 1 appears twice"),
        ({"name": "../up"}, "name:"),
        ({"strategies": [{"name": "none", "options": {"loud": True}}]}, "does not accept options"),
        ({"strategies": [{"name": "template", "options": {"text": "no place"}}]}, "must contain {question}"),
        ({"conversation": {"date": 0}}, "conversation.date: must be a date such as 2026-11-25"),
        ({"conversation": {"date": "0"}}, "conversation.date: must be a date"),
        ({"conversation": {"date": dt.datetime(2026, 11, 25, tzinfo=dt.UTC)}}, "conversation.date: must be a date"),
        ({"conversation": {"template_arguments": {"tokenize": True}}}, "must not contain tokenize"),
        (
            {"conversation": {"template_arguments": {"day": dt.date(2026, 11, 25)}}},
            "lists and tables; write dates as strings",
        ),
        ({"conversation": {"template_arguments": {"days": [dt.time(1)]}}}, "lists and tables; write dates as strings"),
    ],
)
def test_senseless_configs_are_refused(host, changes, words):
    assert words in " ".join(mistakes(host, **changes))


@pytest.mark.parametrize(
    ("content", "words"), [("", "is empty"), ("a = [", "is not valid TOML"), (None, "Cannot read")]
)
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


def test_the_section_tune_may_be_absent(host):
    experiment = check(DATA, host, "mine.toml")
    assert (experiment.tune.by, experiment.tune.space) == ("log-p-gold-value", None)
    assert "tune" not in to_data(experiment)


def test_a_space_that_fits_is_taken(host):
    space = {
        "temperature": [1, 2],
        "alpha": [0, 0.5],
        "learning_rate": [1e-4, 1e-4],
        "rank": [4],
        "divergence": ["jsd"],
    }
    tune = {"strategy": "teacher", "by": "accuracy", "space": space}
    experiment = check({**DATA, "tune": tune, "distill": {"options": {"beta": 0.3, "divergence": "jsd"}}}, host, "x")
    assert experiment.tune.space.model_dump() == space


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        (3, "tune: must be a table (got 3)"),
        ({"trails": 3}, "tune.trails: unknown key"),
        ({"trials": 0}, "tune.trials: "),
        ({"validation": 1}, "tune.validation: "),
        ({"by": "loss"}, "tune.by: "),
        ({"sampler": "grid"}, "tune.sampler: "),
        ({"strategy": "techer"}, "tune.strategy: unknown strategy 'techer'; available: unprimed, teacher"),
        ({"space": {}}, "tune.space: must not be empty"),
        ({"space": {"temprature": [1.0]}}, "tune.space.temprature: unknown key"),
        ({"space": {"temperature": []}}, "tune.space.temperature: "),
        ({"space": {"temperature": [0.0]}}, "tune.space.temperature.0: "),
        ({"space": {"temperature": [1.0, 2.0, 1.0]}}, "tune.space.temperature: 1.0 appears twice"),
        ({"space": {"alpha": [0.5, 0.1]}}, "tune.space.alpha: the lower end must come first"),
        ({"space": {"alpha": [0.5]}}, "tune.space.alpha: "),
        ({"space": {"alpha": [0.0, 1.5]}}, "tune.space.alpha: input should be less than or equal to 1 (got 1.5)"),
        ({"space": {"learning_rate": [0.0, 0.1]}}, "tune.space.learning_rate.0: "),
        ({"space": {"learning_rate": [0.1, float("inf")]}}, "tune.space.learning_rate.1: "),
        ({"space": {"rank": [8, 0]}}, "tune.space.rank.1: "),
        ({"space": {"divergence": ["forward-kl", "kl"]}}, "tune.space.divergence: input should be 'forward-kl',"),
    ],
)
def test_each_mistake_in_tune_is_told_once(host, tune, words):
    (told,) = mistakes(host, tune=tune)
    assert told.startswith(words)


@pytest.mark.parametrize("distiller", ["sequence", "fine-tune"])
def test_a_space_that_the_distiller_does_not_take_is_told(host, distiller):
    tune = {"space": {"temperature": [1.0], "rank": [4], "alpha": [0.0, 0.5]}}
    assert mistakes(host, distill={"name": distiller}, tune=tune) == (
        f"tune.space.temperature: the distiller '{distiller}' has no option 'temperature'",
        f"tune.space.alpha: the distiller '{distiller}' has no option 'alpha'",
    )


def test_mistakes_in_the_distillers_options_do_not_hide_those_of_the_space(host):
    told = mistakes(host, distill={"options": {"epochs": 0}}, tune={"space": {"alpha": [0.0, 2.0]}})
    assert [sentence.split(":")[0] for sentence in told] == ["distill.options.epochs", "tune.space.alpha"]


@pytest.mark.parametrize("size", [0, -1, "x", True, 1.5])
def test_a_batch_size_that_is_neither_a_number_nor_auto_is_one_mistake(size):
    from kdprobe.experiment.evaluations.config import EvaluationConfig

    with pytest.raises(ValueError, match="a positive integer") as told:
        EvaluationConfig(batch_size=size)
    assert len(told.value.errors()) == 1
    assert EvaluationConfig(batch_size="auto").batch_size == "auto"


@pytest.fixture
def versions(host):
    """The built-in plugins, and some that are or are not used."""
    from kdprobe.host.provider import Provider

    more = [
        Provider("trl", "0.2.1", "kdprobe-trl"),
        Provider("later", "1.0rc1", "kdprobe-later"),
        Provider("mine", "local", "/folder/mine.py"),
        Provider("gone", "3.0", "kdprobe-gone", "broken", "It fails."),
    ]
    return Host([*host.providers, *more])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("kdprobe-trl", ">=0.2"), ("trl", "==0.2.*"), ("Kdprobe_TRL", ">=0.2,<0.3"), ("kdprobe-later", ">=1.0rc1")],
)
def test_versions_of_plugins_that_will_do(name, wanted, versions):
    experiment = check({**DATA, "plugin_versions": {name: wanted}}, versions, "mine.toml")
    assert experiment.plugin_versions == {name: wanted}
    assert to_data(experiment) == to_data(check(DATA, versions, "mine.toml"))


@pytest.mark.parametrize(
    ("name", "wanted", "mistake"),
    [
        ("kdprobe-trl", ">=0.3", "kdprobe-trl has version 0.2.1, which does not match >=0.3"),
        ("trl", "!=0.2.1", "kdprobe-trl has version 0.2.1, which does not match !=0.2.1"),
        ("kdprobe-other", ">=1", "no plugin with this name is installed. Install it: pip install 'kdprobe-other>=1'"),
        ("kdprobe-gone", ">=1", "it is broken: It fails."),
        ("mine", ">=1", "/folder/mine.py has version local, which does not match >=1"),
        ("kdprobe-trl", "0.2", "'0.2' is not a version range such as '>=0.2' or '>=0.2,<0.3'"),
        ("kdprobe-trl", 0.2, "input should be a valid string (got 0.2)"),
    ],
)
def test_versions_of_plugins_that_will_not_do(name, wanted, mistake, versions):
    with pytest.raises(ConfigError) as caught:
        check({**DATA, "plugin_versions": {name: wanted}}, versions, "mine.toml")
    assert caught.value.mistakes == (f"plugin_versions.{name}: {mistake}",)
