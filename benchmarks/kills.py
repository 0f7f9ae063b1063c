"""Kill -9 a run at random moments and resume it: the same front.csv as of a run that was left alone, every time.

    python benchmarks/kills.py                       # 20 moments; the last line is JSON
    python benchmarks/kills.py --cluster             # kill one of two Dask workers instead; needs lowprec-dse[dask]

The moments are spread over the whole life of the process, from its first import to its last file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: The command line without its report and its table of published figures, which cost more than a short search.
RUN = """
import sys, dse
workload, profile, trials, out, scheduler = sys.argv[1:]
dse.explore(
    workload, profile=profile or None, trials=int(trials), out=out, resume=True, scheduler=scheduler or None
)
"""


def explore(out: Path, workload: tuple[str, str], trials: int, scheduler: str = "") -> subprocess.Popen[bytes]:
    """Start a run; it goes on where its folder stands."""
    command = [sys.executable, "-c", RUN, *workload, str(trials), str(out), scheduler]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run that nobody kills."""
    _, errors = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a run ended with exit code {process.returncode}: {errors.decode()}")


def kills(folder: Path, workload: tuple[str, str], trials: int, moments: int, seed: int) -> dict:
    """Kill and resume one run per moment."""
    started = time.monotonic()
    finished(explore(folder / "whole", workload, trials))
    whole = time.monotonic() - started
    front = (folder / "whole" / "front.csv").read_bytes()
    generator = random.Random(seed)
    same, reached = 0, []
    for number in range(moments):
        out = folder / str(number)
        process = explore(out, workload, trials)
        time.sleep(generator.uniform(0.0, whole))
        process.kill()
        process.wait()
        state = out / "state" / "state.json"
        reached.append(json.loads(state.read_text())["done"] if state.exists() else 0)
        finished(explore(out, workload, trials))
        equal = (out / "front.csv").read_bytes() == front
        same += equal
        print(
            f"moment {number}: {reached[-1]} of {trials} trials on disk, {'same' if equal else 'OTHER'} front",
            flush=True,
        )
    return {"moments": moments, "same_front": same, "trials_on_disk": reached, "seconds_of_a_whole_run": whole}


def cluster(folder: Path, workload: tuple[str, str], trials: int) -> dict:
    """A run on two Dask workers of which one is killed as soon as there are results, and one on this machine alone."""
    finished(explore(folder / "alone", workload, trials))
    address = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", str(address), "--port", "0",
            "--dashboard-address", ":0"]  # fmt: skip
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1",
              "--no-nanny", "--no-dashboard"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen(dask, **quiet)]
    try:
        while not address.exists():
            time.sleep(0.1)
        processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        out = folder / "cluster"
        run = explore(out, workload, trials, json.loads(address.read_text())["address"])
        while not (out / "state" / "state.json").exists() and run.poll() is None:
            time.sleep(0.05)
        killed = run.poll() is None
        os.kill(processes[-1].pid, signal.SIGKILL)
        finished(run)
    finally:
        for process in processes:
            process.kill()
    same = (out / "front.csv").read_bytes() == (folder / "alone" / "front.csv").read_bytes()
    return {"worker_killed_while_running": killed, "same_front": same}


def main() -> None:
    """Run what was asked for; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--workload", default="imagenet_resnet")
    parser.add_argument("--profile", default="", help="default: the shipped one of the workload's name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cluster", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.cluster:
            print(json.dumps(cluster(folder, (given.workload, given.profile), given.trials)))
        else:
            print(json.dumps(kills(folder, (given.workload, given.profile), given.trials, given.moments, given.seed)))


if __name__ == "__main__":
    main()
