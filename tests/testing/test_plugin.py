"""The plugin in runs of pytest of its own, as a project would use it."""

from __future__ import annotations

import sys

import pytest

pytest_plugins = "pytester"
pytestmark = pytest.mark.timeout(100)

STYLES = """
import asyncio
import json
import unittest
import urllib.request

import pytest

import kvraft


def put(url, key, value):
    request = urllib.request.Request(f"{url}/v2/keys{key}", f"value={value}".encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["node"]["value"]


def test_plain(kvraft_server):
    assert put(kvraft_server.url, "/a", "1") == "1"
    assert kvraft_server.client().get("/a").value == "1"


def test_each_has_its_own(kvraft_server):
    with pytest.raises(kvraft.client.errors.KeyNotFound):
        kvraft_server.client().get("/a")
    kvraft_server.client().set("/a", "1", ttl=30)
    kvraft_server.advance(30)
    with pytest.raises(kvraft.client.errors.KeyNotFound):
        kvraft_server.client().get("/a")


@pytest.mark.parametrize("size", [1, 3])
def test_parametrised(kvraft_cluster, size):
    cluster = kvraft_cluster(size)
    assert len(cluster.urls) == size
    killed = cluster.kill_leader()
    cluster.restart(killed)
    cluster.wait_leader()
    cluster.client().set("/a", "1")


def test_two_clusters(kvraft_cluster):
    first, second = kvraft_cluster(), kvraft_cluster(2)
    first.client().set("/a", "1")
    with pytest.raises(kvraft.client.errors.KeyNotFound):
        second.client().get("/a", quorum=True)


@pytest.mark.asyncio
async def test_asynchronous(kvraft_cluster):
    cluster = kvraft_cluster(3)
    async with cluster.async_client() as client:
        await client.set("/a", "1", ttl=30)
        async with client.watch("/a") as events:
            killed = cluster.kill_leader()  # short calls may block
            assert await cluster.aio.wait_leader() != killed
            await cluster.aio.advance(30)
            assert (await anext(events)).action == "expire"


class TestClass:
    def test_method(self, kvraft_server):
        assert put(kvraft_server.url, "/a", "1") == "1"


class Unittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def server(self, kvraft_server):
        self.url = kvraft_server.url

    def test_method(self):
        self.assertEqual(put(self.url, "/a", "1"), "1")


@pytest.mark.parametrize("value", ["1", "2"])
def test_a_directory_on_a_shared_server(kvraft_session_server, kvraft_directory, value):
    client = kvraft_session_server.shared_client
    assert client.get(kvraft_directory).node.nodes == ()
    client.set(f"{kvraft_directory}/a", value)
    assert [node.key for node in client.get("/").node.nodes] == [kvraft_directory]
"""
TESTS = 10

REMAINS = """
import gc
import os
import threading

import pytest

before = []


def remains():
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def test_first(kvraft_server):
    kvraft_server.client().set("/a", "1")


def test_count():
    before.append(remains())


@pytest.mark.parametrize("number", range(5))
def test_that_fails(kvraft_server, kvraft_cluster, number):
    cluster = kvraft_cluster(3)
    events = iter(cluster.client().watch("/a"))
    cluster.pause()
    cluster.partition("m1")
    assert number < 0


def test_nothing_remains():
    assert remains() == before[0]
"""


MARK_AS_INSTALLED = """
def pytest_configure(config):
    # What pytest does with the packages of an installed distribution that has a plugin.
    config.pluginmanager.rewrite_hook.mark_rewrite("kvraft", "kvraft_cli")
"""


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest(MARK_AS_INSTALLED)


def test_tests_of_all_styles_in_several_processes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(STYLES)
    done = pytester.runpytest_subprocess("-W", "error", "-n", "2")
    done.assert_outcomes(passed=TESTS)


def test_failing_tests_leave_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(REMAINS)
    done = pytester.runpytest_subprocess("-W", "error")
    done.assert_outcomes(passed=3, failed=5)


def test_nothing_is_imported_before_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def ours():
            return {name for name in sys.modules if name.split(".")[0] == "kvraft"}

        LIGHT = {"kvraft", "kvraft.testing", "kvraft.testing.plugin"}

        def test_light():
            assert ours() == LIGHT
            assert not {"asyncio", "aiohttp", "ssl", "msgpack"} & set(sys.modules)

        def test_heavy(kvraft_server, pytestconfig):
            assert len(ours()) > 30
            hook = pytestconfig.pluginmanager.rewrite_hook
            assert sys.meta_path.index(hook) == 0
            rewritten = [m for m in ours() if sys.modules[m].__spec__.loader is hook]
            assert set(rewritten) <= LIGHT
        """
    )
    pytester.makeini("[pytest]")
    names = ("asyncio", "anyio", "hypothesispytest", "xdist", "timeout")
    done = pytester.runpytest_subprocess(*(f"-pno:{name}" for name in names))
    done.assert_outcomes(passed=2)


def test_a_program_that_imports_kvraft_first_gets_no_warning(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(kvraft_server): pass")
    script = pytester.makepyfile(
        run="""
        import sys

        import pytest

        import kvraft
        import kvraft_cli

        sys.exit(pytest.main(["-W", "error", "-p", "no:cacheprovider"]))
        """
    )
    done = pytester.runpython(script)
    assert done.ret == 0, done.stdout.str()
    done.assert_outcomes(passed=1)


def test_the_fixtures_describe_themselves(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess("--fixtures")
    for fixture in ("kvraft_server", "kvraft_cluster", "kvraft_session_server", "kvraft_directory"):
        done.stdout.fnmatch_lines([f"{fixture} *kvraft*plugin.py:*", "    [A-Z]*."])


def test_coverage_sees_what_it_saw_before(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        doubling="""
        def double(number):
            return 2 * number
        """,
        test_doubling="""
        from doubling import double

        def test(kvraft_server):
            kvraft_server.advance(1)
            assert double(2) == 4
        """,
    )
    coverage = (sys.executable, "-m", "coverage")
    ran = pytester.run(*coverage, "run", "--include=doubling.py", "-m", "pytest")
    ran.assert_outcomes(passed=1)
    report = pytester.run(*coverage, "report", "--fail-under=100")
    assert report.ret == 0, report.stdout.str()
