"""The answers on a page, with mouse and keyboard."""

import pytest
from made import CUT, HOSTILE, VALUELESS, made_alone

SHOWN = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd")
"""Invisible characters are made visible."""


@pytest.fixture
def answers(open_page):
    page = open_page()
    return page.locator("[data-part=answers]")


def menu(answers, name):
    return answers.get_by_role("combobox", name=name, exact=True)


def found(answers):
    return answers.get_by_role("status").first.inner_text()


def listed(answers):
    """The questions of the first problems in the list."""
    return answers.get_by_role("listbox").get_by_role("option").locator(".question").all_inner_texts()


def cell(answers, name):
    return answers.get_by_role("button", name=name)


def test_it_begins_with_the_headlines_pair_and_the_problems_that_decided_it(answers):
    assert menu(answers, "A").locator("option:checked").inner_text() == "steps"
    assert menu(answers, "B").locator("option:checked").inner_text() == "unprimed"
    assert found(answers) == "60 of 60 problems"
    assert listed(answers)[0] == "Problem 20: how many apples?"


def test_counts_are_those_of_the_pair_and_filter_on_click(answers):
    # steps solves the first 45, unprimed the first 20, and neither the one without a value.
    counts = {"Solved by both": 19, "Solved only by steps": 25, "Solved only by unprimed": 0, "Solved by neither": 16}
    for name, count in counts.items():
        assert cell(answers, name).inner_text() == str(count)
    cell(answers, "Solved by neither").click()
    assert found(answers) == "16 of 60 problems"
    assert listed(answers)[:2] == [f"Problem {VALUELESS}: how many apples?", "Problem 45: how many apples?"]
    cell(answers, "Solved by neither").press("Enter")
    assert found(answers) == "60 of 60 problems"


def test_filters_narrow_the_problems_and_the_counts(answers):
    answers.get_by_label("was cut off").check()
    assert listed(answers) == [f"Problem {CUT}: how many apples?"]
    assert cell(answers, "Solved by both").inner_text() == "1"
    answers.get_by_label("was cut off").uncheck()
    answers.get_by_label("gave no value").check()
    assert listed(answers) == [f"Problem {VALUELESS}: how many apples?"]
    answers.get_by_label("gave no value").uncheck()
    menu(answers, "Group").select_option("g1")
    assert found(answers) == "20 of 60 problems"
    answers.get_by_label("Search").fill("APPLE 4;")
    assert listed(answers) == ["Problem 4: how many apples?"]
    answers.get_by_label("Search").fill("pears")
    assert answers.get_by_text("No problem meets all of these conditions.").is_visible()


def test_other_arms_can_be_compared(answers):
    menu(answers, "A").select_option("fine-tuned")
    menu(answers, "B").select_option("untrained")
    assert cell(answers, "Solved only by fine-tuned").inner_text() == "24"


def test_a_single_model_is_not_compared(open_page, tmp_path):
    page = open_page(made_alone(tmp_path / "alone.html"))
    answers = page.locator("[data-part=answers]")
    # The value of problem 3 is missing.
    assert (
        page.get_by_role("heading", level=1).inner_text().startswith("alone solves 19 of 60 problems: 31.7% (95% CI ")
    )
    assert answers.get_by_role("combobox").all_inner_texts()[0].splitlines()[0] == "Original order"
    assert listed(answers)[1] == "Problem 1: how many apples?"
    cell(answers, "Not solved").click()
    assert found(answers) == "41 of 60 problems"
    assert answers.get_by_role("option", selected=True).locator(".outcome").count() == 1
    menu(answers, "Sort").select_option("log p, lowest first")
    assert listed(answers)[0] == "Problem 34: how many apples?"


def test_sorting_by_log_p_puts_the_least_likely_first(answers):
    menu(answers, "Sort").select_option("log p of a")
    least = sorted(range(60), key=lambda n: -((n * 7) % 60))[:5]
    assert listed(answers)[:5] == [f"Problem {n}: how many apples?" for n in least]


def test_the_keyboard_moves_through_the_list_and_the_address_follows(answers):
    page = answers.page
    answers.get_by_role("listbox").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert answers.locator(".problem .asked").inner_text() == "Problem 21: how many apples?"
    assert page.url.endswith("#problem=test-21")
    page.keyboard.press("End")
    assert page.url.endswith("#problem=test-59")
    answers.get_by_role("listbox").get_by_role("option", selected=True).wait_for()


def test_a_link_leads_to_its_problem(open_page):
    answers = open_page(part="#problem=test-50").locator("[data-part=answers]")
    assert 0 < answers.locator(".problem").bounding_box()["y"] < 200
    assert answers.locator(".problem .asked").inner_text() == "Problem 50: how many apples?"
    assert (
        answers.get_by_role("listbox")
        .get_by_role("option", selected=True)
        .locator(".question")
        .inner_text()
        .startswith("Problem 50")
    )


def test_every_arm_answers_with_its_value_marked(answers):
    answers.get_by_label("Search").fill("apple 30;")
    cards = answers.locator(".problem > .cards article")
    said = {card.locator(".arm").inner_text(): card for card in cards.all()}
    assert list(said) == ["steps", "unprimed", "untrained", "fine-tuned"]
    assert said["steps"].locator("mark").inner_text() == "7"
    assert said["unprimed"].locator("mark").inner_text() == "8"
    assert "✓ right" in said["steps"].inner_text()
    assert "read as 8" in said["unprimed"].inner_text()
    assert "log p -3.00" in said["steps"].inner_text()
    assert answers.get_by_text("Gold solution").is_visible()


def test_hostile_text_shows_as_text(open_page):
    page = open_page(part="#problem=test-0")
    answers = page.locator("[data-part=answers]")
    assert answers.locator(".problem .asked").inner_text() == SHOWN
    assert answers.locator(".problem article pre").first.inner_text() == f"{SHOWN} 7"
    badge = page.locator(".badge", has_text="Raise the token budget.")
    badge.locator("summary").click()
    assert SHOWN in badge.inner_text()
    assert page.locator("img, b:text-is('bold')").count() == 0
    assert page.title() == "kdprobe: made-1234"


def test_the_teachers_answers_stand_beside_those_of_students(answers):
    answers.get_by_label("Search").fill("apple 31;")
    beside = answers.locator(".taught-beside")
    assert beside.locator("summary").inner_text() == "The teacher on a training problem from g1"
    assert "Lesson 1: how many pears?" in beside.inner_text()
    names = [" ".join(name.split()) for name in beside.locator("header > span").all_inner_texts()]
    assert names == ["teacher, unprimed", "teacher, steps"]
    assert beside.locator("header > b").all_inner_texts() == ["✗ wrong", "✓ right"]
    assert beside.locator("pre").last.inner_text() == f"{SHOWN} The answer is 7."


def test_the_teachers_answers_can_be_browsed(open_page):
    page = open_page()
    answers = page.locator("[data-part=taught]")
    assert (
        "The teacher answered the 12 training problems under each strategy. Students learned from these answers. The "
        "teacher was not given the 60 test problems, which are used only to test the students."
    ) in page.locator("main").inner_text()
    assert menu(answers, "A").locator("option:checked").inner_text() == "steps"
    assert cell(answers, "Solved only by steps").inner_text() == "12"
    answers.get_by_label("Search").fill("lesson 11")
    assert listed(answers) == ["Lesson 11: how many pears?"]
    answers.get_by_role("listbox").get_by_role("option").click()
    assert page.url.endswith("#taught=train-11")
    assert page.locator("[data-part=answers] .problem .asked").first.inner_text() == "Problem 20: how many apples?"
    assert answers.locator(".problem article").count() == 2


def test_a_link_from_a_test_problem_leads_to_what_the_teacher_wrote(answers):
    answers.get_by_label("Search").fill("apple 32;")
    answers.locator(".taught-beside a").press("Enter")
    taught = answers.page.locator("[data-part=taught] .problem")
    answers.page.locator("[data-part=taught] .problem:focus").wait_for()
    assert taught.locator(".asked").inner_text() == "Lesson 2: how many pears?"
    assert 0 < taught.bounding_box()["y"] < 200
