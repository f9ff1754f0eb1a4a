"""The setup cell of the chapters."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import setup_cell
from IPython.core.inputtransformer2 import TransformerManager

from bedkd import notebook
from bedkd.errors import InputError


@pytest.fixture
def no_profile_in_the_environment(monkeypatch):
    monkeypatch.setattr(notebook, "_FROM_ENVIRONMENT", None)
    monkeypatch.setenv("BEDKD_PROFILE", "quick")


@pytest.mark.usefixtures("no_profile_in_the_environment")
def test_setup_takes_the_choice_of_the_cell_each_time_it_runs(capsys):
    assert notebook.setup("full", minutes_quick=1, minutes_full=20) == "full"
    assert os.environ["BEDKD_PROFILE"] == "full"
    assert "about 20 minutes on a T4 GPU" in capsys.readouterr().out
    assert notebook.setup("quick", minutes_quick=1.5, minutes_full=20) == "quick"
    assert "about 1.5 minutes on two CPU cores" in capsys.readouterr().out
    notebook.setup("full", minutes_quick=1.5, minutes_full=None)
    assert "not timed yet on a T4 GPU" in capsys.readouterr().out


def test_environment_decides_over_the_cell(monkeypatch):
    monkeypatch.setattr(notebook, "_FROM_ENVIRONMENT", "quick")
    assert notebook.setup("full", minutes_quick=1, minutes_full=20) == "quick"


@pytest.mark.usefixtures("no_profile_in_the_environment")
def test_unknown_profile_is_named():
    with pytest.raises(InputError, match="'fast'"):
        notebook.setup("fast", minutes_quick=1, minutes_full=20)


@pytest.fixture
def in_colab(monkeypatch):
    """Run the setup cell as Colab would; what it asks ``%pip`` for is recorded, not obeyed."""
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    monkeypatch.setattr(notebook, "setup", lambda profile, **_: profile)

    def run(repository):
        text = setup_cell.TEXT.format(repository=repository, version="1.2.3", quick=1, full=9)
        asked = []
        shell = SimpleNamespace(run_line_magic=lambda *magic: asked.append(magic))
        names = {"get_ipython": lambda: shell}
        try:
            exec(TransformerManager().transform_cell(text), names)
        except SystemExit as refusal:
            return asked, None, str(refusal)
        return asked, names.get("SOURCE"), names["PROFILE"]

    return run


def test_setup_cell_installs_nothing_from_the_placeholder_address(in_colab):
    asked, _, message = in_colab("https://github.com/OWNER/bedkd")
    assert not asked
    assert "BEDKD_INSTALL" in message


def test_setup_cell_installs_the_release_of_the_stamped_address(in_colab):
    asked, source, profile = in_colab("https://github.com/me/fork")
    assert source == "git+https://github.com/me/fork@v1.2.3"
    assert [magic for magic, _ in asked] == ["pip"]
    assert profile == "quick"


def test_setup_cell_installs_what_the_reader_names(in_colab, monkeypatch):
    monkeypatch.setenv("BEDKD_INSTALL", "bedkd-0.1.0-py3-none-any.whl")
    _, source, _ = in_colab("https://github.com/OWNER/bedkd")
    assert source == "bedkd-0.1.0-py3-none-any.whl"


@pytest.mark.parametrize("name", ["bedkd-0.1.0-py3-none-any.whl", "bedkd-main.zip"])
def test_setup_cell_installs_what_the_reader_has_uploaded(in_colab, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert in_colab("https://github.com/OWNER/bedkd")[1] == name
    monkeypatch.setenv("BEDKD_INSTALL", "elsewhere")
    assert in_colab("https://github.com/OWNER/bedkd")[1] == "elsewhere"


def test_setup_cell_installs_nothing_outside_colab(in_colab, monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab")
    asked, _, profile = in_colab("https://github.com/OWNER/bedkd")
    assert not asked
    assert profile == "quick"


def test_check_is_silent_about_what_holds(capsys):
    notebook.check("one is less than two", np.bool_(True))
    assert capsys.readouterr().out == ""


def test_check_stops_the_project_at_a_sentence_that_is_not_true(monkeypatch):
    monkeypatch.setenv("BEDKD_PROFILE", "quick")
    assert os.environ["BEDKD_CHECKS"] == "raise"  # here, under nbval, and where outputs are stored
    with pytest.raises(AssertionError, match="says that two is less than one"):
        notebook.check("two is less than one", np.bool_(False))


@pytest.mark.parametrize(("profile", "checks"), [("full", "raise"), ("quick", None)])
def test_check_tells_a_reader_and_goes_on(monkeypatch, capsys, profile, checks):
    monkeypatch.setenv("BEDKD_PROFILE", profile)
    monkeypatch.setenv("BEDKD_CHECKS", "raise")
    if checks is None:
        monkeypatch.delenv("BEDKD_CHECKS")
    notebook.check("two is less than one", False)
    assert "says that two is less than one" in capsys.readouterr().out
