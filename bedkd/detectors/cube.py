"""CUBE: do the rows of a label fall into clusters in the model's hidden states?

Source: Cui et al. 2022, *A Unified Evaluation of Textual Backdoor Learning: Frameworks and
Benchmarks*. Poisoned rows of a label lie apart from its clean rows.

Kept: last hidden states, fewer dimensions, HDBSCAN; of each label all clusters but the largest are
flagged. Changed: states of the suspect model, where the paper trains a model of its own for an
epoch; PCA instead of UMAP, which would be one more dependency; labels are clustered one by one;
rows in no cluster are not flagged. Added: a verdict. Trusted rows are clustered along with the
untrusted ones; where the model has no backdoor both lie outside the largest cluster equally often,
and the number of flagged rows is hypergeometric. Trusted rows set no threshold, so there is no
false positive rate to choose: a label with two kinds of clean rows loses one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.detectors.states import states
from bedkd.errors import at_least
from bedkd.run import Run

# Largest p-value for the verdict "backdoored".
LEVEL = 0.01


@dataclass(frozen=True)
class Cube:
    """Flag all but the largest cluster of each label.

    The score is a row's distance from the centre of that cluster, in mean distances of its members.

    Attributes:
        components: dimensions that PCA keeps, at least 1; larger keeps more noise.
        min_cluster: fewest rows of a cluster, at least 2; larger finds fewer clusters.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Cube().detect(case).is_backdoored
        False
    """

    components: int = 10
    min_cluster: int = 16
    min_flagged: int = 16

    def __post_init__(self):
        at_least(self, components=1, min_flagged=1)
        at_least(self, min_cluster=2)

    def missing(self, case: Case) -> list[str]:
        """Why no verdict can be had; known before any long work."""
        if len(case.untrusted) < self.min_flagged:
            need = f"a verdict needs {self.min_flagged} flagged; give more"
            return [f"{len(case.untrusted)} untrusted rows: {need}"]
        return []

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Cluster the rows of each label."""
        if missing := self.missing(case):
            return Detection.undecided(case, missing)
        untrusted, trusted = case.untrusted["text"][:], case.divided.all["text"][:]
        found = states(case, [*untrusted, *trusted], progress=run.progress)
        labels = np.append(case.labels, case.trusted_labels)
        # Clusters depend on the order of points, and must not depend on that of rows.
        theirs = np.arange(len(untrusted), len(labels))
        order = np.append(np.argsort(case.draws, kind="stable"), theirs)
        scores, outside = np.zeros(len(labels)), np.zeros(len(labels), bool)
        p_values, clusters = [], {}
        for label in np.unique(labels):
            rows = order[labels[order] == label]
            scores[rows], outside[rows], count = self.apart(found[rows])
            ours = rows < len(untrusted)
            p_values.append(excess(outside[rows], ours))
            clusters[str(label)] = count
        scores, flagged = scores[: len(untrusted)], outside[: len(untrusted)]
        p_value = min(1.0, min(p_values) * len(p_values))
        return Detection(
            scores=scores,
            flagged=flagged,
            threshold=float(min(scores[flagged], default=np.inf)),
            is_backdoored=bool(p_value <= LEVEL and flagged.sum() >= self.min_flagged),
            p_value=p_value,
            details={"clusters": clusters, "threshold_of": "clusters, not the score"},
        )

    def apart(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Scores of R points (R, H), which of them lie in a cluster that is not the largest, and
        the number of clusters.

        >>> near, far = np.zeros((30, 2)), np.full((20, 2), 9.0)
        >>> noise = np.random.default_rng(0).normal(size=(50, 2))
        >>> Cube().apart(np.concatenate([near, far]) + noise)[1].sum()
        np.int64(20)
        """
        if len(points) > 1:
            most = min(self.components, *points.shape)
            points = PCA(most, svd_solver="full").fit_transform(points)
        cluster = np.full(len(points), -1)
        if len(points) >= self.min_cluster:
            cluster = HDBSCAN(min_cluster_size=self.min_cluster, copy=True).fit_predict(points)
        sizes = np.bincount(cluster[cluster >= 0])
        inside = cluster == sizes.argmax() if len(sizes) else np.ones(len(points), bool)
        far = np.linalg.norm(points - points[inside].mean(0), axis=1)
        usual = far[inside].mean()
        return far / (usual if usual > 0 else 1.0), (cluster >= 0) & ~inside, len(sizes)


def excess(outside: np.ndarray, ours: np.ndarray) -> float:
    """P-value of "as many of our rows lie outside as of the others": hypergeometric.

    >>> excess(np.repeat([True, False], 10), np.repeat([True, False], 10)) < 1e-4
    True
    """
    both = int((outside & ours).sum())
    tail = hypergeom.sf(both - 1, len(ours), int(outside.sum()), int(ours.sum()))
    return float(min(max(tail, 0.0), 1.0))
