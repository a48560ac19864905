"""How to reproduce a run, and what can be saved from its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdprobe.comparison.result import Comparison
from kdprobe.console.streams import visible
from kdprobe.files import without_none
from kdprobe.report.headline import Headline
from kdprobe.report.payload.pairs import baselines, shown_accuracies


def config_toml(config: Mapping[str, Any]) -> str:
    """A run's config, with every default filled in, for `kdprobe run`."""
    import tomlkit

    text: str = visible(tomlkit.dumps(without_none(config)))
    return text


def summary(
    headline: Headline, comparison: Comparison, facts: Sequence[tuple[str, str]], cautions: Sequence[str] = ()
) -> str:
    """The result, as Markdown."""
    lines = [
        f"# {headline.sentence}",
        "",
        *(f"> {caution}\n" for caution in cautions),
        *filter(None, [headline.by_template]),
        *headline.rest,
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in facts]
    scores = [
        (row["arm"], row["solved"], row["accuracy"]["text"], row["accuracy"]["interval"])
        for row in shown_accuracies(comparison)
    ]
    lines += ["", "## Accuracy", "", *_table(("arm", "correct", "accuracy", "95% interval"), scores)]
    for baseline in baselines(comparison):
        rows = [
            (row["arm"], row["against"], row["difference"]["text"], row["difference"]["interval"], row["p"])
            for row in baseline["rows"]
        ]
        header = ("arm", "minus", "difference", "95% interval", "p (Holm)")
        lines += ["", f"## Difference from {baseline['label']}", "", baseline["note"], "", *_table(header, rows)]
    if comparison.findings:
        lines += ["", "## Warnings", "", *(f"- {finding}" for finding in comparison.findings)]
    return visible("\n".join(lines)) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"

    return [line(header), line(["---"] * len(header)), *map(line, rows)]
