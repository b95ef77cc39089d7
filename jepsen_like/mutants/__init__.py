"""Does the harness notice planted bugs? `python -m jepsen_like mutants`, or `make mutants`.

A mutant replaces a part of the production code, while its runs last, by a version with one
well-known mistake. Each names the runs that catch it: seeds of a simulated shape, a written
scenario, an enumeration of power cuts, a regression test, or a campaign on real processes. It is
caught when the run passes without the mistake, and fails with it for the reason that the mutant
states.

`registry` joins the mutants of all topics; `trial` carries out a named run; `__main__` draws the
table. Nothing in the production code knows of this; a mutant whose target is gone fails loudly.
"""
