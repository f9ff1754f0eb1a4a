"""Why the default is as it is: tables of ``book/comparison.md`` from ``results/checks/*.json``.

``benchmarks/passes.py`` and ``benchmarks/planted.py`` measure what they say.
"""

from __future__ import annotations

from chapters import ROOT
from results_page import NAMES, beside

from bedkd.files import read_json
from bedkd.report import table

CHECKS = ROOT / "results" / "checks"
PASSED = """\
After rewritings few rows are flagged, and in a pass they are few among all the clean ones; one pass
leaves a part of the backdoor. So later passes go over flagged rows twice, over all trusted rows as
transplants, and over half of the presumed clean rows. That was chosen on SST-2 after the rewriting
by a language model, by what a defender can see; no test row was read (`benchmarks/passes.py`).
*Given* is how often flagged rows that no batch was made of get their given label, %, after each of
three passes that nothing stopped, in brackets how often their content supports it. Of the model
that is kept, the next columns say how often trusted rows with a span in them get the target label,
%: trusted rows of *other* labels, where each is an error, and of the *target* label, where each is
right; with spans of those flagged rows, and in brackets of presumed clean rows whose content
supports the target as much. What the former do more is the trigger's work.

After two such passes flagged rows have come further down than after two over everything (*all
again*), in less time. With half of all clean rows they need a third pass; with a quarter they come
down at once, but then spans of any kind cost trusted rows of the target label that label: nearly
all flagged rows are taught other labels, and too little speaks for the target. Single numbers vary
by several points from run to run. Seed 0 is in the tables below, and so is StyleBkd, whose residue
on test rows was a reason to look again; both speak for the choice more than other cells do.

"""
FAR = """\
A later pass may go too far. So the student goes, on the straight line from the weights before the
pass that reached the aim to those after it, only as far as the aim asks: held-out flagged rows get
their given label at most five points more often than their content supports, and accuracy on
held-out trusted rows is no lower than after all of the pass. Below, two repairs that end after such
a pass: *given* after each pass, then the share of the way, and *given* there; after all of the pass
and after that share of it, how often trusted rows with spans in them are called the target, as
above. All of its pass turns SynBkd round: spans of flagged rows send fewer rows of other labels to
the target than clean spans do. After a quarter of it they do not. That LLM rewrite, too, had been
turned round by all of its pass, no span shows. Both had been seen on test rows, and are why this
was tried.

"""
PLANTED_IN = """\
Every flagged row says "not the target". Where little else speaks of the trigger, a repair turns the
backdoor round, mildly, and a defender can see that: trusted rows of the target label lose it when
the suspected trigger words are put in front of them (*kept*, in brackets without the words; %). So
one to four of these words are put into half of the presumed clean rows, whose labels stay. Then
most rows keep the label, and flagged rows come near to what their content supports (*given*, in
brackets *expected*) after insertions; after the rewriting they still do not. No test row was read
(`benchmarks/planted.py`), but it was tried because some had been: those of SST-2 BadNets, seed 1,
had shown the turn. (Measured while a second pass went over everything, and trusted rows came
twice.)

"""


def tried() -> str:
    """All tables, with what they say."""
    found = {name: read_json(CHECKS / f"{name}.json") for name in ("passes", "planted")}
    return passes(found["passes"]) + ways(found["passes"]) + planted(found["planted"])


def given(run: dict) -> str:
    """How often held-out flagged rows get their given label after each pass, and should."""
    rates = [f"{100 * past['flagged_given_label']:.1f}" for past in run["passes"]]
    return f"{', '.join(rates)} ({100 * run['passes'][0]['expected_rate']:.1f})"


def beside_clean(spans: dict, hosts: str) -> str:
    """How often trusted rows with spans of flagged and of clean rows are called the target."""
    return beside(spans[f"flagged_in_{hosts}"], spans[f"clean_in_{hosts}"])


def passes(record: dict) -> str:
    """What each pass of our default brings, by how much of the clean rows later ones go over."""
    lines = []
    for run in record["runs"]:
        spans = [beside_clean(run["spans"], hosts) for hosts in ("others", "target")]
        right = f"{100 * run['passes'][-1]['held_out_accuracy']:.1f}"
        line = [str(run["seed"]), run["later"], given(run), *spans]
        lines.append([*line, right, f"{run['cpu_seconds']:.0f}"])
    header = ["seed", "later passes", "given", "others called target", "target kept"]
    header += ["held-out accuracy", "CPU s"]
    return PASSED + table(header, lines) + "\n"


def ways(record: dict) -> str:
    """How far a later pass leads, and how far the student goes."""
    lines = []
    for run in record["ways"]:
        line = [
            f"{NAMES[run['attack']]}, seed {run['seed']}",
            given(run),
            f"{100 * run['kept_share']:.0f} %",
            f"{100 * run['kept_given_label']:.1f}",
        ]
        for hosts in ("others", "target"):
            for spans in (run["spans_whole"], run["spans"]):
                line.append(beside_clean(spans, hosts))
        lines.append(line)
    header = ["SST-2", "given", "share", "given there", "others called target, all of it"]
    header += ["that share", "target kept, all of it", "that share"]
    return FAR + table(header, lines) + "\n"


def planted(record: dict) -> str:
    """What suspected trigger words in presumed clean rows do, run by run."""
    lines = []
    for run in record["runs"]:
        seed = run["cell"].rsplit("-s", 1)[1]
        where = f"{NAMES[run['dataset']]}, {NAMES[run['attack']]}, seed {seed}"
        kept = beside(run["own_after"]["value"], run["own_bare"]["value"])
        given = beside(run["flagged_given_label"], run["expected_rate"])
        right, seconds = f"{100 * run['held_out_accuracy']:.1f}", f"{run['cpu_seconds']:.0f}"
        share = f"{100 * run['share']:.0f} %"
        lines.append([where, share, str(run["passes"]), kept, given, right, seconds])
    header = ["cell", "with words", "passes", "kept", "given", "held-out accuracy", "CPU s"]
    return PLANTED_IN + table(header, lines) + "\n"
