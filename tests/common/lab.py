"""Where the common checks are run: small cases, and what detectors and repairs make of them."""

import copy
from dataclasses import dataclass, field, replace

import numpy as np
from datasets import Dataset

from bedkd import Case, Parts
from bedkd.detectors import DETECTORS, Detection, DirectionalMapping, Given, TriggerProbe
from bedkd.repairs import REPAIRS

MAPPING = DirectionalMapping(epochs=2, lr=2e-3)
PROBE = TriggerProbe(rows=60, windows=3, carriers=2, texts_per_carrier=1)

# Settings in toy size, by name; thresholds stay as they are. A method without an entry runs with
# its defaults, so that a new one needs an entry only if its defaults take seconds here.
DETECTOR_SIZES = {
    "bedkd": {"mapping": MAPPING, "probe": PROBE},
    "dmm": {"epochs": 2, "lr": 2e-3},
    "probe": {"rows": 60, "windows": 3, "carriers": 2, "texts_per_carrier": 1},
}
REPAIR_SIZES = {
    "bedkd": {"cycles": 2, "lr": 1e-3, "max_suspects": 16},
    "retrain": {"backbone": "fresh"},
    "rga": {"epochs": 2, "lr": 1e-3},
    "interpolate": {"backbone": "fresh"},
}


class Guarded(Dataset):
    """Rows of which nothing but text and label may be read."""

    def __getitem__(self, key):
        if key not in ("text", "label") and set(self.column_names) - {"text", "label"}:
            raise AssertionError(f"{key!r} was read from rows with {self.column_names}")
        return super().__getitem__(key)


@dataclass(frozen=True)
class World:
    """A model, and the rows its defender holds; ``untrusted`` has flags that nobody may read."""

    model: object
    tokenizer: object
    trusted: Dataset
    untrusted: Dataset


@dataclass
class Lab:
    """Worlds by name, and what several checks look at: each detection and repair is made once."""

    worlds: dict
    detections: dict = field(default_factory=dict)
    repairs: dict = field(default_factory=dict)

    def case(self, world="victim", **changes):
        """A case of its own: no other check sees what happens to its model."""
        w = self.worlds[world]
        held = Case(w.model, w.tokenizer, w.trusted, w.untrusted, Parts(10, 12, 10), max_length=24)
        return replace(held, **{"model": copy.deepcopy(w.model), **changes})

    def poisoned(self, case):
        """The rows with a trigger, known by its word."""
        return np.array(["cf" in text.split() for text in case.untrusted["text"]])

    def detector(self, name, case):
        if name == "given":
            return Given(tuple(np.flatnonzero(self.poisoned(case))))
        return DETECTORS[name](**DETECTOR_SIZES.get(name, {}))

    def repair(self, name):
        return REPAIRS[name](**REPAIR_SIZES.get(name, {}))

    def detect(self, name, case):
        return self.detector(name, case).detect(case)

    def detection(self, name, world="victim"):
        """What the detector of that name finds in a world."""
        if (name, world) not in self.detections:
            self.detections[name, world] = self.detect(name, self.case(world))
        return self.detections[name, world]

    def found(self, case, is_backdoored=True):
        """A detection to repair by: two rows must not be taken, one of them is flagged."""
        flagged = self.poisoned(case)
        scores = flagged + np.arange(len(flagged)) / 1000
        allowed = scores.copy()
        allowed[[np.flatnonzero(flagged)[0], np.flatnonzero(~flagged)[0]]] = -np.inf
        if not is_backdoored:
            flagged = np.zeros_like(flagged)
        return Detection(scores, flagged, 1.0, is_backdoored, repair_scores=allowed)

    def repaired(self, name, world="victim"):
        """What the repair of that name makes of a world's model."""
        if (name, world) not in self.repairs:
            case = self.case(world)
            self.repairs[name, world] = self.repair(name).repair(case, self.found(case))
        return self.repairs[name, world]
