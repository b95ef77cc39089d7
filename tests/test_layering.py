"""Who may import what, read off the syntax trees.

The layers keep the core testable: what decides (consensus, key space, framing) can be run by the
simulator without sockets, clocks, threads or a disk, because it cannot reach them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = sorted(
    path.relative_to(ROOT)
    for top in ("kvraft", "kvraft_cli", "jepsen_like")
    for path in (ROOT / top).rglob("*.py")
)

# What anything of ours may use: names, numbers, the tree of errors.
BASE: Final = (
    "kvraft.types",
    "kvraft.limits",
    "kvraft.errors",
    "kvraft.histogram",
    "kvraft.versions",
)

# Where a module lives -> which modules of ours it may import beside those of its own package. The
# longest match counts.
MAY_IMPORT: Final[dict[str, tuple[str, ...]]] = {
    "kvraft.types": (),
    "kvraft.limits": (),
    "kvraft.errors": (),
    "kvraft.histogram": (),
    "kvraft.versions": (),
    "kvraft.clock": (),
    "kvraft.raft": BASE,
    "kvraft.store": BASE,
    "kvraft.storage": (*BASE, "kvraft.raft.entry"),
    "kvraft.transport": (*BASE, "kvraft.raft", "kvraft.clock"),
    "kvraft.transport.tls": (*BASE, "kvraft.storage.files"),
    "kvraft.api": (*BASE, "kvraft.store", "kvraft.auth", "kvraft.clock"),
    "kvraft.api.listening": (*BASE, "kvraft.transport.tls"),
    "kvraft.auth": (*BASE, "kvraft.store", "kvraft.clock"),
    "kvraft.auth.model": (*BASE, "kvraft.store.jsontext"),
    "kvraft.auth.permission": (*BASE, "kvraft.auth.model"),
    "kvraft.client": BASE,
    "kvraft.discovery": ("kvraft",),
    "kvraft.embedded": ("kvraft",),
    "kvraft.proxy": ("kvraft",),
    "kvraft.server": ("kvraft",),
    "kvraft.testing": ("kvraft",),
    "kvraft": ("kvraft",),
    # the command line programs talk to a server as any client does
    "kvraft_cli": (*BASE, "kvraft.client", "kvraft.server.quoting", "kvraft.server.urls"),
    # reads the files of a member, with the code of the server
    "kvraft_cli.commands.backup": (
        *BASE,
        "kvraft_cli",
        "kvraft.server.backup",
        "kvraft.storage",
    ),
    "jepsen_like": ("kvraft", "benchmarks.members", "benchmarks.report"),
    "jepsen_like.base": (),
    "jepsen_like.options": (),
    # judges what it is given: simulated clusters, real processes, a real etcd
    "jepsen_like.check": (
        "jepsen_like.base",
        "jepsen_like.options",
        "kvraft.store.request",
        "kvraft.raft.entry",
        "kvraft.server.membership",
    ),
    "jepsen_like.sim": (
        "kvraft",
        "jepsen_like.base",
        "jepsen_like.check",
        "jepsen_like.options",
    ),
    # shows results that have been written down
    "jepsen_like.report": (
        "jepsen_like.base",
        "jepsen_like.faults.matrix",
        "jepsen_like.options",
        "kvraft.versions",
    ),
}

# Packages and modules that decide and do nothing else.
PURE: Final = (
    "kvraft.raft",
    "kvraft.store",
    "kvraft.storage.record",
    "kvraft.auth.model",
    "kvraft.auth.permission",
)
IMPURE_MODULES: Final = frozenset(
    "asyncio concurrent logging multiprocessing os pathlib random secrets select selectors shutil "
    "signal socket ssl subprocess sys tempfile threading time uuid uvloop aiohttp httptools".split()
)

# The only module under these that touches the disk; tests put a lossy one in its place.
DISK: Final = "kvraft.storage.files"
WITHOUT_DISK: Final = (
    "kvraft.raft kvraft.store kvraft.storage kvraft.transport kvraft.api kvraft.server".split()
)
DISK_MODULES: Final = frozenset("fcntl io mmap pathlib shutil tempfile".split())
# of `os`, what neither opens nor changes a file
HARMLESS_OS: Final = frozenset(
    "environ error fspath getenv geteuid getpid getppid kill cpu_count sched_getaffinity strerror "
    "path sysconf urandom _exit".split()
)
HARMLESS_OS_PATH: Final = frozenset("basename dirname join normpath split splitext isabs".split())


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def any_of(module: str, packages: tuple[str, ...] | list[str]) -> bool:
    return any(inside(module, package) for package in packages)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), str(path))


def only_for_types(tree: ast.Module) -> set[ast.AST]:
    """Nodes under `if TYPE_CHECKING:`: they do nothing when the program runs."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }


def inside_functions(tree: ast.Module) -> set[ast.AST]:
    """Nodes that run when something is called, not when the module is imported."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }


def is_module(dotted: str) -> bool:
    place = ROOT.joinpath(*dotted.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def imports(
    path: Path, *, running: bool = False, loading: bool = False
) -> Iterator[tuple[int, str]]:
    """Line and full name of each imported module.

    With `running`, without those for types only; with `loading`, without those in functions.
    """
    tree = tree_of(path)
    skipped = only_for_types(tree) if running else set()
    if loading:
        skipped |= inside_functions(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield node.lineno, name if is_module(name) else node.module


def is_ours(module: str) -> bool:
    return module.split(".")[0] in ("kvraft", "kvraft_cli", "jepsen_like", "benchmarks", "tests")


def layer_of(module: str) -> str:
    return max((layer for layer in MAY_IMPORT if inside(module, layer)), key=len)


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 30
    assert Path("kvraft/storage/files.py") in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_respect_the_layers(path: Path) -> None:
    module = module_name(path)
    layer = layer_of(module)
    wrong = [
        f"{path}:{line}: {layer} must not import {name}"
        for line, name in imports(path)
        if is_ours(name) and not inside(name, layer) and not any_of(name, MAY_IMPORT[layer])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [p for p in SOURCES if any_of(module_name(p), PURE)], ids=str)
def test_pure_modules_reach_nothing_outside(path: Path) -> None:
    wrong = [
        f"{path}:{line}: a pure module must not import {name}"
        for line, name in imports(path, running=True)
        if name.split(".")[0] in IMPURE_MODULES
    ]
    assert not wrong, "\n".join(wrong)


def disk_calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "open":
                yield node.lineno, "open()"
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "os" and node.attr not in HARMLESS_OS:
                yield node.lineno, f"os.{node.attr}"
            elif owner == "os.path" and node.attr not in HARMLESS_OS_PATH:
                yield node.lineno, f"os.path.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
            yield node.lineno, f"names out of {node.module}"
    for line, name in imports(path, running=True):
        if name.split(".")[0] in DISK_MODULES:
            yield line, name


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if any_of(module_name(p), WITHOUT_DISK)], ids=str
)
def test_one_module_touches_the_disk(path: Path) -> None:
    if module_name(path) == DISK:
        assert list(disk_calls(path)), "this test no longer recognises disk calls"
        return
    wrong = [f"{path}:{line}: {what} belongs into {DISK}" for line, what in disk_calls(path)]
    assert not wrong, "\n".join(wrong)


def test_importing_a_package_has_no_cycles() -> None:
    """Between modules, as they are loaded: a cycle breaks as soon as import order changes."""
    graph = {
        module_name(path): {
            name
            for line, name in imports(path, running=True, loading=True)
            if is_ours(name) and name != module_name(path)
        }
        for path in SOURCES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "cycle: " + " -> ".join((*trail, module))
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            visit(target, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())
