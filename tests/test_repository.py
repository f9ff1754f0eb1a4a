"""What the repository says of itself in several places agrees."""

import ast
import re
from graphlib import TopologicalSorter
from importlib.metadata import version
from itertools import chain

import pytest
import stamp
import yaml
from chapters import ROOT, project
from packaging.requirements import Requirement
from packaging.version import Version

PINNED = dict(
    line.split("==")
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_stamp_is_in_step():
    assert [str(path.relative_to(ROOT)) for path in stamp.out_of_step()] == []


def test_stamp_carries_address_and_version():
    text = (
        "https://github.com/old/book/x https://github.com/old/book-2 https://old.github.io/book/ "
        "https://colab.research.google.com/github/old/book/blob git+https://github.com/old/book@v0.0.1"
    )
    assert stamp.stamped_text(text, "old/book", "new/name", "2.0.0") == (
        "https://github.com/new/name/x https://github.com/old/book-2 https://new.github.io/name/ "
        "https://colab.research.google.com/github/new/name/blob git+https://github.com/new/name@v2.0.0"
    )


@pytest.mark.parametrize(
    "address", ["github.com/a/b", "https://example.org/a/b", "https://github.com/a"]
)
def test_stamp_refuses_an_address_that_colab_cannot_open(address):
    with pytest.raises(SystemExit, match="must look like"):
        stamp.slug(address)


def test_version_is_the_same_everywhere():
    expected = project()["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert version("bedkd") == expected
    assert citation["version"] == expected


def test_pinned_environment_fulfils_the_declared_bounds():
    setting = project()["project"]
    # The language model's package would bring a compiler's work along; book and tests go without.
    extras = [names for extra, names in setting["optional-dependencies"].items() if extra != "lm"]
    declared = [*setting["dependencies"], *chain(*extras)]
    pinned = {canonical(name): pin for name, pin in PINNED.items()}
    for requirement in map(Requirement, declared):
        if requirement.name != "bedkd":
            assert requirement.specifier.contains(pinned[canonical(requirement.name)]), requirement


def pins(name):
    lines = (ROOT / "tools" / "colab" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(a): b for a, b in (line.split("==") for line in lines if "==" in line)}


def test_versions_that_colab_is_tried_with_are_those_that_are_declared():
    """The oldest set has every lower bound itself; the newest one keeps to all of them."""
    oldest, newest = pins("oldest"), pins("newest")
    for requirement in map(Requirement, project()["project"]["dependencies"]):
        name = canonical(requirement.name)
        lower = next(s.version for s in requirement.specifier if s.operator == ">=")
        assert Version(oldest[name]) == Version(lower), requirement
        assert requirement.specifier.contains(newest[name]), requirement


def test_api_page_names_every_module():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"automodule:: bedkd\.([\w.]+)", page))
    modules = {p.stem for p in (ROOT / "bedkd").glob("*.py") if not p.stem.startswith("__")}
    inside = {
        f"{p.parent.name}.{p.stem}"
        for package in ("attacks", "detectors", "repairs", "training")
        for p in (ROOT / "bedkd" / package).glob("*.py")
        if p.stem != "__init__"
    }
    assert modules | inside | {"cli", "corpora"} <= named


def test_what_is_said_to_be_mended_has_its_tests():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "book" / "mended.md").read_text("utf-8")))
    files = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in files for name in re.findall(r"^def (test_\w+)\(", text, re.M)}
    assert len(named) > 30
    assert named <= known


SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "bedkd").rglob("*.py"))
}


def test_files_and_functions_can_be_read_at_a_sitting():
    """CONTRIBUTING's limits. A corpus is no code; the options of a command are no arguments."""
    too_much = []
    for name, tree in SOURCES.items():
        if "/corpora/" in name:
            continue
        if len((ROOT / name).read_text(encoding="utf-8").splitlines()) > 400:
            too_much.append(name)
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or "/cli/" in name:
                continue
            arguments = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
            count = len([a for a in arguments if a not in ("self", "cls")])
            if node.end_lineno - node.lineno >= 60 or count > 8:
                too_much.append(f"{name}: {node.name}")
    assert not too_much


def test_no_module_imports_itself_by_way_of_others():
    """Imports at the head of a module; `from bedkd.x import y` may name a module or a thing."""
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
        for name, tree in SOURCES.items()
    }
    graph = {}
    for name, tree in modules.items():
        wanted = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= (inner & modules.keys()) or {node.module}
        graph[name] = (wanted & modules.keys()) - {name}
    assert list(TopologicalSorter(graph).static_order())  # a circle is an error
    assert graph["bedkd.repairs.distillation"]  # the imports were found
