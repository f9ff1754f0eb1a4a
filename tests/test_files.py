"""Atomic writing."""

import hashlib

import pytest

from bedkd.files import atomic_folder, atomic_text, sha256, write_json


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
