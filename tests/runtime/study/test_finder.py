"""Names of photographs as tables write them: found, or the nearest file is named."""

from __future__ import annotations

import unicodedata

import pytest

from foveal_runtime.study.codes import BadCode
from foveal_runtime.study.finder import Finder

FILES = ("a.jpg", "Visit 2/0007_OD.JPG", "985.1.jpg", "Images/1/1_l1.jpg", "mácula.png", "twice.jpg", "Visit 2/twice.jpg")


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("a.jpg", "a.jpg"), ("a", "a.jpg"), ("A.JPEG", "a.jpg"), ("./a.jpg", "a.jpg"), ("/a.jpg", "a.jpg"),
        ("C:\\data\\photos\\a.jpg", "a.jpg"), ("/mnt/x/Visit 2/0007_od.jpg", "Visit 2/0007_OD.JPG"),
        ("0007_od", "Visit 2/0007_OD.JPG"), ("985.1", "985.1.jpg"), ("\\regular\\1\\1_l1.jpg", "Images/1/1_l1.jpg"),
        (unicodedata.normalize("NFD", "Mácula.png"), "mácula.png"), ("twice.jpg", "twice.jpg"),
    ],
)  # fmt: skip
def test_a_photograph_is_found_however_it_is_written(cell: str, file: str) -> None:
    assert Finder(FILES)(cell) == file


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "names no photograph"),
        ("twice", "2 photographs have this name"),
        ("0007_OS.jpg", "the nearest is Visit 2/0007_OD.JPG"),
        ("0008_OD.jpg", "not in the folder$"),
        ("../a.jpg", "not in the folder$"),
        ("left/0007_OD.jpg", "the nearest is Visit 2/0007_OD.JPG"),
    ],
)
def test_what_is_not_found_for_sure_is_refused(cell: str, message: str) -> None:
    with pytest.raises(BadCode, match=message):
        Finder(FILES)(cell)


@pytest.mark.parametrize(("cell", "label"), [("b.jpg", "b.jpg"), ("Maria Silva", ""), ("61,5", ""), ("1_r2", "1_r2"), ("", "")])
def test_only_what_is_made_like_a_files_name_is_repeated(cell: str, label: str) -> None:
    assert Finder(FILES).label(cell) == label
