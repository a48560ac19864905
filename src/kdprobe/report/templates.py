"""Shared by all pages: templates that escape, and figures as JSON that is safe inside a script."""

from __future__ import annotations

import html
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from plotly.offline import get_plotlyjs

from kdprobe.console import visible
from kdprobe.files import clean
from kdprobe.stats.p_values import p_text


def template(name: str) -> Template:
    """A template of this package, with everything escaped unless marked otherwise."""
    environment = Environment(
        loader=PackageLoader("kdprobe.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"p": p_text, "visible": visible}
    return environment.get_template(name)


def plotlyjs() -> str:
    """Plotly's own script, safe inside a script element."""
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")


def script_json(data: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(clean(data), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def safe_names(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure with escaped trace names, because plotly interprets a subset of HTML in them."""
    traces = [
        {**trace, "name": html.escape(str(trace["name"]))} if "name" in trace else trace
        for trace in figure.get("data", [])
    ]
    return {**figure, "data": traces}
