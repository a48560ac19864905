"""The documents of the built-in retention task: one right choice of four, no position mostly right."""

import importlib.util

import pytest

from kdprobe.evaluation.protocol import RETENTION_TASK, task_folder


@pytest.fixture(scope="module")
def documents():
    spec = importlib.util.spec_from_file_location("basics", task_folder() / RETENTION_TASK / "documents.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_four_different_choices_and_no_position_that_is_mostly_right(documents):
    rows = list(documents.basics(version=1.0)["test"])
    assert len({(row["text"], row["choices"][row["gold"]]) for row in rows}) == len(rows) == 400
    assert all(len(set(row["choices"])) == 4 for row in rows)
    positions = [row["gold"] for row in rows]
    assert all(0.2 < positions.count(position) / len(rows) < 0.3 for position in range(4))
    assert rows == list(documents.basics()["test"])


def test_only_one_choice_is_right(documents):
    verbs, countries = documents.rows(documents.VERBS), documents.rows(documents.COUNTRIES)
    assert all(len(set(verb)) == 4 for verb in verbs)
    cities = [city for _, *cities in countries for city in cities]
    # A city of two countries would have two right answers.
    assert len(set(cities)) == len(cities) == 4 * len(countries)
    forms = {form: index for verb in verbs for index, form in enumerate(verb)}
    of_country = {city: country for country, *cities in countries for city in cities}
    capitals = {country: capital for country, capital, *_ in countries}
    for row in documents.basics()["test"]:
        right = row["choices"][row["gold"]]
        if row["text"] in documents.BEGINNINGS:
            assert forms[right] == documents.BEGINNINGS[row["text"]]
        elif "In which country" in row["text"]:
            assert of_country[row["text"].split(" is ")[1].split("?")[0]] == right
        else:
            assert capitals[row["text"].split(" of ")[1].split("?")[0]] == right
            assert all(of_country[choice] == of_country[right] for choice in row["choices"])


def test_no_digit_and_no_word_of_arithmetic(documents):
    for row in documents.basics()["test"]:
        assert not any(character.isdigit() for character in row["text"] + "".join(row["choices"]))
