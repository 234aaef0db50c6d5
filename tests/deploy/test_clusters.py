import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from deploy.clusters import ClusterError, ClusterSpec, local_shape, open_cluster

GIB = 1 << 30


@pytest.mark.parametrize(
    ("spec", "cores", "expected"),
    [
        (ClusterSpec(), 2, (1, 2)),
        (ClusterSpec(), 16, (4, 4)),
        (ClusterSpec(units=1), 16, (1, 16)),
        (ClusterSpec(unit_bytes=3 * GIB), 16, (2, 8)),
        (ClusterSpec(unit_bytes=100 * GIB), 16, (1, 16)),
        (ClusterSpec(threads_per_worker=1), 16, (16, 1)),
        (ClusterSpec(workers=3, units=1), 16, (3, 5)),
        (ClusterSpec(device="cuda"), 16, (1, 16)),
        (ClusterSpec(workers=8), 2, (8, 1)),
    ],
)
def test_machine_is_shared_out(spec: ClusterSpec, cores: int, expected: tuple[int, int]):
    shape = local_shape(spec, cores=cores, free_bytes=10 * GIB)
    assert (shape.workers, shape.threads) == expected
    assert shape.workers * shape.memory_bytes <= 8 * GIB


def test_given_memory_is_kept_to():
    shape = local_shape(ClusterSpec(workers=2, memory_bytes=3 * GIB), cores=2, free_bytes=10 * GIB)
    assert shape.memory_bytes * 2 == 3 * GIB


@pytest.mark.parametrize("kind", ["slurm", "kubernetes", "lokal", ""])
def test_other_kinds_are_refused_with_what_is_known(kind: str):
    with pytest.raises(ClusterError, match=r"tcp://host:8786"):
        ClusterSpec(kind=kind)


@pytest.mark.parametrize("field", ["workers", "threads_per_worker", "memory_bytes", "units"])
def test_numbers_below_one_are_refused(field: str):
    with pytest.raises(ClusterError, match=f"{field} 0"):
        ClusterSpec(**{field: 0})


@pytest.mark.timeout(120)
def test_local_cluster_outlives_ctrl_c_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with caplog.at_level(logging.WARNING), open_cluster(ClusterSpec(workers=1, threads_per_worker=3)) as client:
        assert requests.get(client.dashboard_link, timeout=10).status_code == 200
        pid = client.submit(os.getpid).result()
        assert client.submit(os.getenv, "NUMBA_NUM_THREADS").result() == "3"
        assert client.submit(os.getenv, "OMP_NUM_THREADS").result() == "5"
        busy = client.submit(time.sleep, 0.5)
        os.kill(pid, signal.SIGINT)
        assert busy.result() is None
        assert client.submit(os.getpid, pure=False).result() == pid
        assert _connects(client.scheduler.address)
    assert dict(os.environ) == before
    assert not psutil.pid_exists(pid)
    assert not caplog.records


def _connects(address: str) -> bool:
    with open_cluster(ClusterSpec(kind=address)) as client:
        return client.submit(abs, -1).result() == 1


@pytest.mark.timeout(120)
def test_killed_worker_costs_a_retry():
    with open_cluster(ClusterSpec(workers=1)) as client:
        pid = client.submit(os.getpid, pure=False).result()
        os.kill(pid, signal.SIGKILL)
        again = client.submit(os.getpid, pure=False).result()
        assert again != pid
        os.kill(again, signal.SIGINT)
        assert client.submit(os.getpid, pure=False).result() == again


@pytest.mark.timeout(120)
def test_failure_does_not_wait_for_units_in_hand():
    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupted(pids)
    assert not psutil.pid_exists(pids[0])


def _interrupted(pids: list[int]) -> None:
    with open_cluster(ClusterSpec(workers=1)) as client:
        pids.append(client.submit(os.getpid).result())
        client.submit(time.sleep, 3600)
        raise KeyboardInterrupt


def test_silent_address_is_said(unused_port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deploy.clusters.CONNECT_S", 0.5)
    with (
        pytest.raises(ClusterError, match="no Dask scheduler answers"),
        open_cluster(ClusterSpec(kind=f"tcp://127.0.0.1:{unused_port}")),
    ):
        pass


def test_script_without_guard_is_told(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from deploy.clusters import ClusterSpec, open_cluster\n"
        "with open_cluster(ClusterSpec(workers=1)):\n"
        "    print('began')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "put what it does under" in done.stderr.splitlines()[-1]
    assert "began" not in done.stdout
