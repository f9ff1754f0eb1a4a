"""Figures: what they show, not how they look."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from bedkd import plotting

mpl.use("Agg")
RNG = np.random.default_rng(0)
POISONED = np.arange(100) < 20
SCORES = np.where(POISONED, 0.8, 0.2) + 0.1 * RNG.random(100)


@pytest.fixture(autouse=True)
def fresh_style():
    with mpl.rc_context():
        plotting.use_style()
        yield
        plt.close("all")


def legend(figure):
    return {text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()}


def drawn(figure):
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("threshold", [0.5, None, np.inf])
def test_every_score_is_in_the_histogram_of_its_origin(threshold):
    figure = drawn(plotting.suspicion(SCORES, POISONED, threshold))
    axes = figure.axes[0]
    counts = [sum(bar.get_height() for bar in group) for group in axes.containers]
    assert counts == [80, 20]
    finite = threshold is not None and np.isfinite(threshold)
    assert ("threshold" in legend(figure)) == finite
    assert axes.get_xlabel()
    assert axes.get_yscale() == "log"


def test_precision_and_recall_along_the_threshold():
    axes = drawn(plotting.precision_recall(SCORES, POISONED, 0.5)).axes[0]
    precision, recall, _ = axes.get_lines()
    middle = np.searchsorted(precision.get_xdata(), 0.5)
    assert precision.get_ydata()[middle] == recall.get_ydata()[middle] == 1
    assert precision.get_ydata()[0] == 0.2
    assert recall.get_ydata()[-1] == pytest.approx(1 / 20)


def test_hidden_states_share_their_axes_and_show_every_row():
    panels = {"before": RNG.normal(size=(30, 8)), "after": RNG.normal(size=(30, 8))}
    figure = drawn(plotting.hidden_states(panels, np.arange(30) % 3, ["a", "b", "c"]))
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 30
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_cycles_start_at_the_victim():
    history = [{"cycle": 1, "asr": 0.5}, {"cycle": 2, "asr": 0.1}]
    figure = drawn(
        plotting.cycles(history, {"asr": "ASR"}, start={"asr": 1.0}, lines={"floor": 0.05})
    )
    asr, floor = figure.axes[0].get_lines()
    assert list(asr.get_xdata()) == [0, 1, 2]
    assert list(asr.get_ydata()) == [1.0, 0.5, 0.1]
    assert set(floor.get_ydata()) == {0.05}
    assert legend(figure) == {"ASR", "floor"}


def test_bars_carry_their_numbers():
    figure = drawn(plotting.bars(["x", "y"], {"a": [0.25, 0.5], "b": [1, 0]}, ylabel="share"))
    assert {text.get_text() for text in figure.axes[0].texts} == {"0.25", "0.50", "1.00", "0.00"}
    _, axes = plt.subplots()
    assert plotting.bars(["x"], {"a": [1]}, ylabel="share", ax=axes) is axes.figure
