"""One S3 client in a process of its own: one operation over and over, measured. `benchmarks.compare` runs these.

    python -m benchmarks.clients CLIENT OP SIZE CONNECTIONS SECONDS PORT

Prints a JSON object: CPU µs (user + system, all threads) per operation, operations a second, latencies in ms, resident
memory in MiB. Latencies are what the client itself sees.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.job import BUCKET, KEYS, Job, Measured, cpu_s, measured
from benchmarks.programs import PROGRAMS, run_program

WARM_UP_S = 0.15
FEWEST = 32
"""Operations that are measured at least, however slow the machine is just now, unless that takes `LONGEST_S`."""
LONGEST_S = 10.0
ENGINES = ("wire", "boto")
LIBRARIES = ("s3dlio", "obstore", "minio")
CLIENTS = (*ENGINES, *LIBRARIES, *PROGRAMS)

TUNED = {
    "S3DLIO_ENABLE_RANGE_OPTIMIZATION": "0",
    "S3DLIO_SKIP_HEAD": "1",
    "S3DLIO_UNSIGNED_PAYLOAD": "1",
    "S3DLIO_RT_THREADS": "1",
}
"""Without these s3dlio sends a HEAD before every GET and hashes every body: it is compared at its best."""


# --- our engines ----------------------------------------------------------------------------------------------------


async def run_engine(name: str, job: Job) -> Measured:
    from sai3tui.config.ops import Op
    from sai3tui.config.storage_options import S3Options
    from sai3tui.storage.engine import OK, Connection, Endpoint, EngineOptions, Request
    from sai3tui.storage.open import make_engine

    class Content:
        """A body that costs nothing to make."""

        size = job.size
        data = memoryview(os.urandom(min(job.size, 256 * 1024) or 1))

        def piece(self, offset: int, length: int) -> memoryview:
            return self.data[:length]

    loop = asyncio.get_running_loop()
    engine = make_engine("s3", name, EngineOptions(loop, s3=S3Options(tls_verify=False)), KEYS)
    ended: asyncio.Future[None] = loop.create_future()
    latencies: list[int] = []
    failures: list[str] = []
    running = job.connections
    stopping = False

    def on_done(connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
        nonlocal running
        latencies.append(t_last - t0)
        if status != OK or moved != job.size:
            failures.append(connection.failure.sentence() if connection.failure else f"{moved} bytes")
        if stopping or failures:
            running -= 1
            if not running and not ended.done():
                ended.set_result(None)
        elif connection.request is not None:
            connection.issue(connection.request)

    place = Endpoint(f"s3://127.0.0.1:{job.port}/{BUCKET}/", "s3", "127.0.0.1", job.port, BUCKET, "", job.tls)
    await engine.open([place], [job.connections], on_done)
    gc.collect()
    gc.freeze()
    for connection in engine.connections:
        op = Op[job.op.upper()]
        connection.issue(Request(op=op, key=job.key, size=job.size, body=Content() if op is Op.PUT else None))
    await asyncio.sleep(WARM_UP_S)
    before, cpu, start = len(latencies), cpu_s(), time.perf_counter()
    await asyncio.sleep(job.seconds)
    # An event would be set by every operation, whose cost is what is measured.
    while len(latencies) - before < FEWEST and time.perf_counter() - start < LONGEST_S:  # noqa: ASYNC110
        await asyncio.sleep(job.seconds)
    found = measured(cpu_s() - cpu, time.perf_counter() - start, latencies[before:])
    stopping = True
    await asyncio.wait_for(ended, 60)
    await engine.close()
    if failures:
        raise RuntimeError(failures[0])
    return found


# --- others, as many threads as connections -------------------------------------------------------------------------


def s3dlio_call(job: Job) -> Callable[[], object]:
    os.environ |= KEYS | TUNED | {"AWS_ENDPOINT_URL": job.url}
    import s3dlio  # type: ignore[import-not-found]

    uri = f"s3://{BUCKET}/{job.key}"
    data = os.urandom(job.size)
    if job.op == "get":
        return lambda: len(memoryview(s3dlio.get(uri)))
    return lambda: s3dlio.put_bytes(uri, data)


def obstore_call(job: Job) -> Callable[[], object]:
    import obstore  # type: ignore[import-not-found]
    from obstore.store import S3Store  # type: ignore[import-not-found]

    store = S3Store(
        BUCKET,
        endpoint=job.url,
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        unsigned_payload=True,
        client_options={"allow_http": True},
    )
    data = os.urandom(job.size)
    if job.op == "get":
        return lambda: len(obstore.get(store, job.key).bytes())
    return lambda: obstore.put(store, job.key, data, use_multipart=False)


def minio_call(job: Job) -> Callable[[], object]:
    import urllib3
    from minio import Minio  # type: ignore[import-not-found]

    client = Minio(
        endpoint=f"127.0.0.1:{job.port}",
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        secure=False,
        http_client=urllib3.PoolManager(maxsize=job.connections),
    )
    data = os.urandom(job.size)

    def get() -> int:
        answer = client.get_object(bucket_name=BUCKET, object_name=job.key)
        try:
            return len(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def put() -> None:
        client.put_object(
            bucket_name=BUCKET, object_name=job.key, data=io.BytesIO(data), length=job.size, part_size=64 * 1024 * 1024
        )

    return get if job.op == "get" else put


def run_threads(call: Callable[[], object], job: Job) -> Measured:
    moved = call()
    if job.op == "get" and moved != job.size:
        raise RuntimeError(f"{moved} bytes came instead of {job.size}")
    stop = threading.Event()
    latencies: list[list[int]] = [[] for _ in range(job.connections)]
    broken: list[BaseException] = []

    def work(mine: list[int]) -> None:
        try:
            while not stop.is_set():
                begin = time.perf_counter_ns()
                call()
                mine.append(time.perf_counter_ns() - begin)
        except BaseException as error:
            # Whatever a client raises is told by the main thread.
            broken.append(error)

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in latencies]
    for thread in threads:
        thread.start()
    time.sleep(WARM_UP_S)
    before, cpu, start = [len(mine) for mine in latencies], cpu_s(), time.perf_counter()
    time.sleep(job.seconds)
    while sum(map(len, latencies)) - sum(before) < FEWEST and time.perf_counter() - start < LONGEST_S:
        time.sleep(job.seconds)
    cpu, wall = cpu_s() - cpu, time.perf_counter() - start
    seen = [value for mine, first in zip(latencies, before, strict=True) for value in mine[first:]]
    stop.set()
    for thread in threads:
        thread.join(10)
    if broken:
        raise RuntimeError(f"a call failed: {broken[0]}") from broken[0]
    return measured(cpu, wall, seen)


def run(client: str, job: Job) -> Measured:
    if client in ENGINES:
        import uvloop

        return uvloop.run(run_engine(client, job))
    if client in PROGRAMS:
        return run_program(client, job)
    calls = {"s3dlio": s3dlio_call, "obstore": obstore_call, "minio": minio_call}
    return run_threads(calls[client](job), job)


def main(arguments: list[str]) -> int:
    client, op, size, connections, seconds, port = arguments
    found = run(client, Job(op, int(size), int(connections), float(seconds), int(port)))
    print(json.dumps(asdict(found)))
    sys.stdout.flush()
    # Threads of other clients need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
