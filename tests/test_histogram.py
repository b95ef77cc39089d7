"""Histograms as plain numbers."""

from __future__ import annotations

from kvraft.histogram import Histogram, doubling


def test_bounds_double() -> None:
    assert doubling(0.5, 4) == (0.5, 1.0, 2.0, 4.0)


def test_an_observation_counts_up_to_and_with_its_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 100.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.count == 6
    assert histogram.total == 106.6
