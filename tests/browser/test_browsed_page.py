"""The rest of a page: who beats whom, heads, figures, colours, phone, print, and the results of axe-core."""

from pathlib import Path

import pytest
from made import EXACT, made_run

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


def test_first_screen_says_what_came_out(open_page):
    page = open_page()
    heading = page.get_by_role("heading", level=1)
    assert heading.inner_text().startswith("Priming with steps: +41.7 points over unprimed (95% CI ")
    assert heading.bounding_box()["y"] < 200
    badge = page.locator(".badge", has_text="Raise the token budget.")
    assert not badge.get_by_text("Raise the token budget.").is_visible()
    badge.locator("summary").press("Enter")
    assert badge.get_by_text("Raise the token budget.").is_visible()


def test_first_screen_leads_to_the_problems_that_decide_and_to_terms(open_page):
    page = open_page()
    deciding = page.locator("ul.deciding a")
    assert deciding.all_inner_texts() == ["test-20", "test-21"]
    for _ in "twice, because the address is the same the second time":
        page.evaluate("scrollTo(0, 0)")
        deciding.last.press("Enter")
        chosen = page.locator(".problem", has_text="Problem 21: how many apples?")
        page.locator(".problem:focus").wait_for()
        assert 0 < chosen.bounding_box()["y"] < 200
    page.evaluate("scrollTo(0, 0)")
    page.locator("h1 a", has_text="95% CI").click()
    assert page.get_by_text("95% CI, 95% interval").bounding_box()["y"] < 900
    links = page.evaluate("[...document.querySelectorAll('a.term')].map((link) => link.hash.slice(1))")
    assert {"term-interval", "term-log-p", "term-exact", "term-ablation"} <= set(links)
    assert page.evaluate("(links) => links.every((id) => document.getElementById(id))", links)


def test_baselines_can_be_chosen(open_page):
    part = open_page().locator("[data-part=beaten]")
    rows = part.locator("table").last.locator("tbody tr")
    assert rows.count() == 1
    assert rows.first.locator("b").inner_text() == "+41.7 points"
    part.get_by_role("combobox", name="Difference from").select_option("fine-tuned")
    assert [row.locator("b").inner_text() for row in rows.all()] == ["-16.7 points", "+25.0 points"]


def test_heads_can_be_explored(open_page):
    def said():
        return " ".join(table.inner_text().split())

    heads = open_page().locator("[data-part=heads]")
    layer, head = EXACT
    label = f"layer {layer}, head {head}: -9.40 nats"
    exact = heads.get_by_role("gridcell", name=label)
    assert exact.get_attribute("aria-selected") == "true", "the largest effect is shown first"
    table = heads.locator(".head-values")
    assert heads.get_by_role("heading", level=3).first.inner_text() == "Which head matters most?"
    (lead,) = heads.locator(".lead").all_inner_texts()
    assert " ".join(lead.split()).replace(" ,", ",") == (
        "In steps, removing head 1 of layer 2 changes log p(gold solution) by -9.40 nats (95% CI -12.00 to -7.00; "
        "computed exactly). When the head that ranks highest on the earlier folds is removed, log p falls more than "
        "when any of 19 random heads is removed (p = 0.050, the smallest that 19 random heads can give). On log p(gold "
        "value), the same head has no significant effect: +0.200 nats (95% CI -0.100 to +0.500)."
    )
    assert heads.get_by_text("Heads were ablated only in steps.").is_visible()
    assert heads.get_by_text(
        "The effect of the outlined head was computed exactly. The other 11 heads have only estimates (≈)"
    ).is_visible()
    ranked = [" ".join(row.split()) for row in heads.locator(".ranking tbody tr").all_inner_texts()]
    assert ranked[:2] == [
        "layer 2, head 1 -9.40 -12.00 to -7.00 exact",
        "layer 3, head 2 ≈ +14.80 -3.00 to +30.00 estimate",
    ]
    assert "(nats) -9.40 (-12.00 to -7.00) exact" in said()
    exact.press("ArrowLeft")
    assert "Layer 2, head 0" in said()
    heads.get_by_role("button", name="layer 0, head 0").last.click()
    assert "Layer 0, head 0" in said()
    heads.get_by_role("combobox", name="Measure").select_option(label="Attention entropy (nats)")
    heads.get_by_role("combobox", name="Student").select_option("unprimed")
    assert "0.200 (0.100 to 0.300)" in said()
    heads.get_by_role("combobox", name="Heads").select_option("low")
    assert heads.locator("tbody button").first.inner_text() == "layer 0, head 0"


def test_attention_is_shown_from_the_chosen_token_in_both_students(open_page):
    attention = open_page().locator(".attention")
    said = attention.get_by_role("status").all_inner_texts()
    assert said == ["?⏎ (2) 70%, How (0) 25%; all other tokens together 5%"] * 2
    attention.locator(".card", has_text="steps").get_by_role("button", name="·many").click()
    attention.page.keyboard.press("ArrowLeft")
    said = attention.get_by_role("status").all_inner_texts()
    assert said == ["How (0) 70%; all other tokens together 5%"] * 2


def test_figures_are_drawn_when_they_are_looked_at_and_have_a_table(open_page):
    page = open_page()
    figure = page.locator("figure", has_text="A plugin's figure")
    assert figure.locator("svg").count() == 0
    page.get_by_text("1 chart").click()
    figure.scroll_into_view_if_needed()
    figure.locator("svg.main-svg").first.wait_for()
    figure.get_by_text("Table").click()
    assert figure.locator("tbody tr").first.inner_text().split() == ["untrained", "0", "0"]


def test_a_picture_of_the_whole_page_has_no_empty_figure(open_page):
    page = open_page()
    loss = page.locator("figure", has_text="Training loss")
    assert loss.bounding_box()["y"] > 2000, "far below what is in view"
    loss.locator("svg.main-svg").first.wait_for()
    assert page.evaluate("scrollY") == 0


def test_an_arm_has_one_colour_everywhere(open_page):
    page = open_page()
    page.get_by_text("1 chart").click()
    page.locator("figure", has_text="A plugin's figure").scroll_into_view_if_needed()
    page.locator("figure svg.main-svg .lines path").first.wait_for()
    seen = page.evaluate(
        """() => {
        const seen = {};
        const note = (name, colour) => (seen[name] ??= new Set()).add(colour);
        for (const arm of document.querySelectorAll(".arm"))
          note(arm.textContent, getComputedStyle(arm.querySelector(".mark")).borderTopColor);
        for (const row of document.querySelectorAll(".forest tbody tr"))
          note(row.querySelector(".arm").textContent, getComputedStyle(row.querySelector("circle")).stroke);
        for (const plot of document.querySelectorAll(".js-plotly-plot"))
          plot.data.forEach((trace, index) =>
            note(trace.name, getComputedStyle(plot.querySelectorAll(".scatterlayer .js-line")[index]).stroke));
        return Object.fromEntries(Object.entries(seen).map(([name, colours]) => [name, [...colours]]));
        }"""
    )
    assert set(seen) >= {"untrained", "fine-tuned", "unprimed", "steps"}
    assert all(len(colours) == 1 for colours in seen.values()), seen
    assert len({colours[0] for colours in seen.values()}) == len(seen)


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nothing_stands_in_anyones_way(open_page, width, scheme):
    page = open_page(width=width, scheme=scheme)
    for folded in page.locator("main > details, .badge").all():
        folded.evaluate("details => { details.open = true }")
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    serious = {
        fault["id"]: [node["html"] for node in fault["nodes"]][:3] for fault in found if fault["impact"] != "minor"
    }
    assert serious == {}


def test_a_phone_does_not_scroll_sideways(open_page):
    page = open_page(width=390)
    for folded in page.locator("details").all():
        folded.evaluate("details => { details.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("width", [1280, 1000, 390])
def test_a_heads_values_and_the_links_to_parts_are_all_in_view(open_page, width):
    page = open_page(width=width)
    assert page.locator(".head-values").evaluate("box => box.scrollWidth <= box.clientWidth")
    links = [link.bounding_box() for link in page.locator("nav.parts a").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in links)


@pytest.mark.parametrize("width", [1280, 390])
def test_short_names_of_arms_stand_on_one_line(open_page, width):
    names = open_page(width=width).locator(".forest .arm").all()
    assert len(names) == 5
    assert {
        name.inner_text(): name.bounding_box()["height"] < 30 for name in names if "-" not in name.inner_text()
    } == {
        "untrained": True,
        "unprimed": True,
        "steps": True,
    }


def test_print_shows_every_column_and_every_answer(open_page):
    # The width of A4 within its margins.
    page = open_page(width=703)
    # Printing does not wait for plotly, which is there soon after the page.
    page.locator("figure svg.main-svg").first.wait_for()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("figure", has_text="A plugin's figure").locator("svg.main-svg").first.is_visible()
    cut = page.evaluate(
        """() => [...document.querySelectorAll("th, td")]
        .filter((cell) => !cell.closest(".numbers"))
        .filter((cell) => { const box = cell.getBoundingClientRect(); return box.right > innerWidth || !box.width; })
        .map((cell) => cell.textContent)"""
    )
    assert cut == []
    assert page.locator("[data-part=answers] .problem").count() == 60
    assert page.get_by_text("All numbers").locator("..").get_attribute("open") is not None
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("[data-part=answers] .problem").count() == 1
    assert page.pdf().startswith(b"%PDF")


def test_figures_fit_on_paper_however_wide_the_screen(open_page):
    page = open_page(width=1280)
    page.locator("figure svg.main-svg").first.wait_for()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    widths = [svg.bounding_box()["width"] for svg in page.locator("figure .js-plotly-plot .main-svg:first-child").all()]
    assert widths == [335, 700]
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    loss = page.locator("figure", has_text="Training loss")
    assert loss.locator("svg.main-svg").first.bounding_box()["width"] > 1000


def test_a_large_run_draws_only_what_is_in_view(open_page, tmp_path):
    students = [("unprimed", 600), *((f"strategy-{index}", 600 + index) for index in range(3))]
    file = tmp_path / "large.html"
    file.write_text(made_run(1319, students), encoding="utf-8")
    assert file.stat().st_size < 25_000_000
    answers = open_page(file).locator("[data-part=answers]")
    assert answers.get_by_role("status").first.inner_text() == "1319 of 1319 problems"
    assert answers.get_by_role("listbox").get_by_role("option").count() < 60
    answers.get_by_role("listbox").press("End")
    assert answers.locator(".problem .asked").inner_text() == "Problem 1318: how many apples?"


def test_the_part_in_view_is_marked(open_page):
    page = open_page()
    marked = page.locator("nav.parts a[aria-current]")
    assert marked.count() == 0
    page.evaluate("document.getElementById('inside').scrollIntoView()")
    marked.get_by_text("Inside the students").wait_for()
    assert marked.count() == 1
