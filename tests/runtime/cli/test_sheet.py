"""Picture sheets and the local photographs on them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from bundles import photograph
from PIL import Image

from foveal_runtime.cli.pictures import LocalPictures
from foveal_runtime.cli.sheet import Card, Sheet, check_target, write
from foveal_runtime.errors import ConfigError

HITS = (
    Card(picture=photograph(1), lines=("1   0.9731", "<b>a.jpg</b>", "ICDR 2   eye left")),
    Card(picture=None, lines=("2   0.9", "gone.jpg")),
    Card(picture=b"no photograph", lines=("3   0.8", "c.jpg")),
)
SHEET = Sheet(title='search: "drusen" & <script>', query=Card(picture=photograph(2), lines=("query",)), hits=HITS, remark="all")


def test_an_html_sheet_holds_its_photographs_and_escapes_every_word(tmp_path: Path) -> None:
    target = tmp_path / "sheet.html"
    target.write_text("an old one, readable by all")
    write(target, SHEET)
    text = target.read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    assert text.count("photograph not at hand") == 2
    assert "<script>" not in text
    assert "<b>a.jpg</b>" not in text
    assert "http" not in text, "a clinic's box has no internet"
    assert target.stat().st_mode & 0o077 == 0


def test_a_png_sheet_has_a_place_for_each_card(tmp_path: Path) -> None:
    write(tmp_path / "few.png", SHEET)
    write(tmp_path / "many.png", Sheet(title="x" * 500, query=None, hits=HITS * 3, remark="y" * 500))
    few, many = (Image.open(io.BytesIO((tmp_path / name).read_bytes())) for name in ("few.png", "many.png"))
    assert few.width == many.width
    assert many.height > 2 * few.height  # three rows instead of one
    colours = few.convert("RGB").crop((20, 70, 290, 330)).getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 1000, "no photograph was drawn"
    write(tmp_path / "none.png", Sheet(title="x", query=None, hits=(), remark="y"))
    write(tmp_path / "none.html", Sheet(title="x", query=None, hits=(), remark="y"))
    assert "Nothing stored fits" in (tmp_path / "none.html").read_text()


@pytest.mark.parametrize(("name", "words"), [("x.gif", r"\.html or \.png"), ("nowhere/x.png", "does not exist")])
def test_a_sheet_that_cannot_be_written_is_refused_before_the_search(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_target(tmp_path / name)


def test_photographs_are_found_by_the_end_of_their_path_and_by_content(tmp_path: Path) -> None:
    (tmp_path / "copy" / "2024").mkdir(parents=True)
    (tmp_path / "copy" / "2024" / "a.jpg").write_bytes(b"right")
    (tmp_path / "copy" / "b.jpg").write_bytes(b"b")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    pictures = LocalPictures(tmp_path / "copy")
    right = hashlib.sha256(b"right").digest()
    assert pictures.find("/data/clinic/2024/a.jpg", right) == b"right"
    assert pictures.find("file:///data/clinic/b.jpg", b"") == b"b"
    assert pictures.find("/data/2024/a.jpg", hashlib.sha256(b"before it was retouched").digest()) is None
    assert pictures.find("../secret.jpg", b"") is None
    assert pictures.find(str(tmp_path / "secret.jpg"), b"") is None, "outside the folder that was named"
    assert pictures.find("https://example.org/b.jpg", b"") is None
    assert pictures.find("", b"") is None
    assert LocalPictures(None).find(str(tmp_path / "secret.jpg"), b"") == b"secret"
