import os

import pytest

from deploy.worker import prepare_worker, thread_environment


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch):
    for name in thread_environment(1):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    prepare_worker(3)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["NUMBA_NUM_THREADS"] == "3"


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="threads 0"):
        thread_environment(0)
