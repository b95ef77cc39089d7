"""How the manual is made of the pages (`make docs`).

The source directory is the whole repository, so that a link from one file to another is the same
on a page that GitHub shows and in the manual. Nothing is fetched from a network.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from kvraft import __version__  # noqa: E402

project = "kvraft"
author = "the authors of kvraft"
copyright = "the authors of kvraft"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "THREAT_MODEL.md",
]
exclude_patterns = ["docs/_*/**", "docs/README.md"]  # docs/index.md includes the README

# --- pages -------------------------------------------------------------------------------

myst_heading_anchors = 4  # the anchors that GitHub makes, too
highlight_language = "text"

# --- appearance --------------------------------------------------------------------------

html_theme = "furo"
html_title = f"kvraft {version}"
html_extra_path = ["_extra"]  # the redirection from the root
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

# --- the interface, from docstrings --------------------------------------------------------

# A word in single backticks is code in our docstrings, as it is in Markdown.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource", "undoc-members": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "both"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88


def mark_literal_blocks(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let an indented passage of a docstring be shown as it is written.

    Our docstrings hold no reStructuredText; what is indented there is a drawing or code.
    """
    if lines and lines[0].startswith(("Alias for field number", "Create new instance of")):
        lines.clear()  # Python's own words on named tuples say nothing
    marked: list[str] = []
    literal = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not literal:
            marked += ["", "::", ""] if marked and marked[-1].strip() else ["::", ""]
            literal = True
        elif line.strip() and not indented and literal:
            literal = False
            if marked[-1].strip():
                marked.append("")
        marked.append(line)
    lines[:] = marked


_FOLDER: Final = re.compile(r"\]\(([\w./-]+)\)")


def point_at_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a folder goes to its README, as on GitHub; that of `docs` is the index."""
    here = Path(app.env.doc2path(name)).parent

    def page_of(match: re.Match[str]) -> str:
        target = here / match[1]
        if target.is_dir() and (target / "README.md").exists():
            return point_at(match[1].rstrip("/") + "/README.md")
        return point_at(match[1])

    def point_at(link: str) -> str:
        if (here / link).resolve() == ROOT / "docs" / "README.md":
            link = os.path.relpath(ROOT / "docs" / "index.md", here)
        return f"]({link})"

    source[0] = _FOLDER.sub(page_of, source[0])


def setup(app: Sphinx) -> None:
    """Connect the two small helpers."""
    app.connect("autodoc-process-docstring", mark_literal_blocks)
    app.connect("source-read", point_at_pages)
