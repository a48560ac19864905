"""Reading Google-style docstrings."""

from __future__ import annotations


def first_paragraph(docstring: str) -> str:
    """The first paragraph, as one line."""
    return " ".join(docstring.partition("\n\n")[0].split())


def attributes_of(docstring: str) -> dict[str, str]:
    """Attribute to meaning, from the section `Attributes:` of a docstring without indentation."""
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    for line in section.splitlines():
        if line.startswith("     "):
            last = list(found)[-1]
            found[last] = f"{found[last]} {line.strip()}"
        elif line.startswith("    "):
            name, _, meaning = line.strip().partition(": ")
            found[name] = meaning
        elif line.strip():
            break
    return found
