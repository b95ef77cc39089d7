"""House style that neither the linter nor the type checker looks at."""

from __future__ import annotations

import ast
import configparser
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
MAX_LINE_CHARS: Final = 100
MAX_MODULE_LINES: Final = 1000  # then it does two things
MAX_FUNCTION_LINES: Final = 70  # what fits on a screen

CONFORMANCE: Final = ROOT / "tests" / "conformance"
AS_RECORDED: Final = frozenset((CONFORMANCE / "replay.py", CONFORMANCE / "replay_cli.py"))
SOURCES: Final = sorted(
    path.relative_to(ROOT)
    for top in ("kvraft", "kvraft_cli", "jepsen_like", "benchmarks", "tests")
    for path in (ROOT / top).rglob("*.py")
    if path not in AS_RECORDED
)
UNFINISHED: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
LIMITS: Final = ROOT / "kvraft" / "limits.py"


@cache
def text_of(path: Path) -> str:
    return (ROOT / path).read_text("utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), str(path))


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: explaining more is never a fault."""
    assert node.end_lineno is not None
    body = node.body[0]
    documented = ast.get_docstring(node) is not None and body.end_lineno is not None
    docstring = (body.end_lineno or 0) - body.lineno + 1 if documented else 0
    return node.end_lineno - node.lineno + 1 - docstring


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_module_is_tidy(path: Path) -> None:
    text, tree = text_of(path), tree_of(path)
    lines = text.splitlines()
    wrong = [
        f"{path}:{number}: {len(line)} characters"
        for number, line in enumerate(lines, 1)
        if len(line) > MAX_LINE_CHARS
    ]
    wrong += [
        f"{path}:{number}: unfinished: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if UNFINISHED.search(line) and path != Path("tests/test_tidy.py")
    ]
    if len(lines) > MAX_MODULE_LINES:
        wrong.append(f"{path}: {len(lines)} lines")
    if text.strip() and ast.get_docstring(tree) is None:
        wrong.append(f"{path}: no module docstring")
    wrong += [
        f"{path}:{node.lineno}: {node.name} has {code_lines(node)} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and code_lines(node) > MAX_FUNCTION_LINES
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_with_code_postpone_annotations() -> None:
    code = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign
    wrong = [
        str(path)
        for path in SOURCES
        if any(isinstance(node, code) for node in tree_of(path).body)
        and "from __future__ import annotations" not in text_of(path)
    ]
    assert not wrong


def test_every_limit_has_a_reason_and_one_value() -> None:
    lines = LIMITS.read_text("utf-8").splitlines()
    limits = [
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    assert len(limits) > 10
    wrong = []
    names = []
    for node in limits:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        name = ast.unparse(target)
        names.append(name)
        first, last = node.lineno, node.end_lineno or node.lineno
        above = lines[first - 2].strip()
        reason = any("#" in line for line in lines[first - 1 : last])
        if not reason and not (above.startswith("#") and not above.startswith("# ---")):
            wrong.append(f"{name} (line {first}): no reason given")
    wrong += [f"{name} is set {count} times" for name, count in Counter(names).items() if count > 1]
    assert not wrong, "\n".join(wrong)


def test_every_limit_is_used() -> None:
    names = re.findall(r"^([A-Z][A-Z0-9_]+): Final", LIMITS.read_text("utf-8"), re.MULTILINE)
    used = "\n".join(text_of(path) for path in SOURCES if path != Path("kvraft/limits.py"))
    unused = [name for name in names if not re.search(rf"\b{name}\b", used)]
    assert not unused, f"in limits.py, but nowhere else: {unused}"


def test_packages_have_a_place_for_their_tests() -> None:
    """Tests mirror the packages: tests/raft/test_log.py is for kvraft/raft/log.py."""
    packages = {path.parent.name for path in SOURCES if path.parts[0] == "kvraft"} - {"kvraft"}
    missing = [name for name in sorted(packages) if not (ROOT / "tests" / name).is_dir()]
    assert not missing


def test_annotations_are_for_users_too() -> None:
    """Without a marker in the installed package type checkers take all of it for Any."""
    packaging = configparser.ConfigParser()
    packaging.read(ROOT / "setup.cfg")
    assert packaging["options.package_data"]["*"] == "py.typed"
    assert all((ROOT / package / "py.typed").exists() for package in ("kvraft", "kvraft_cli"))
