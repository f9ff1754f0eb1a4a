"""Detectors: which rows are poisoned, and is there a backdoor at all?"""

from bedkd.detectors.association import Association
from bedkd.detectors.base import (
    Detection,
    Detector,
    Evidence,
    fdr_threshold,
    flag_by_fpr,
    min_detectable,
)
from bedkd.detectors.bedkd import BeDKDDetector
from bedkd.detectors.bki import KeywordIdentification
from bedkd.detectors.content import Content
from bedkd.detectors.cube import Cube
from bedkd.detectors.directional_mapping import DirectionalMapping
from bedkd.detectors.given import Given
from bedkd.detectors.mahalanobis import Mahalanobis
from bedkd.detectors.onion import Onion
from bedkd.detectors.pd import LogOddsShift
from bedkd.detectors.rap import Rap
from bedkd.detectors.strip import Strip
from bedkd.detectors.trigger_probe import TriggerProbe
from bedkd.detectors.wording import Wording
from bedkd.detectors.zscore import ZScore

# Names for the command line. A new detector is one file and one line here.
DETECTORS = {
    "bedkd": BeDKDDetector,
    "dmm": DirectionalMapping,
    "content": Content,
    "wording": Wording,
    "probe": TriggerProbe,
    "association": Association,
    "zscore": ZScore,
    "mahalanobis": Mahalanobis,
    "strip": Strip,
    "pd": LogOddsShift,
    "cube": Cube,
    "bki": KeywordIdentification,
    "rap": Rap,
    "onion": Onion,
}

__all__ = [
    "DETECTORS",
    "Association",
    "BeDKDDetector",
    "Content",
    "Cube",
    "Detection",
    "Detector",
    "DirectionalMapping",
    "Evidence",
    "Given",
    "KeywordIdentification",
    "LogOddsShift",
    "Mahalanobis",
    "Onion",
    "Rap",
    "Strip",
    "TriggerProbe",
    "Wording",
    "ZScore",
    "fdr_threshold",
    "flag_by_fpr",
    "min_detectable",
]
