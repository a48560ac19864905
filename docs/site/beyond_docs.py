"""Hooks for mkdocs that add the pages outside docs/ to the site and rewrite the links to and from them.

In the repository, links are relative to the file that contains them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BEYOND = ("CONTRIBUTING.md", "CHANGELOG.md", "plugins/*/README.md")
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages outside docs/, each under its path in the repository."""
    for file in (file for pattern in BEYOND for file in sorted(ROOT.glob(pattern))):
        path = file.relative_to(ROOT).as_posix()
        files.append(File.generated(config, path, content=file.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Points links that leave docs/ at pages of the site; a link to a file without a page becomes plain text."""
    here = _path(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(here.parent / link["target"]))
        within_docs = here.is_relative_to(DOCS) and target.is_relative_to(DOCS)
        if within_docs or not target.exists():  # mkdocs checks these links itself
            return link[0]
        page_path = (target / "README.md" if (target / "README.md").exists() else target).relative_to(ROOT)
        uri = page_path.relative_to("docs") if page_path.is_relative_to("docs") else page_path
        if files.get_file_from_path(uri.as_posix()) is None:
            return link["text"]
        relative = os.path.relpath(uri, Path(page.file.src_uri).parent)
        return f"[{link['text']}]({Path(relative).as_posix()}{link['anchor'] or ''})"

    return LINK.sub(rewritten, markdown)


def _path(uri: str) -> Path:
    """The file in the repository that a page of the site comes from."""
    return next(path for path in (DOCS / uri, ROOT / uri) if path.exists())
