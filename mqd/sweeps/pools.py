"""Pools of workers: an existing Dask cluster, or any backend that joblib knows, Ray's among them.

A pool runs calls in any order and raises when a worker was lost; who uses it asks again for what
did not come. What is ``sent`` reaches each worker once. Dask is asked directly: joblib 1.6 waits
for ever for a task that Dask gives up (its callback is never called).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from mqd.errors import UsageError, did_you_mean
from mqd.sweeps.evaluate import Job
from mqd.sweeps.worker import Parcel, RayHandle

WAIT_S: Final = 10
MEMMAP_BYTES: Final = 4_096
Calls = Mapping[int, tuple[Any, ...]]


@runtime_checkable
class ClusterClient(Protocol):
    """What is used of ``distributed.Client``."""

    @property
    def loop(self) -> Any:
        """The loop that it talks on."""

    def ncores(self) -> dict[str, int]:
        """Return the threads by worker."""

    def wait_for_workers(self, n_workers: int, timeout: float) -> None:
        """Wait until there are so many; ``TimeoutError`` when there are not."""

    def scatter(self, data: Any, *, broadcast: bool, hash: bool) -> Any:  # noqa: A002
        """Copy data to all workers and return the future of it."""

    def submit(self, func: Callable[..., Any], *args: Any, pure: bool) -> Any:
        """Let a worker call the function and return the future of it."""

    def cancel(self, futures: list[Any]) -> None:
        """Drop what has not begun."""

    def close(self) -> None:
        """Leave the cluster."""


Workers = int | str | ClusterClient | None


class Pool(Protocol):
    """Workers, and a way to make them call functions."""

    @property
    def n(self) -> int:
        """Calls that run at a time."""

    def sent(self, parcel: Parcel) -> Any:
        """Bring a parcel to the workers and return what stands for it among arguments."""

    def run(self, function: Callable[..., Any], calls: Calls) -> Generator[tuple[int, Any]]:
        """Yield the numbers of calls and what they returned, as they end."""

    def close(self) -> None:
        """Let go of what was sent."""


class DaskPool:
    """A Dask cluster. Parcels are copied to every worker of it, so that one may die."""

    def __init__(self, client: ClusterClient, address: str = "") -> None:
        self._client, self._address = client, address
        self._sent: list[Any] = []
        if not self.n:
            self._wait()

    def _wait(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WAIT_S)
        except TimeoutError as error:
            self.close()
            raise UsageError(
                f"{self._client!r} has no worker: start some (dask worker ADDRESS)."
            ) from error

    @property
    def n(self) -> int:
        """The threads of all workers."""
        return sum(self._client.ncores().values())

    def sent(self, parcel: Parcel) -> Any:
        """Copy the parcel to each worker; one that joins later fetches it from another."""
        (held,) = self._client.scatter([parcel], broadcast=True, hash=False)
        self._sent.append(held)
        return held

    def run(self, function: Callable[..., Any], calls: Calls) -> Generator[tuple[int, Any]]:
        """Yield results as they end; Dask gives a dead worker's calls to the others."""
        from distributed import as_completed

        numbers = {self._client.submit(function, *a, pure=False): n for n, a in calls.items()}
        lost: BaseException | None = None
        try:
            ended = as_completed(  # type: ignore[no-untyped-call]
                list(numbers), loop=self._client.loop, with_results=True, raise_errors=False
            )
            for future, found in ended:
                number = numbers.pop(future)
                if future.status == "finished":
                    future.release()
                    yield number, found
                else:
                    lost = RuntimeError(f"Dask gave a call up: {future.status}")
                    lost.__cause__ = found[1] if isinstance(found, tuple) else None
        finally:
            self._client.cancel(list(numbers))
        if lost is not None:
            raise lost

    def close(self) -> None:
        """Drop what was sent; close the client that was opened for an address."""
        self._client.cancel(self._sent)
        self._sent.clear()
        if self._address:
            self._client.close()


class JoblibPool:
    """A backend of joblib by name: processes of this machine ("loky"), Ray, or a registered one.

    joblib lays arrays above ``MEMMAP_BYTES`` into shared memory once a block and sends their
    names; Ray keeps a parcel in its object store.
    """

    def __init__(self, backend: str) -> None:
        from joblib import effective_n_jobs, parallel_config

        self._backend = backend
        with parallel_config(backend=backend):
            self._n = int(effective_n_jobs(-1))

    @property
    def n(self) -> int:
        """What joblib makes of ``n_jobs=-1``."""
        return self._n

    def sent(self, parcel: Parcel) -> Parcel | RayHandle:
        """Return what goes along with each call: for Ray a reference, else the parcel."""
        if self._backend != "ray":
            return parcel
        import ray

        return RayHandle(parcel.key, ray.put(parcel))

    def run(self, function: Callable[..., Any], calls: Calls) -> Generator[tuple[int, Any]]:
        """Yield results as they end, or all at the end where the backend knows no better."""
        from joblib import Parallel, delayed

        work = (delayed(_numbered)(number, function, a) for number, a in calls.items())
        options = {
            "n_jobs": -1,
            "backend": self._backend,
            "batch_size": 1,
            "max_nbytes": MEMMAP_BYTES,
        }
        try:
            parallel = Parallel(return_as="generator_unordered", **options)
        except ValueError:
            parallel = Parallel(**options)
        found = iter(parallel(work))
        try:
            yield from found
        finally:
            if hasattr(found, "close"):
                _closed(found)

    def close(self) -> None:
        """Nothing is held."""


def _closed(found: Any) -> None:
    """Cancel what joblib still runs, without its word that work was thrown away: it is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.close()


def _numbered(number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return number, function(*arguments)


def check_travels(job: Job) -> None:
    """Refuse a job that no other process can be sent: a pool would take that for lost workers."""
    from joblib.externals.loky.backend.reduction import dumps

    try:
        dumps((job.strategy_cls, job.settings))
    except Exception as error:
        raise UsageError(
            f"{job.strategy_cls.__name__} cannot be sent to workers: {error}. Make what cannot"
            " travel (locks, open files, connections) inside its methods, or sweep with threads:"
            " workers=None."
        ) from error


def pool_of(workers: object) -> Pool | None:
    """Return the pool that ``workers=`` of a sweep names; None for threads of this process.

    None or a number: threads. A Dask ``Client``, "dask" (the client that is open, else the
    scheduler of Dask's own setting ``scheduler-address``, which DASK_SCHEDULER_ADDRESS sets) or
    the address of a scheduler ("tcp://..."); "ray"; or the name of a joblib backend.
    """
    if workers is None or isinstance(workers, int):
        return None
    if isinstance(workers, str):
        return _dask(workers) if workers == "dask" or "://" in workers else _joblib(workers)
    if isinstance(workers, ClusterClient):
        return DaskPool(workers)
    raise UsageError(
        f"workers = {workers!r}; it must be a number of threads, a Dask Client, 'dask', the"
        " address of a Dask scheduler, 'ray', or the name of a joblib backend such as 'loky'."
    )


def _dask(workers: str) -> Pool:
    try:
        import dask
        from distributed import get_client
    except ImportError as error:
        raise UsageError(
            f"workers={workers!r} needs Dask: install mqd with its extra 'cluster'."
        ) from error
    if workers != "dask":
        return _connected(workers)
    try:
        return DaskPool(get_client())
    except ValueError as error:
        address = dask.config.get("scheduler-address", None)
        if address:
            return _connected(address)
        raise UsageError(
            "workers='dask' takes the Dask client that is open, or the scheduler that"
            " DASK_SCHEDULER_ADDRESS names, and there is neither: open one"
            " (distributed.Client('tcp://...')), or pass the scheduler's address."
        ) from error


def _connected(address: str) -> Pool:
    from distributed import Client

    try:
        client: ClusterClient = Client(  # type: ignore[no-untyped-call]
            address, set_as_default=False, timeout=WAIT_S
        )
        return DaskPool(client, address)
    except (OSError, ValueError) as error:
        raise UsageError(f"No Dask scheduler answers at {address}: {error}") from error


def _joblib(name: str) -> Pool:
    try:
        from joblib.parallel import BACKENDS
    except ImportError as error:
        raise UsageError(
            f"workers={name!r} needs joblib: install mqd with its extra 'cluster'."
        ) from error
    if name == "ray":
        _register_ray()
    elif name not in BACKENDS:
        raise UsageError(
            f"workers = {name!r}: joblib has no such backend.{did_you_mean(name, BACKENDS)}"
        )
    return JoblibPool(name)


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise UsageError("workers='ray' needs Ray: pip install ray.") from error
    register_ray()
