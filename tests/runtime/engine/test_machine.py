"""What `foveal doctor` says of room, open files, the clock, the user and the sandbox."""

from __future__ import annotations

import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from foveal_runtime.engine import machine
from foveal_runtime.engine.finding import Finding, Status
from foveal_runtime.sandbox.confine import Confinement, Policy, Sandbox

Usage = namedtuple("Usage", "total used free")


def wants(finding: Finding, status: Status, *words: str) -> None:
    assert finding.status is status, finding
    assert all(word in finding.says + finding.mend for word in words), finding
    assert bool(finding.mend) is (status is not Status.OK)


def test_a_disk_is_judged_where_the_folder_will_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 50 << 30))
    wants(machine.disk("store", tmp_path / "new" / "folder"), Status.OK, "53.7 GB free", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1 << 30))
    wants(machine.disk("store", tmp_path), Status.WARNING, "another disk")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1 << 20))
    wants(machine.disk("store", tmp_path), Status.WRONG, "another disk")


def test_few_open_files_are_warned_of_with_the_line_of_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 524288))
    wants(machine.descriptors(), Status.WARNING, "1024 at most", "LimitNOFILE=65536")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65536, 524288))
    wants(machine.descriptors(), Status.OK, "65536 at most")


def test_a_clock_from_before_foveal_is_wrong_and_one_that_nobody_keeps_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    wants(machine.clock(now=0.0), Status.WRONG, "1970-01-01", "chrony")
    monkeypatch.setattr(machine, "_synchronised", lambda: False)
    wants(machine.clock(), Status.WARNING, "nothing keeps it right")
    monkeypatch.setattr(machine, "_synchronised", lambda: True)
    wants(machine.clock(), Status.OK, "kept right")
    monkeypatch.undo()
    assert machine._synchronised() in (True, False, None)


def test_root_is_told_to_serve_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    wants(machine.user(), Status.WARNING, "runuser -u foveal")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    wants(machine.user(), Status.OK, "1000")


def test_a_sandbox_is_judged_by_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "probe", lambda _: Confinement(measures=("no capabilities",)))
    wants(machine.sandbox(Policy()), Status.OK, "full (no capabilities)")
    monkeypatch.setattr(
        machine, "probe", lambda _: Confinement(measures=("no capabilities",), missing=("files (no Landlock)",))
    )
    wants(machine.sandbox(Policy()), Status.WARNING, "not files (no Landlock)", "5.13")
    wants(machine.sandbox(Policy(mode=Sandbox.STRICT)), Status.WRONG, "partial")
    wants(machine.sandbox(Policy(mode=Sandbox.OFF)), Status.WARNING, "switched off")
