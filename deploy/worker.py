"""What a worker process must have in place before it imports anything heavy."""

import os

__all__ = ["prepare_worker", "thread_environment"]


def thread_environment(threads: int) -> dict[str, str]:
    """The environment that holds one worker to `threads` threads, whichever library starts them.

    GDAL gets one: a unit reads several files at once by itself, and GDAL's own pool would multiply that. OpenMP's
    threads sleep between torch's operations: spinning, they took a fifth of the detector's CPU time from the others.
    """
    if threads < 1:
        raise ValueError(f"threads {threads}: expected at least 1")
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "GDAL_NUM_THREADS": "1",
    }


def prepare_worker(threads: int) -> None:
    """Hold this process to `threads` threads; what the user has set in the environment stays.

    Call it before torch, numba, rasterio or numpy are imported: they read these variables once.
    """
    for name, value in thread_environment(threads).items():
        os.environ.setdefault(name, value)
