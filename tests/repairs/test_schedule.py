"""Which batch of a repair comes when."""

from collections import Counter

import numpy as np
import pytest

from bedkd.repairs.schedule import Planted, Schedule, Transplants, transplant
from bedkd.training.batches import EncodedTexts
from bedkd.training.objectives import cross_entropy


def test_a_transplant_is_a_span_of_the_donor_inside_the_whole_host():
    host, donor = [f"h{i}" for i in range(6)], [f"d{i}" for i in range(20)]
    rng = np.random.default_rng(0)
    starts, places, lengths = set(), set(), set()
    for _ in range(300):
        words = transplant(" ".join(host), " ".join(donor), rng).split()
        assert [w for w in words if w[0] == "h"] == host
        span = [w for w in words if w[0] == "d"]
        start, place = donor.index(span[0]), words.index(span[0])
        assert words[place : place + len(span)] == span == donor[start : start + len(span)]
        starts.add(start)
        places.add(place)
        lengths.add(len(span))
    assert lengths == set(range(6, 15))  # 30 to 70 % of 20
    assert places == set(range(7))
    assert len(starts) > 8


def test_half_of_the_transplants_open_the_host_with_the_opening_of_the_donor():
    rng = np.random.default_rng(0)
    texts = [transplant("a b c d e f g h i", "p q r s t u v w x", rng) for _ in range(400)]
    assert 0.45 < np.mean([text.startswith("p ") for text in texts]) < 0.62


@pytest.mark.parametrize(("host", "donor"), [("", ""), ("a", ""), ("", "b"), ("a", "b")])
def test_transplants_of_tiny_texts(host, donor):
    for seed in range(8):
        words = transplant(host, donor, np.random.default_rng(seed)).split()
        assert sorted(words) == sorted([*host.split(), *donor.split()])


def cycle(tokenizer, toy, later=False, **changes):
    """The steps of one cycle: 120 trusted rows are 8 batches, 64 flagged ones are 4."""
    trusted, flagged = toy.rows(120), toy.rows(64, seed=5)
    encoded = [
        EncodedTexts(tokenizer, rows["text"][:], rows["label"][:]) for rows in (trusted, flagged)
    ]
    hosts, donors = trusted["text"][:], flagged["text"][:]
    settings = {
        "trust": "trust",
        "trusted": encoded[0],
        "punish": "punish",
        "flagged": encoded[1],
        "transplant": "transplant",
        "transplants": Transplants(tokenizer, hosts, donors, encoded[0].labels, 32),
        "presumed": None,
        "planted": None,
        "passes": 1,
        "order": "interleave",
        "punish_every": 4,
        "transplant_every": 1,
        "batch_size": 16,
    }
    schedule = Schedule(**{**settings, **changes})
    steps = list(schedule.cycle(np.random.default_rng(0), later))
    assert later or len(steps) == schedule.steps_per_cycle
    return steps


def kinds(tokenizer, toy, **changes):
    """The kinds of step of one cycle, by their first letters."""
    steps = cycle(tokenizer, toy, **changes)
    assert all(kind == objective for kind, (objective, _, _) in steps)
    return "".join(kind[:2] for kind, _ in steps)


def test_the_schedule_is_the_configured_one(tokenizer, toy):
    assert kinds(tokenizer, toy) == "trtrtrtrtrtrtrtrpu" * 2
    assert kinds(tokenizer, toy, passes=3, punish_every=2) == "trtrtrtrpu" * 12
    paper = {"order": "alternate", "transplant": None}
    assert kinds(tokenizer, toy, **paper) == "tr" * 8 + "pu" * 4
    assert kinds(tokenizer, toy, **paper, punish=None) == "tr" * 8
    assert kinds(tokenizer, toy, punish=None) == "tr" * 16


def seen(steps, *kinds):
    """Numbers of the rows in the steps of these kinds, sorted."""
    batches = [batch for kind, (_, _, batch) in steps if kind in kinds]
    return sorted(np.concatenate(batches)) if batches else []


def test_shuffled_all_rows_come_once_in_random_order(tokenizer, toy):
    rows = toy.rows(40, seed=6)
    presumed = EncodedTexts(tokenizer, rows["text"][:], rows["label"][:])
    steps = cycle(tokenizer, toy, order="shuffle", presumed=presumed)
    found = [kind for kind, _ in steps]
    assert Counter(found) == {"trust": 4, "transplant": 4, "punish": 4, "presumed": 3}
    assert found != sorted(found)
    # Half of the trusted rows are hosts, and no row is both.
    assert len(seen(steps, "trust")) == len(seen(steps, "transplant")) == 60
    for kinds, size in ((("trust", "transplant"), 120), (("punish",), 64), (("presumed",), 40)):
        assert seen(steps, *kinds) == list(range(size))
    assert all(step[:2] == (cross_entropy, presumed) for name, step in steps if name == "presumed")
    hosts = Planted(tokenizer, rows["text"][:], ["kx"], np.array(rows["label"]), 32)
    steps = cycle(tokenizer, toy, order="shuffle", presumed=presumed, planted=hosts)
    assert seen(steps, "planted") == list(range(40))
    assert all(step[0] is cross_entropy for kind, step in steps if kind == "planted")
    bare = {"order": "shuffle", "transplant": None, "punish": None}
    assert [kind for kind, _ in cycle(tokenizer, toy, **bare)] == ["trust"] * 8


def test_hosts_are_drawn_anew_each_time_that_few_trusted_rows_are_gone_over(tokenizer, toy):
    steps = cycle(tokenizer, toy, order="shuffle", passes=3)
    assert seen(steps, "trust", "transplant") == sorted([*range(120)] * 3)
    # 60 of 120 each time: seven in eight come at least once in three.
    assert all(len(set(seen(steps, kind))) > 90 for kind in ("trust", "transplant"))


def test_a_later_cycle_has_more_of_what_is_flagged_and_less_of_what_is_clean(tokenizer, toy):
    rows = toy.rows(40, seed=6)
    presumed = EncodedTexts(tokenizer, rows["text"][:], rows["label"][:])
    hosts = Planted(tokenizer, rows["text"][:], ["kx"], np.array(rows["label"]), 32)
    given = {"order": "shuffle", "presumed": presumed, "planted": hosts, "later_share": 0.25}
    steps = cycle(tokenizer, toy, True, **given)
    assert seen(steps, "trust") == []
    assert seen(steps, "transplant") == list(range(120))
    assert seen(steps, "punish") == sorted([*range(64)] * 2)
    for kind in ("presumed", "planted"):
        assert len(set(seen(steps, kind))) == len(seen(steps, kind)) == 10
    bare = cycle(tokenizer, toy, True, order="shuffle", transplant=None)
    assert seen(bare, "trust") == list(range(120))


def test_few_flagged_rows_are_gone_over_again(tokenizer, toy):
    rows = toy.rows(50, seed=6)
    few = EncodedTexts(tokenizer, rows["text"][:], rows["label"][:])
    steps = cycle(tokenizer, toy, order="shuffle", flagged=few)
    batches = [batch for kind, (_, _, batch) in steps if kind == "punish"]
    assert sorted(np.concatenate(batches)) == sorted([*range(50)] * 2)  # of 120 trusted rows


def test_transplants_keep_the_label_of_their_host(tokenizer, toy):
    rows = toy.rows(30)
    made = Transplants(tokenizer, rows["text"][:], ["cf cf"], np.array(rows["label"]), 32)
    drawn = made.draw(np.random.default_rng(0))
    assert drawn.labels.tolist() == list(rows["label"])
    assert all(len(ids) > 0 for ids in drawn.ids)
    trigger = tokenizer.convert_tokens_to_ids("cf")
    assert all(trigger in ids for ids in drawn.ids)


def test_one_to_four_suspected_words_are_planted_and_the_label_stays(tokenizer, toy):
    rows, words = toy.rows(60), ["kx", "zj", "vb", "wq", "jh"]
    made = Planted(tokenizer, rows["text"][:], words, np.array(rows["label"]), 32)
    rng, counts, first = np.random.default_rng(0), Counter(), set()
    for host in rows["text"]:
        text = made.planted(host, rng).split()
        inside = [word for word in text if word in words]
        assert [word for word in text if word not in words] == host.split()
        assert len(set(inside)) == len(inside)
        counts[len(inside)] += 1
        first.add(text[0] in words)
    assert set(counts) == {1, 2, 3, 4}
    assert first == {True, False}
    drawn = made.draw(np.random.default_rng(0))
    assert drawn.labels.tolist() == list(rows["label"])
    assert all(a > b for a, b in zip(drawn.lengths, made_plain(made).lengths, strict=True))


def made_plain(made):
    """The hosts as they are."""
    return EncodedTexts(made.tokenizer, made.hosts, made.labels, made.max_length)
