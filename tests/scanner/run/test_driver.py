"""The driver against real schedulers: a cluster that cannot work is said to be one."""

import pytest
from distributed import Client, LocalCluster

from scanner.errors import InputError
from scanner.run.driver import check_workers


def test_a_cluster_without_workers_is_refused_instead_of_waited_for():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(InputError, match="no worker answered within 1 s"),
    ):
        check_workers(client, patience_s=1.0)


def test_a_worker_that_has_this_program_is_welcome():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        check_workers(client, patience_s=30.0)
