"""Every chapter keeps the rules, and every rule notices when it is broken."""

import check_chapters
import nbformat
import pytest
from chapters import ROOT, TEMPLATE, chapters, code_cells, read, toc_files


@pytest.mark.parametrize("rule", check_chapters.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_chapter_keeps_the_rules(path, rule):
    assert not list(rule(read(path), path))


def test_toc_names_only_pages_that_exist():
    for page in toc_files():
        assert any((ROOT / page).with_suffix(s).is_file() for s in (".md", ".ipynb")), page


def test_figure_names_are_unique_in_the_book():
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in chapters()
        for cell in code_cells(read(path))
        if "name" in cell.metadata.get("mystnb", {}).get("figure", {})
    ]
    assert len(names) == len(set(names))


def problems(notebook):
    return "\n".join(
        problem
        for rule in check_chapters.RULES
        if rule is not check_chapters.toc_problems
        for problem in rule(notebook, TEMPLATE)
    )


def test_template_keeps_the_rules():
    assert problems(read(TEMPLATE)) == ""


def by_id(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def add(name, text):
    def breaking(notebook):
        by_id(notebook, name).source += text

    return breaking


def tag(name, *tags):
    def breaking(notebook):
        by_id(notebook, name).metadata["tags"] = list(tags)

    return breaking


def stream(name, stream_name, text):
    def breaking(notebook):
        output = nbformat.v4.new_output("stream", name=stream_name, text=text)
        by_id(notebook, name).outputs.append(output)

    return breaking


def metadata(key, value):
    def breaking(notebook):
        notebook.metadata[key] = nbformat.from_dict(value)

    return breaking


def alt(text):
    def breaking(notebook):
        by_id(notebook, "figure").metadata["mystnb"]["image"]["alt"] = text

    return breaking


def no_caption(notebook):
    del by_id(notebook, "figure").metadata["mystnb"]["figure"]


def svg(notebook):
    by_id(notebook, "figure").outputs[0].data["image/svg+xml"] = "<svg/>"


def second_figure(notebook):
    by_id(notebook, "figure").outputs *= 2


def widget(notebook):
    data = {check_chapters.WIDGET: {"model_id": "0"}, "text/plain": "IntSlider()"}
    output = nbformat.v4.new_output("display_data", data=data)
    cells = [c for c in notebook.cells if c.id != "figure"]
    by_id(notebook, "core").outputs.append(output)
    notebook.cells = cells


def error(notebook):
    output = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    by_id(notebook, "core").outputs.append(output)


def unrun(notebook):
    by_id(notebook, "core").execution_count = None


def swapped_headings(notebook):
    cells = notebook.cells
    one, two = cells.index(by_id(notebook, "check")), cells.index(by_id(notebook, "exercises"))
    cells[one], cells[two] = cells[two], cells[one]


def all_ignored(notebook):
    for cell in code_cells(notebook):
        cell.metadata["tags"] = ["nbval-ignore-output"]


def attack_without_note(notebook):
    by_id(notebook, "core").source += "\nfrom bedkd import attacks"
    title = by_id(notebook, "title")
    title.source = title.source.replace("**Responsible use.**", "")


def renamed_setup(notebook):
    by_id(notebook, "setup").id = "other"


def unchecked(notebook):
    notebook.cells = [cell for cell in notebook.cells if cell.id != "figure-check"]


BREAKINGS = {
    "widget state": (metadata("widgets", {}), "metadata.widgets"),
    "kernel": (metadata("kernelspec", {"name": "bedkd"}), "kernelspec"),
    "no GPU": (metadata("accelerator", "TPU"), "T4"),
    "no minutes": (metadata("bedkd", {}), "minutes of both profiles"),
    "slow": (metadata("bedkd", {"minutes": {"quick": 3, "full": 9}}), "2 minutes, not 3"),
    "second title": (add("seen", "\n\n# Another"), "exactly one level-one"),
    "skipped level": (add("seen", "\n\n#### Deep"), "skips a level"),
    "headings swapped": (swapped_headings, "in this order"),
    "setup changed": (add("setup", "\n# mine"), "must be the common one"),
    "setup not first": (renamed_setup, "first code cell must be the setup cell"),
    "setup untagged": (tag("setup"), "tagged nbval-ignore-output and nothing else"),
    "not run": (unrun, "top to bottom"),
    "nothing compared": (all_ignored, "compared by nbval"),
    "long cell": (add("core", "\npass" * 30), "longer than 25"),
    "odd tag": (tag("core", "nbval-skip"), "outside the policy"),
    "timed": (add("core", "\n# %%time"), "%%time"),
    "large output": (stream("core", "stdout", "x" * 600_000), "500 kB"),
    "stderr": (stream("core", "stderr", "careful"), "stderr"),
    "error": (error, "error"),
    "SVG": (svg, "not SVG"),
    "two figures": (second_figure, "more than one figure"),
    "short alternative text": (alt("a curve"), "mystnb.image.alt"),
    "caption as alternative text": (
        alt("Squaring makes small scores smaller still."),
        "mystnb.image.alt",
    ),
    "no caption": (no_caption, "caption must say"),
    "widget alone": (widget, "must draw a figure"),
    "widget compared": (widget, "shows a widget and must be tagged"),
    "caption unchecked": (unchecked, "must check what the caption says"),
    "nothing checked": (unchecked, "no statement about a result is checked"),
    "check shown": (tag("figure-check"), "must be tagged remove-cell"),
    "long to read": (add("seen", " word" * 7000), "reading takes"),
    "absolute path": (stream("core", "stdout", "saved in /home/me/x"), "absolute path"),
    "token": (add("core", "\n# hf_" + "a" * 30), "access token"),
    "role": (add("seen", " {cite}`gu2017badnets`"), "MyST role"),
    "directive": (add("seen", "\n\n```{note}\nx\n```"), "MyST role or directive"),
    "unknown paper": (add("reading", "\n[X](https://arxiv.org/abs/9999.99999)"), "references.bib"),
    "attack without a note": (attack_without_note, "Responsible use"),
}


@pytest.mark.parametrize(("breaking", "message"), BREAKINGS.values(), ids=BREAKINGS)
def test_broken_template_is_noticed(breaking, message):
    notebook = read(TEMPLATE)
    breaking(notebook)
    assert message in problems(notebook)


def test_badge_of_another_chapter_is_noticed():
    found = list(check_chapters.frame_problems(read(TEMPLATE), ROOT / "notebooks" / "99_x.ipynb"))
    assert any("Colab badge" in problem for problem in found)


def test_chapter_outside_the_toc_is_noticed():
    assert list(check_chapters.toc_problems(read(TEMPLATE), ROOT / "notebooks" / "99_x.ipynb"))
