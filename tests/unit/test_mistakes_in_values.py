"""What is wrong with a value of a config is said once and in plain words, also where it may have several types."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdprobe.experiment.section import sentences


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: Annotated[int, Field(ge=1)] | Literal["all"] = "all"


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    exact: Annotated[int, Field(ge=1)] | Literal["all"] = 3
    batch: int | Literal["auto"] = 32
    targets: list[str] | Literal["attention", "all-linear"] = "attention"
    limit: int | None = None
    sizes: list[Annotated[int, Field(ge=1)] | Literal["all"]] = []
    inner: Inner = Inner()
    range: tuple[int, int] | None = None


MISTAKES = [
    ({"exact": 0}, ["exact: input should be greater than or equal to 1, or 'all' (got 0)"]),
    ({"exact": "some"}, ["exact: input should be a valid integer, or 'all' (got 'some')"]),
    ({"exact": 1.5}, ["exact: input should be a valid integer, or 'all' (got 1.5)"]),
    ({"exact": {"a": 1}}, ["exact: input should be a valid integer, or 'all'"]),
    ({"batch": "x (got y)"}, ["batch: input should be a valid integer, or 'auto' (got 'x (got y)')"]),
    ({"targets": 3}, ["targets: input should be a valid list, or 'attention' or 'all-linear' (got 3)"]),
    # A list was meant, so only its elements are wrong.
    ({"targets": ["q_proj", 1]}, ["targets.1: input should be a valid string (got 1)"]),
    ({"limit": "x"}, ["limit: input should be a valid integer, unable to parse string as an integer (got 'x')"]),
    (
        {"sizes": [0, 2, "u"]},
        [
            "sizes.0: input should be greater than or equal to 1, or 'all' (got 0)",
            "sizes.2: input should be a valid integer, or 'all' (got 'u')",
        ],
    ),
    (
        {"inner": {"size": 0, "str": 1}, "exact": -1},
        [
            "exact: input should be greater than or equal to 1, or 'all' (got -1)",
            "inner.size: input should be greater than or equal to 1, or 'all' (got 0)",
            "inner.str: unknown key",
        ],
    ),
]


@pytest.mark.parametrize(("values", "said"), MISTAKES)
def test_a_value_that_fits_none_of_its_types_is_one_mistake(values, said):
    with pytest.raises(ValidationError) as error:
        Options(**values)
    assert sentences(error.value) == said
    assert sentences(error.value, section="probe.options") == [f"probe.options.{each}" for each in said]


def test_the_options_of_an_analysis_on_the_command_line(capsys):
    from kdprobe.cli import main

    with pytest.raises(SystemExit, match="2"):
        main(["probe", "smollm2-135m-instruct", "--analysis", "ablation", "--option", "ablation.exact=some"])
    assert "exact: input should be a valid integer, or 'all' (got 'some')" in capsys.readouterr().err
