"""Folders of results are made, or the error says what is in the way."""

from __future__ import annotations

import pytest

from shoal._staging import make_folder, staged


def test_a_folder_and_those_that_it_is_in_are_made(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("out", ["file", "file/within"])
def test_a_file_in_the_way(tmp_path, out):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    match = r"file' is a file, .*: name another one"
    with pytest.raises(NotADirectoryError, match=match), staged(tmp_path / out):
        pass
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(
        PermissionError, match=r"cannot be made \(Permission denied\): name another"
    ):
        make_folder(tmp_path / "a")
