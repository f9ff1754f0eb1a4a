"""The book's figures in one style: colour-blind-safe, readable in print and on a phone."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.metrics import precision_recall_curve

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5F5F5F"
CLEAN, POISONED = BLUE, ORANGE
MARKERS = ("o", "s", "^", "D", "v", "P")


def use_style() -> None:
    """Set the book's matplotlib style for the session."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "axes.axisbelow": True,
            "legend.frameon": False,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, PINK, GREY]),
        }
    )


def suspicion(
    scores: np.ndarray,
    poisoned: np.ndarray,
    threshold: float | None = None,
    *,
    label: str = "suspicion score",
) -> Figure:
    """Histograms of suspicion scores (N,) by true origin (N,) bool, with the threshold.

    The vertical axis is logarithmic: poisoned rows are few.
    """
    figure, axes = plt.subplots()
    bins = np.linspace(scores.min(), scores.max(), 41)
    axes.hist(scores[~poisoned], bins, color=CLEAN, alpha=0.7, label="clean rows")
    axes.hist(scores[poisoned], bins, color=POISONED, alpha=0.7, hatch="//", label="poisoned rows")
    if threshold is not None and np.isfinite(threshold):
        axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set(xlabel=label, ylabel="rows (log scale)", yscale="log")
    axes.legend()
    return figure


def precision_recall(
    scores: np.ndarray, poisoned: np.ndarray, threshold: float | None = None
) -> Figure:
    """Precision and recall of "score at or above the threshold" along the threshold."""
    precision, recall, thresholds = precision_recall_curve(poisoned, scores)
    figure, axes = plt.subplots()
    axes.plot(thresholds, precision[:-1], color=BLUE, label="precision")
    axes.plot(thresholds, recall[:-1], color=ORANGE, linestyle="-.", label="recall")
    if threshold is not None and np.isfinite(threshold):
        axes.axvline(threshold, color="black", linestyle="--", label="chosen threshold")
    axes.set(xlabel="threshold on the suspicion score", ylabel="share", ylim=(-0.03, 1.03))
    axes.legend()
    return figure


def _scatter(axes: Axes, points: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> None:
    colours = (BLUE, GREEN, ORANGE, PINK, GREY, "black")
    for group, name in enumerate(names):
        style = {"s": 14, "color": colours[group], "marker": MARKERS[group]}
        axes.scatter(*points[groups == group].T, alpha=0.7, label=name, **style)
    axes.set(xlabel="first component")


def hidden_states(
    panels: dict[str, np.ndarray], groups: np.ndarray, names: Sequence[str]
) -> Figure:
    """First two principal components of hidden states, one panel each, common axes.

    Args:
        panels: title to states (N, H); the components are those of all panels together.
        groups: (N,) index into ``names``.
        names: names of the groups, at most six.
    """
    projected = PCA(2, random_state=0).fit(np.concatenate(list(panels.values())))
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.6), sharex=True, sharey=True, squeeze=False
    )
    for axes, (title, states) in zip(all_axes[0], panels.items(), strict=True):
        _scatter(axes, projected.transform(states), groups, names)
        axes.set_title(title)
    all_axes[0, 0].set_ylabel("second component")
    figure.legend(*all_axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def hidden_states_apart(
    titles: Sequence[str],
    states: Sequence[np.ndarray],
    groups: np.ndarray,
    names: Sequence[str],
) -> list[Figure]:
    """As :func:`hidden_states`, with a figure for each panel; the axes are the same in all."""
    projected = PCA(2, random_state=0).fit(np.concatenate(states))
    points = [projected.transform(each) for each in states]
    low, high = np.min(points, axis=(0, 1)), np.max(points, axis=(0, 1))
    margin = 0.05 * (high - low)
    figures = []
    for title, each in zip(titles, points, strict=True):
        figure, axes = plt.subplots()
        _scatter(axes, each, groups, names)
        axes.set(title=title, ylabel="second component")
        axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
        axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figures.append(figure)
    return figures


def cycles(
    history: Sequence[dict],
    series: dict[str, str],
    *,
    start: dict[str, float] | None = None,
    lines: dict[str, float] | None = None,
) -> Figure:
    """Shares along the distillation cycles.

    Args:
        history: one record a cycle with the key ``cycle``.
        series: record key to legend text.
        start: value at cycle 0, the victim's, by record key.
        lines: legend text to a constant drawn as a dashed line, such as the floor.
    """
    figure, axes = plt.subplots()
    for number, (key, name) in enumerate(series.items()):
        x = [record["cycle"] for record in history]
        y = [record[key] for record in history]
        if start and key in start:
            x, y = [0, *x], [start[key], *y]
        axes.plot(x, y, marker=MARKERS[number], label=name)
    for (name, value), dash in zip((lines or {}).items(), ("--", ":", "-."), strict=False):
        axes.axhline(value, color=GREY, linestyle=dash, label=name)
    axes.set(xlabel="cycle (0 is the victim)", ylabel="share", ylim=(-0.03, 1.03))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def bars(
    names: Sequence[str], values: dict[str, Sequence[float]], *, ylabel: str, ax: Axes | None = None
) -> Figure:
    """Grouped bars: one group a name, one bar a key of ``values``, each with its number."""
    figure, axes = (ax.figure, ax) if ax else plt.subplots()
    width = 0.8 / len(values)
    hatches = ("", "//", "..", "xx")
    for number, (key, heights) in enumerate(values.items()):
        x = np.arange(len(names)) + (number - (len(values) - 1) / 2) * width
        drawn = axes.bar(x, heights, width * 0.95, label=key, hatch=hatches[number % 4])
        axes.bar_label(drawn, fmt="%.2f", fontsize=9)
    axes.set(xticks=np.arange(len(names)), xticklabels=names, ylabel=ylabel)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
