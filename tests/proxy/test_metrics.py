"""The names and forms of a proxy's metrics."""

from __future__ import annotations

from kvraft.proxy.metrics import FAILED_GETTING, ProxyMetrics


def lines(metrics: ProxyMetrics) -> list[str]:
    return metrics.exposition().decode().splitlines()


def test_what_has_not_happened_is_not_there() -> None:
    text = ProxyMetrics().exposition().decode()
    assert "etcd_proxy" not in text
    assert "process_open_fds" in text


def test_counters() -> None:
    metrics = ProxyMetrics()
    metrics.handled("GET", 200, 0.1)
    metrics.handled("GET", 200, 0.1)
    metrics.handled("PUT", 201, 0.1)
    metrics.dropped("PUT", FAILED_GETTING)
    shown = lines(metrics)
    assert 'etcd_proxy_handled_total{code="200",method="GET"} 2.0' in shown
    assert 'etcd_proxy_handled_total{code="201",method="PUT"} 1.0' in shown
    dropped = 'etcd_proxy_dropped_total{method="PUT",proxying_error="failed_getting_response"} 1.0'
    assert dropped in shown
    assert not any("_created" in line for line in shown)


def test_durations() -> None:
    metrics = ProxyMetrics()
    for seconds in (0.0005, 0.0006, 2.048, 3.0):
        metrics.handled("GET", 200, seconds)
    name = "etcd_proxy_handling_duration_seconds"
    shown = [line for line in lines(metrics) if line.startswith(name)]
    assert len(shown) == 14 + 2
    assert f'{name}_bucket{{le="0.0005",method="GET"}} 1.0' in shown
    assert f'{name}_bucket{{le="0.001",method="GET"}} 2.0' in shown
    assert f'{name}_bucket{{le="2.048",method="GET"}} 3.0' in shown
    assert f'{name}_bucket{{le="+Inf",method="GET"}} 4.0' in shown
    assert f'{name}_count{{method="GET"}} 4.0' in shown


def test_methods_that_clients_make_up_share_one_label() -> None:
    metrics = ProxyMetrics()
    metrics.handled("BREW", 405, 0.1)
    metrics.handled("WHEN", 405, 0.1)
    assert 'etcd_proxy_handled_total{code="405",method="OTHER"} 2.0' in lines(metrics)
