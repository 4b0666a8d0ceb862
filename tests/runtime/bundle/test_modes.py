"""Who may read a bundle's files: as the umask of who wrote them says, every file alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bundles import add_trust, write_bundle


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_file_of_a_bundle_has_the_mode_that_the_umask_leaves(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        bundle = write_bundle(tmp_path / "bundle")
        add_trust(bundle, limit=1.0)
    finally:
        os.umask(before)
    modes = {path.relative_to(bundle): path.stat().st_mode & 0o777 for path in bundle.rglob("*") if path.is_file()}
    assert set(modes.values()) == {expected}, modes
