#!/usr/bin/env python3
"""compare-study.py DIR: recomputes the statistics of a study from DIR/results.csv with SciPy and holds them against
DIR/answers.csv: rank correlations, regret, scatter and regression to 1e-9, bootstrap intervals within their sampling error.
Exit code 77: no SciPy."""
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


def mean(values):
    return sum(values) / len(values)


def by(rows, key):
    groups = {}
    for i, r in enumerate(rows):
        groups.setdefault(key(r), []).append(i)
    return list(groups.values())


def setting(r):
    return tuple(r[a] for a in axes if a != "teacher")


def bootstrap(metric, name, x, y, of):
    ours = answers[metric, name]
    theirs = stats.bootstrap((x, y), lambda a, b: of(a, b)[0], paired=True, vectorized=False, n_resamples=2000, method="percentile",
                             random_state=1).bootstrap_distribution
    low, high = np.nanquantile(theirs, [0.025, 0.975])  # a resample of equals has no correlation
    # a quantile of 2000 resamples scatters by about sqrt(q (1 - q) / 2000) / density, here a tenth of the width at most
    room = 0.1 * (ours[2] - ours[1]) + 0.01
    check(metric, "low of " + name, ours[1], low, room)
    check(metric, "high of " + name, ours[2], high, room)


def regret(metric, pairs, x, y):
    """Students by teacher, the mean over seeds; what the strongest teacher loses against the best."""
    own = {t: mean(x[of]) for of in by(pairs, lambda r: r["teacher"]) for t in [pairs[of[0]]["teacher"]]}
    losses, spreads = [], []
    for of in by(pairs, setting):
        taught = {pairs[part[0]]["teacher"]: part for part in ([of[k] for k in g] for g in by([pairs[i] for i in of], lambda r: r["teacher"]))}
        if max(own, key=own.get) not in taught or len(taught) < 2:
            continue
        student = {t: mean(y[part]) for t, part in taught.items()}
        strongest = max(taught, key=lambda t: mean(x[taught[t]]))
        losses.append(max(student.values()) - student[strongest])
        spreads.append(max(student.values()) - min(student.values()))
    check(metric, "groups", answers[metric, "groups"][0], len(losses), 0)
    if losses:
        check(metric, "regret", answers[metric, "regret"][0], mean(losses), 1e-9)
        check(metric, "worst_regret", answers[metric, "worst_regret"][0], max(losses), 1e-9)
        check(metric, "strongest_best", answers[metric, "strongest_best"][0], losses.count(0), 0)
        check(metric, "spread", answers[metric, "spread"][0], mean(spreads), 1e-9)


def scatter(metric):
    """Of students that differ in their seed alone; and what they gain over those without a teacher."""
    all_rows = [r for r in rows if r.get("student." + metric)]
    parts = [column([all_rows[i] for i in of], "student." + metric) for of in by(all_rows, lambda r: tuple(r[a] for a in axes))]
    parts = [p for p in parts if len(p) > 1]
    if parts:
        pooled = np.sqrt(sum(p.var(ddof=1) * (len(p) - 1) for p in parts) / sum(len(p) - 1 for p in parts))
        check(metric, "seed_sd", answers[metric, "seed_sd"][0], pooled, 1e-9)
    gains = []
    for r in all_rows:
        plain = [float(o["student." + metric]) for o in all_rows if not o["teacher_dim"] and o["seed"] == r["seed"]
                 and all(o[a] in ("-", r[a]) for a in axes if a != "loss")]
        if r["teacher_dim"] and plain:
            gains.append(float(r["student." + metric]) - mean(plain))
    if gains:
        check(metric, "gain", answers[metric, "gain"][0], mean(gains), 1e-9)


def regression(metric, pairs, x, centred, groups):
    """Of what varies, each column less the mean of its group, in standard deviations."""
    names = [s[8:] for m, s in answers if m == metric and s.startswith("beta of ")]
    if not names:
        return
    columns = {"teacher score": x}
    columns["log2 of teacher / student parameters"] = -np.log2(column(pairs, "parameter_ratio"))
    used, matrix = [], np.zeros((len(pairs), 0))
    for name in names:
        v = np.array(columns[name] if name in columns else column(pairs, name))
        for of in groups:
            v[of] -= v[of].mean()
        wider = np.column_stack([matrix, v / v.std(ddof=1)])
        if np.linalg.matrix_rank(wider, tol=1e-6) == wider.shape[1] and wider.shape[1] < len(pairs) - len(groups):
            used, matrix = used + [name], wider
        else:
            check(metric, "beta of " + name, answers[metric, "beta of " + name][0], float("nan"), 0)
    beta = np.linalg.lstsq(matrix, centred, rcond=None)[0]
    rest = centred - matrix @ beta
    error = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)) * (rest @ rest) / (len(pairs) - len(groups) - len(used)))
    for name, b, e in zip(used, beta, error):
        check(metric, "beta of " + name, answers[metric, "beta of " + name][0], b, 1e-9 * max(1, abs(b)))
        check(metric, "error of " + name, answers[metric, "error of " + name][0], e, 1e-9 * max(1, abs(e)))
    if centred @ centred > 0:
        check(metric, "regression r2", answers[metric, "regression r2"][0], 1 - rest @ rest / (centred @ centred), 1e-9)


compared = 0
for metric in sorted({m for m, _ in answers}):
    scatter(metric)
    pairs = [r for r in rows if r.get("teacher." + metric) and r.get("student." + metric)]
    check(metric, "cells", answers[metric, "cells"][0], len(pairs), 0)
    if len(pairs) < 2:
        continue
    x, y = column(pairs, "teacher." + metric), column(pairs, "student." + metric)
    groups = by(pairs, lambda r: setting(r) + (r["seed"],))
    adjusted = y.copy()
    for members in groups:
        adjusted[members] -= mean(y[members])
    regret(metric, pairs, x, y)
    regression(metric, pairs, x, adjusted, groups)
    for name, of in (("", y), ("_adjusted", adjusted)):
        for statistic, theirs in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
            constant = len(set(x)) < 2 or len(set(of)) < 2
            check(metric, statistic + name, answers[metric, statistic + name][0], float("nan") if constant else theirs(x, of)[0], 1e-9)
            compared += 1
            if len(pairs) >= 20 and not constant:  # the quantiles of a few pairs jump
                bootstrap(metric, statistic + name, x, of, theirs)
print(f"{bad} differ" if bad else f"ok   {compared} rank correlations of {where}, and what else is told, agree with SciPy")
sys.exit(1 if bad else 0)
