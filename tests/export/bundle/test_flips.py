"""One changed bit anywhere in a bundle is refused, unsigned or not: a threshold that a disk changed looks like any other."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import write_bundle

from foveal_runtime.bundle.bundle import MANIFEST, Bundle
from foveal_runtime.bundle.writing import write_manifest
from foveal_runtime.errors import BundleError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unsigned bundle with a checksum, as exports write it."""
    bundle = write_bundle(tmp_path_factory.mktemp("flips") / "bundle")
    write_manifest(bundle, Bundle.open(bundle).manifest)
    opened = Bundle.open(bundle)
    assert opened.manifest.checksum
    assert not opened.is_signed
    return bundle


def flipped(file: Path, bits: Iterator[int]) -> Iterator[int]:
    """The file with each of these bits changed, one at a time, and as it was in the end."""
    before = file.read_bytes()
    try:
        for bit in bits:
            changed = bytearray(before)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            yield bit
    finally:
        file.write_bytes(before)


def changes(bundle: Path, file: Path, bits: Iterator[int]) -> list[int]:
    """Bits whose change nobody noticed, and which change more than the checksum's own name."""
    unchanged = Bundle.open(bundle).manifest.model_copy(update={"checksum": ""})
    kept = []
    for bit in flipped(file, bits):
        try:
            opened = Bundle.open(bundle).manifest
        except BundleError:
            continue
        if opened != unchanged:
            kept.append(bit)
    return kept


def test_any_changed_bit_of_any_file_is_refused(whole: Path) -> None:
    rng = random.Random(7)
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        bits = rng.sample(range(8 * file.stat().st_size), 24 if file.name == MANIFEST else 2)
        assert changes(whole, file, iter(bits)) == [], file.name
    Bundle.open(whole)


def test_without_its_checksum_a_changed_threshold_would_be_served(whole: Path) -> None:
    file = whole / MANIFEST
    with_it = file.read_bytes()
    number = b'"threshold": 0.3' if b'"threshold": 0.3' in with_it else b'"threshold":0.3'
    first = 8 * (with_it.index(number) + len(number) - 1)  # 0.3 becomes 0.2
    assert changes(whole, file, iter([first])) == []
    without = json.loads(with_it)
    del without["checksum"]
    try:
        file.write_text(json.dumps(without))
        first = 8 * (file.read_bytes().index(number) + len(number) - 1)
        assert changes(whole, file, iter([first])) == [first]
    finally:
        file.write_bytes(with_it)


@pytest.mark.slow
def test_every_changed_bit_of_the_manifest_is_refused_or_changes_nothing(whole: Path) -> None:
    file = whole / MANIFEST
    assert changes(whole, file, iter(range(8 * file.stat().st_size))) == []
