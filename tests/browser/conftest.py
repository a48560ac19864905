"""Headless Chromium, which opens pages and records everything that goes wrong on them."""

import os
import shutil
from pathlib import Path

import pytest
from made import made_run

CHROMIUM = os.environ.get("KDPROBE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("There is no Chromium: install Debian's package `chromium`, or name one in KDPROBE_CHROMIUM.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def made_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(made_run(folder=folder), encoding="utf-8")
    return file


@pytest.fixture
def open_page(browser, made_page):
    """Opens a page; afterwards, nothing may have been reported on its console or requested from the network."""
    faults, contexts = [], []

    def open_(file=made_page, *, width=1280, scheme="light", part=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith("file:") else faults.append(asked.url[:200]))
        page.goto(file.as_uri() + part)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []
