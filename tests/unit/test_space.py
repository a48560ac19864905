import pytest

from kdprobe.errors import UsageError
from kdprobe.experiment.tune.config import DEFAULT_SPACE, SpaceConfig
from kdprobe.experiment.tune.space import space_of
from kdprobe.host.registry import Host


@pytest.fixture(scope="module")
def host():
    return Host()


def space(host, options=None, distiller="logits", **varied):
    return space_of(distiller, options or {}, SpaceConfig(**varied) if varied else None, host)


def validated(host, options, distiller="logits"):
    return host.options("distillers", distiller, options)


def test_without_a_space_all_that_the_distiller_takes_is_varied(host):
    assert space(host).varied == DEFAULT_SPACE.model_dump()
    assert set(space(host, distiller="sequence").varied) == {"learning_rate", "rank"}


def test_with_a_space_only_what_it_names_is_varied(host):
    named = space(host, {"epochs": 3, "temperature": 7.0}, alpha=[0.1, 0.2])
    assert set(named.varied) == {"alpha"}
    assert named.chosen({"alpha": 0.15}) == {"epochs": 3, "temperature": 7.0, "alpha": 0.15}


def test_a_choice_leaves_the_configs_own_options_alone(host):
    options = {"lora": {"rank": 8}}
    space(host, options).chosen({"rank": 32, "learning_rate": 1e-3})
    assert options == {"lora": {"rank": 8}}


@pytest.mark.parametrize(
    ("lora", "expected"),
    [({}, 64), ({"rank": 8, "alpha": 8}, 32), ({"rank": 8, "alpha": 8, "rslora": True}, 16)],
)
def test_another_rank_keeps_the_factor_of_the_update(host, lora, expected):
    chosen = space(host, {"lora": lora}).chosen({"rank": 32})
    assert validated(host, chosen).lora.rank == 32
    assert validated(host, chosen).lora.alpha == expected


def test_the_configs_own_rank_leaves_lora_alpha_unsaid(host):
    assert space(host).chosen({"rank": 8}) == {"lora": {"rank": 8}}


def test_the_parameter_of_another_divergence_goes_and_its_own_stays(host):
    jsd = space(host, {"divergence": "jsd", "beta": 0.3})
    assert jsd.chosen({"divergence": "jsd"}) == {"divergence": "jsd", "beta": 0.3}
    assert jsd.chosen({"divergence": "reverse-kl"}) == {"divergence": "reverse-kl"}
    assert validated(host, jsd.chosen({"divergence": "skew-kl"})).divergence == "skew-kl"


def test_numbers_are_written_as_people_write_them_and_stay_in_range(host):
    some = space(
        host, {"learning_rate": 0.00123456}, learning_rate=[0.00123411, 0.00987654], temperature=[1.0, 3.33333]
    )
    assert some.legible({"learning_rate": 0.0045678, "temperature": 3.33333}) == {
        "learning_rate": 0.00457,
        "temperature": 3.33333,
    }
    assert some.legible({"learning_rate": 0.00123456}) == {"learning_rate": 0.00123456}
    assert some.legible({"learning_rate": 0.001234115}) == {"learning_rate": 0.00123411}


@pytest.mark.parametrize(
    ("options", "inside"),
    [({}, True), ({"temperature": 1.5}, False), ({"learning_rate": 1.0}, False), ({"lora": {"rank": 5}}, False)],
)
def test_the_current_options_lie_in_the_space_or_not(host, options, inside):
    assert space(host, options).holds_current() is inside


def test_a_distiller_without_such_options_cannot_be_tuned():
    from dataclasses import replace

    from pydantic import BaseModel

    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.specs import DistillerSpec

    class Options(BaseModel):
        steps: int = 3

    stubborn = DistillerSpec(name="stubborn", summary="", build=lambda _: None, options=Options)
    providers = [replace(provider, specs=(stubborn,)) for provider in discover(builtin_candidates())[:1]]
    with pytest.raises(UsageError, match="'stubborn' has no option that can be tuned"):
        space(Host(providers), distiller="stubborn")
