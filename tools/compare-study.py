#!/usr/bin/env python3
"""compare-study.py DIR: recomputes the statistics of a study from DIR/results.csv with SciPy and holds them against
DIR/answers.csv: rank correlations to 1e-9, bootstrap intervals within their sampling error. Exit code 77: no SciPy."""
import csv
import sys
import warnings

try:
    import numpy as np
    from scipy import stats
except ImportError:
    print("skipped: python3-scipy is not installed")
    sys.exit(77)

warnings.filterwarnings("ignore")
where = sys.argv[1]
rows = [r for r in csv.DictReader(open(where + "/results.csv")) if r["state"] == "done"]
answers = {}
for r in csv.DictReader(open(where + "/answers.csv")):
    answers[r["metric"], r["statistic"]] = [float(r[k]) if r[k] else float("nan") for k in ("value", "low", "high")]
header = list(rows[0])
axes = header[header.index("reason") + 1 : header.index("seed")]
bad = 0


def check(metric, name, ours, theirs, tolerance):
    global bad
    same = (np.isnan(ours) and np.isnan(theirs)) or abs(ours - theirs) <= tolerance
    if not same:
        bad += 1
        print(f"DIFF {metric} {name}: {ours!r} here, {theirs!r} by SciPy")
    return same


def column(rows, name):
    return np.array([float(r[name]) for r in rows])


compared = 0
for metric in sorted({m for m, _ in answers}):
    pairs = [r for r in rows if r.get("teacher." + metric) and r.get("student." + metric)]
    if len(pairs) < 2:
        continue
    x, y = column(pairs, "teacher." + metric), column(pairs, "student." + metric)
    groups = {}
    for i, r in enumerate(pairs):
        groups.setdefault(tuple(r[a] for a in axes if a != "teacher") + (r["seed"],), []).append(i)
    adjusted = y.copy()
    for members in groups.values():
        adjusted[members] -= sum(y[i] for i in members) / len(members)
    check(metric, "cells", answers[metric, "cells"][0], len(pairs), 0)
    for name, of in (("", y), ("_adjusted", adjusted)):
        if len(set(x)) < 2 or len(set(of)) < 2:
            continue
        check(metric, "spearman" + name, answers[metric, "spearman" + name][0], stats.spearmanr(x, of)[0], 1e-9)
        check(metric, "kendall" + name, answers[metric, "kendall" + name][0], stats.kendalltau(x, of)[0], 1e-9)
        compared += 2
        if len(pairs) < 20:
            continue  # the quantiles of a few pairs jump
        ours = answers[metric, "spearman" + name]
        theirs = stats.bootstrap((x, of), lambda a, b: stats.spearmanr(a, b)[0], paired=True, vectorized=False, n_resamples=2000,
                                 method="percentile", random_state=1).bootstrap_distribution
        low, high = np.nanquantile(theirs, [0.025, 0.975])  # a resample of equals has no correlation
        # a quantile of 2000 resamples scatters by about sqrt(q (1 - q) / 2000) / density, here a tenth of the width at most
        room = 0.1 * (ours[2] - ours[1]) + 0.01
        check(metric, "low of spearman" + name, ours[1], low, room)
        check(metric, "high of spearman" + name, ours[2], high, room)
print(f"{bad} differ" if bad else f"ok   {compared} rank correlations of {where} agree with SciPy")
sys.exit(1 if bad else 0)
