"""Long lists are rendered by two processes: the same texts, the same errors, and no process is left."""

import os

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.outline.halves import texts_in_halves

ITEMS = [f"{index} é \ud800" for index in range(5000)]


def processes_and_texts(items):
    """A text for each item, with the process that made it."""
    return [f"{os.getpid()}: {item}" for item in items]


def refuse(*refused):
    def render(items):
        for item in items:
            if item in refused:
                raise KdprobeError(f"{item!r} is refused.", "Leave it out.")
        return list(items)

    return render


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there are no forks on this system")
def test_the_second_half_comes_from_another_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    made = [text.split(": ", 1) for text in texts_in_halves(processes_and_texts, ITEMS)]
    assert [text for _, text in made] == ITEMS
    assert [process == str(os.getpid()) for process, _ in made] == [True] * 2500 + [False] * 2500
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(("items", "processors"), [(ITEMS, 1), (ITEMS[:100], 2), ([], 2)])
def test_one_process_is_enough_for_few_items_or_one_processor(items, processors, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    assert texts_in_halves(processes_and_texts, items) == processes_and_texts(items)


@pytest.mark.parametrize("refused", [{ITEMS[3]}, {ITEMS[4000]}, {ITEMS[10], ITEMS[4000]}])
def test_the_first_refusal_is_raised_and_no_process_is_left(refused, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    first = min(refused, key=ITEMS.index)
    with pytest.raises(KdprobeError) as raised:
        texts_in_halves(refuse(*refused), ITEMS)
    assert raised.value.message == f"{first!r} is refused."
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
