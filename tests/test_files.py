"""Atomic writing."""

import errno
import hashlib
import os
import stat

import pytest

from bedkd import data, files, models
from bedkd.errors import InputError
from bedkd.files import atomic_folder, atomic_text, locked, sha256, write_json


def test_an_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json({"é": 1}, path)
    assert path.read_text(encoding="utf-8") == '{\n "é": 1\n}\n'
    with pytest.raises(TypeError):
        write_json({"fine": 1, "not JSON": object()}, path)
    with pytest.raises(ZeroDivisionError), atomic_text(path) as handle:
        handle.write(f"half {1 / 0}")
    assert "é" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_folder_leaves_the_old_files(tmp_path):
    folder = tmp_path / "out"
    with atomic_folder(folder) as staging:
        (staging / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as staging:
        (staging / f"a{(staging / 'a').write_text('2') / 0}").touch()
    assert (folder / "a").read_text() == "1"
    assert list(tmp_path.iterdir()) == [folder]


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"some bytes")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"some bytes").hexdigest()


@pytest.mark.parametrize(("umask", "expected"), [(0o077, [0o700, 0o600]), (0o022, [0o755, 0o644])])
def test_what_is_written_has_the_permissions_the_user_asks_for(tmp_path, request, umask, expected):
    before = os.umask(umask)
    request.addfinalizer(lambda: os.umask(before))
    with atomic_folder(tmp_path / "out") as staging:
        write_json([], staging / "a.json")
    write_json([], tmp_path / "b.json")
    modes = [stat.S_IMODE(os.stat(tmp_path / n).st_mode) for n in ("out", "out/a.json", "b.json")]
    assert modes == [*expected, expected[1]]


def test_a_new_folder_is_as_open_as_any_other(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_links_pipes_devices_and_folders_are_not_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "dangling", "pipe", "folder"):
        before = os.lstat(tmp_path / name).st_ino
        with pytest.raises(InputError, match=rf"{name}: is a .*as output"):
            write_json([], tmp_path / name)
        assert os.lstat(tmp_path / name).st_ino == before
    assert (tmp_path / "real").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 5
    assert not files._refuse_special(tmp_path / "real")
    with pytest.raises(InputError, match="device"):
        files._refuse_special(files.Path(os.devnull))


def test_a_link_that_appears_while_writing_is_not_replaced(tmp_path):
    with pytest.raises(InputError, match="symbolic link"), atomic_text(tmp_path / "a"):
        (tmp_path / "a").symlink_to(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["file/below", "x" * 300])
def test_impossible_targets_are_named_in_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    for write in (atomic_text, atomic_folder):
        refused = pytest.raises(InputError, match=rf"^[^\n]*{name}: cannot be written[^\n]*$")
        with refused, write(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [atomic_text, atomic_folder])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, write):
    refused = pytest.raises(InputError, match=r"out: cannot be written .*No space left")
    with refused, write(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_that_a_file_may_have_can_be_written(tmp_path):
    assert write_json([], tmp_path / ("x" * 255)).is_file()


def test_a_new_folder_comes_in_one_rename_and_two_runs_do_not_mix(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "replace", lambda *_: pytest.fail("moved file by file"))
    with atomic_folder(tmp_path / "out") as staging:
        (staging / "a").write_text("first")
    late, early = atomic_folder(tmp_path / "two"), atomic_folder(tmp_path / "two")
    with pytest.raises(InputError, match="two: cannot be written"), late as staging:  # noqa: PT012
        (staging / "a").write_text("late")
        with early as other:
            (other / "b").write_text("early")
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["b"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "two"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(InputError, match="out: is not a folder"), atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "old"


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file" / "below"):
        pass


def test_a_known_name_that_is_a_folder_here_too_is_not_guessed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, load in (
        ("reviews", lambda: data.load("reviews", train=4, dev=4, test=4)),
        ("minilm", lambda: models.load_backbone("minilm", num_labels=2, layers=1)),
    ):
        load()
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=rf"{name}: is a known name.*write \./{name}"):
            load()
