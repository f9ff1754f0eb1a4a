"""What every detector and every repair must do, whatever its method: one check, one promise.

The idea is scikit-learn's ``estimator_checks``. A check takes the lab and a method's name.
"""

import contextlib
import copy
import json
import random
import tempfile
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from lab import Guarded

from bedkd import Run, models, purify, report
from bedkd.detectors import Detection
from bedkd.purify import Purified
from bedkd.purify import detect as detect_and_keep
from bedkd.repairs import AdversarialDistillation, Repaired
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

# A detector whose verdict is its caller's, not its own.
SAYS_WHAT_IT_IS_TOLD = {"given"}


# --- what the checks compare ----------------------------------------------------------------


def state_of(model):
    """Everything of a model that a method might change, to compare with ``==``."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "weights": {
            name: (str(t.device), t.dtype, t.requires_grad, t.grad is None, t.detach().clone())
            for name, t in tensors
        },
        "training": {name: part.training for name, part in model.named_modules()},
        "config": model.config.to_json_string(),
    }


def assert_same_state(after, before):
    assert after["training"] == before["training"]
    assert after["config"] == before["config"]
    assert after["weights"].keys() == before["weights"].keys()
    for name, (*kind, values) in after["weights"].items():
        *kind_before, values_before = before["weights"][name]
        assert (name, kind) == (name, kind_before)
        assert torch.equal(values, values_before), name


def assert_same_detection(one, two, rows=slice(None), atol=0.0):
    """``rows``: where the rows of ``one`` stand in ``two``."""
    assert one.evidence.keys() == two.evidence.keys()
    for item in fields(Detection):
        ours, theirs = getattr(one, item.name), getattr(two, item.name)
        pairs = [(ours, theirs)]
        if isinstance(ours, np.ndarray):
            pairs = [(ours, theirs[rows])]
        elif item.name == "evidence":
            pairs = [(ours[part], theirs[part][rows]) for part in ours]
        elif isinstance(ours, float):
            pairs = [(np.array(ours), np.array(theirs, float))]
        for left, right in pairs:
            if isinstance(left, np.ndarray):
                np.testing.assert_allclose(left, right, rtol=0, atol=atol, err_msg=item.name)
            elif not (atol and item.name == "details"):  # figures of every kind
                assert left == right, item.name


def assert_same_repair(one, two, atol=0.0):
    assert one.rows.tolist() == two.rows.tolist()
    for (name, ours), theirs in zip(
        one.model.state_dict().items(), two.model.state_dict().values(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)
    if not atol:
        assert one.history == two.history


def assert_json(value):
    """It comes back from JSON as it was: no arrays, tuples, numpy numbers, NaN or infinity."""
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def logits(model, case):
    return predict(model, case.encoded_untrusted).logits


@contextlib.contextmanager
def other_global_seeds():
    """What a caller may have done before: nobody's result may depend on it."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(4321)
        yield
    random.setstate(before[0])
    np.random.set_state(before[1])


def without_dropout(model):
    """Padding moves the places where dropout strikes, so that the comparison needs it off."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return model


@contextlib.contextmanager
def longer_rows_in_every_batch():
    """Batches as if each held a row with five more tokens."""
    batch = EncodedTexts.batch

    def padded(self, indices, device):
        made = batch(self, indices, device)
        fill = {"input_ids": self.pad}
        wider = {
            name: torch.nn.functional.pad(value, (0, 5), value=fill.get(name, 0))
            for name, value in made.inputs.items()
        }
        return replace(made, inputs=wider)

    with mock.patch.object(EncodedTexts, "batch", padded):
        yield


def guarded_case(lab):
    """The victim's case from rows with inverted flags and one more column."""
    rows = lab.worlds["victim"].untrusted
    columns = {
        "note": [f"poisoned: {flag}" for flag in rows["poisoned"]],
        "text": rows["text"][:],
        "label": rows["label"][:],
        "poisoned": [not flag for flag in rows["poisoned"]],
    }
    return lab.case(untrusted=Guarded.from_dict(columns))


def assert_settings(method):
    """A frozen dataclass whose fields are JSON, as reports and checkpoints need it."""
    assert is_dataclass(method)
    json.dumps(asdict(method))
    for item in fields(method)[:1]:
        with pytest.raises(FrozenInstanceError):
            setattr(method, item.name, None)


# --- detectors ------------------------------------------------------------------------------


def detection_is_as_documented(lab, name, world="victim"):
    found, case = lab.detection(name, world), lab.case(world)
    count = len(case.untrusted)
    assert isinstance(found, Detection)
    assert_settings(lab.detector(name, case))
    for scores in (found.scores, found.repair_scores, *found.evidence.values()):
        assert isinstance(scores, np.ndarray)
        assert scores.shape == (count,)
        assert np.issubdtype(scores.dtype, np.floating)
        assert not np.isnan(scores).any()
    assert np.isfinite(found.scores).all()
    assert not np.isposinf(found.repair_scores).any()
    assert (found.flagged.shape, found.flagged.dtype) == ((count,), np.dtype(bool))
    assert type(found.is_backdoored) is bool
    assert isinstance(found.threshold, float | int)
    assert found.flagged.any() or not found.is_backdoored
    assert not found.cannot_tell  # every world has rows enough for a verdict
    if found.p_value is not None:
        assert isinstance(found.p_value, float)
        assert 0 <= found.p_value <= 1
    assert_json(found.details)
    assert all(isinstance(part, str) for part in found.evidence)


def four_labels(lab, name):
    detection_is_as_documented(lab, name, "four labels")


def decoder(lab, name):
    detection_is_as_documented(lab, name, "decoder")


def adapter(lab, name):
    detection_is_as_documented(lab, name, "adapter")


def model_is_left_alone(lab, name):
    case = lab.case()
    case.model.train()
    case.model.bert.encoder.eval()  # a caller may have put parts of it into different modes
    before = state_of(case.model)
    lab.detect(name, case)
    assert_same_state(state_of(case.model), before)


def only_text_and_label_are_read(lab, name):
    assert_same_detection(lab.detect(name, guarded_case(lab)), lab.detection(name))


def same_seed_same_result(lab, name):
    expected = lab.detection(name)
    with other_global_seeds():
        assert_same_detection(lab.detect(name, lab.case()), expected)


def order_of_rows_does_not_matter(lab, name):
    rows = lab.worlds["victim"].untrusted
    order = np.random.default_rng(7).permutation(len(rows))
    found = lab.detect(name, lab.case(untrusted=rows.select(order)))
    assert_same_detection(found, lab.detection(name), order)


def padding_does_not_matter(lab, name):
    model = without_dropout(lab.worlds["victim"].model)
    expected = lab.detect(name, lab.case(model=model))
    with longer_rows_in_every_batch():
        found = lab.detect(name, lab.case(model=copy.deepcopy(model)))
    assert_same_detection(found, expected, atol=1e-5)


def honest_model_is_left_alone(lab, name):
    if name not in SAYS_WHAT_IT_IS_TOLD:
        found = lab.detection(name, "honest")
        assert not found.is_backdoored
        assert not found.cannot_tell


def detection_survives_saving(lab, name):
    case = lab.case()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        kept, _ = detect_and_keep(case, lab.detector(name, case), run)
        assert_same_detection(kept, lab.detection(name))
        loaded = Detection(**run.load("detection"))
    assert_same_detection(loaded, kept)
    assert loaded.flagged.dtype == bool
    assert (loaded.details, type(loaded.threshold)) == (kept.details, type(kept.threshold))


def detection_fits_into_the_report(lab, name):
    case = lab.case()
    detector, found = lab.detector(name, case), lab.detection(name)
    summary = Purified(case, detector, AdversarialDistillation(), found, None).to_dict()
    assert json.dumps(summary, allow_nan=False)
    assert f"{found.flagged.sum()} of {len(found.scores)}" in report.purification_markdown(summary)


DETECTOR_CHECKS = (
    detection_is_as_documented,
    four_labels,
    decoder,
    adapter,
    model_is_left_alone,
    only_text_and_label_are_read,
    same_seed_same_result,
    order_of_rows_does_not_matter,
    padding_does_not_matter,
    honest_model_is_left_alone,
    detection_survives_saving,
    detection_fits_into_the_report,
)


# --- repairs --------------------------------------------------------------------------------


def repair(lab, name, case, **options):
    return lab.repair(name).repair(case, lab.found(case, **options))


def repair_is_as_documented(lab, name, world="victim"):
    case, made = lab.case(world), lab.repaired(name, world)
    assert isinstance(made, Repaired)
    assert_settings(lab.repair(name))
    if world != "adapter":  # what is left of an adapter may be a whole model
        assert type(made.model) is type(case.model)
    assert made.model.num_labels == case.num_labels
    assert not any(part.training for part in made.model.modules())
    assert logits(made.model, case).shape == (len(case.untrusted), case.num_labels)
    assert isinstance(made.rows, np.ndarray)
    assert np.issubdtype(made.rows.dtype, np.integer)
    assert len(set(made.rows.tolist())) == made.rows.size
    allowed = np.flatnonzero(~np.isneginf(lab.found(case).repair_scores))
    assert set(made.rows.tolist()) <= set(allowed.tolist())
    assert all(isinstance(record, dict) for record in made.history)
    assert_json(made.history)
    assert_json(made.details)


def repairs_four_labels(lab, name):
    repair_is_as_documented(lab, name, "four labels")


def repairs_a_decoder(lab, name):
    repair_is_as_documented(lab, name, "decoder")


def repairs_an_adapter(lab, name):
    repair_is_as_documented(lab, name, "adapter")
    before, made = lab.worlds["adapter"].model, lab.repaired(name, "adapter").model
    if isinstance(made, type(before)):  # a second adapter on the same base, which never changes
        kept = dict(before.named_parameters())
        same = [torch.equal(w, kept[k]) for k, w in made.named_parameters() if not w.requires_grad]
        assert same
        assert all(same)


def repairs_a_copy(lab, name):
    case = lab.case()
    case.model.train()
    case.model.bert.encoder.eval()
    found, before = lab.found(case), state_of(case.model)
    made = lab.repair(name).repair(case, found)
    assert_same_state(state_of(case.model), before)
    assert_same_detection(found, lab.found(case))
    assert made.model is not case.suspect
    theirs = {weight.data_ptr() for weight in case.suspect.parameters()}
    assert not theirs & {weight.data_ptr() for weight in made.model.parameters()}


def repair_reads_only_text_and_label(lab, name):
    assert_same_repair(repair(lab, name, guarded_case(lab)), lab.repaired(name))


def same_seed_same_repair(lab, name):
    expected = lab.repaired(name)
    with other_global_seeds():
        assert_same_repair(repair(lab, name, lab.case()), expected)


def padding_does_not_matter_to_a_repair(lab, name):
    model = without_dropout(lab.worlds["victim"].model)
    case = lab.case(model=model)
    expected = logits(repair(lab, name, case).model, case)
    with longer_rows_in_every_batch():
        case = lab.case(model=copy.deepcopy(model))
        found = logits(repair(lab, name, case).model, case)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def repairs_without_a_verdict(lab, name):
    case = lab.case()
    allowed = ~np.isneginf(lab.found(case).repair_scores)
    made = repair(lab, name, case, is_backdoored=False)
    assert allowed[made.rows].all()


def repaired_model_survives_saving(lab, name):
    case, made = lab.case(), lab.repaired(name)
    with tempfile.TemporaryDirectory() as folder:
        models.save_checkpoint(made.model, case.tokenizer, Path(folder) / "model")
        loaded, tokenizer = models.load_checkpoint(Path(folder) / "model")
    again = lab.case(model=loaded, tokenizer=tokenizer)
    np.testing.assert_array_equal(logits(loaded, again), logits(made.model, case))


def repair_can_be_resumed(lab, name):
    case = lab.case()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the second time from what the first has kept, if it keeps anything
            made = lab.repair(name).repair(case, lab.found(case), Run(Path(folder)))
            assert_same_repair(made, lab.repaired(name))


def repair_fits_into_the_report(lab, name):
    case = lab.case()
    given = lab.detector("given", case)
    result = purify(case, given, lab.repair(name))
    summary = result.to_dict()
    assert result.changed
    assert json.dumps(summary, allow_nan=False)
    assert "repaired with" in report.purification_markdown(summary)


REPAIR_CHECKS = (
    repair_is_as_documented,
    repairs_four_labels,
    repairs_a_decoder,
    repairs_an_adapter,
    repairs_a_copy,
    repair_reads_only_text_and_label,
    same_seed_same_repair,
    padding_does_not_matter_to_a_repair,
    repairs_without_a_verdict,
    repaired_model_survives_saving,
    repair_can_be_resumed,
    repair_fits_into_the_report,
)
