"""How long preflight of a fleet takes, without the measure: `python -m benchmarks.preflight [--agents 4] [--rounds 3]`.

Agents and an S3 server with four addresses, all on this host; every operation that there is to check. Of the command
`sai3tui preflight --no-rate --json`: the whole process, and from the first finding to the last one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from sai3tui.demo_servers import S3Server
from tests.agents import running_agent

ENDPOINTS = 4
BUCKET = "preflight"
CONFIG = """
concurrency: 8
multi_endpoint: {{endpoints: {places}}}
distributed: {{agents: {agents}}}
prepare: {{cleanup: true, ensure_objects: [{{base_uri: data/, count: 1000, size_distribution: 65536}}]}}
workload:
  - {{op: get, path: "data/*", weight: 1, range: {{size: 32}}}}
  - {{op: put, path: "new/", object_size: 6MiB, part_size: 5MiB, weight: 1}}
  - {{op: list, path: "data/", weight: 1}}
  - {{op: stat, path: "data/*", weight: 1}}
  - {{op: delete, path: "data/*", weight: 1, delete_many: 10}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="How long preflight of a fleet takes.")
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sai3tui-bench-")))
        server = stack.enter_context(S3Server.start(directory, buckets=[BUCKET], addresses=ENDPOINTS))
        (server.data_dir / BUCKET / "run" / ".sai3tui").mkdir(parents=True)
        (server.data_dir / BUCKET / "run" / ".sai3tui" / "stays").touch()
        running = [
            stack.enter_context(running_agent(directory, environ=server.environ(), name=f"a{number}"))
            for number in range(options.agents)
        ]
        agents = [{"id": f"a{number}", "address": agent.address} for number, agent in enumerate(running)]
        places = [f"s3+http://{place}/{BUCKET}/run/" for place in server.host_ports]
        config = directory / "c.yaml"
        config.write_text(CONFIG.format(places=json.dumps(places), agents=json.dumps(agents)))
        command = [sys.executable, "-m", "sai3tui", "preflight", str(config), "--no-rate", "--json"]
        whole, checks = [], []
        for number in range(options.rounds):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            whole.append(time.perf_counter() - began)
            found = json.loads(done.stdout)["findings"]
            bad = [each for each in found if each["level"] in ("warning", "error")]
            if done.returncode or bad:
                sys.exit(f"preflight found something: {done.stderr} {bad[:4]}")
            at = sorted((each["time_ns"], each["took_ms"]) for each in found)
            first = min(stamp - took * 1e6 for stamp, took in at)
            checks.append((at[-1][0] - first) / 1e9)
            slow = sorted(found, key=lambda each: -each["took_ms"])[:5]
            shown = ", ".join(f"{each['check']} {each['took_ms']:.0f} ms" for each in slow)
            print(f"round {number + 1}: {whole[-1]:.2f} s, checks {checks[-1]:.2f} s, {len(found)} findings ({shown})")
        print(
            f"{options.agents} agents x {ENDPOINTS} endpoints: the command takes {statistics.median(whole):.2f} s "
            f"(first one {whole[0]:.2f} s), the checks {statistics.median(checks):.2f} s (first {checks[0]:.2f} s)"
        )


if __name__ == "__main__":
    main()
