"""Kill, starve and confuse a run at random moments and resume it: the same front.csv as of a run that was left alone, every time.

    python benchmarks/kills.py                       # all of it, about half an hour of one core; the last line is JSON
    python benchmarks/kills.py --moments 5 --disks 2 --seconds 5

Killed by the kernel at moments spread over the whole life of a run that takes at least ``--seconds`` of a processor, from its
first import to its last file. A moment is processor time that the run has used, so that a busy machine shifts none of them.
Disks that are full at moments spread over what a run writes; two resumes at once; a resume by another version; clocks that jump;
a Dask worker, and the Dask scheduler, killed while they work (with dse[dask]).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

#: The command line without its report and its table of published figures, which cost more than a short search.
RUN = """
import random, signal, sys, time
workload, profile, trials, out, scheduler, twist, moment = sys.argv[1:]
# Nothing answers SIGPROF: the kernel ends the process there and then.
signal.setitimer(signal.ITIMER_PROF, float(moment))
if twist == "clock":
    real, jumps = time.time, random.Random(0)
    time.time = lambda: real() + jumps.choice((-1e9, -3600.0, 0.0, 3600.0, 1e9))
import dse
from dse.errors import InputError
if twist == "version":
    import dse.search.loop.state
    dse.search.loop.state.MODEL_VERSION = "another"
try:
    dse.explore(workload, profile=profile or None, trials=int(trials), out=out, resume=True, scheduler=scheduler or None)
except InputError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


@dataclass(frozen=True)
class Task:
    """The run that everything is done to, the processor seconds that it takes, and what it gives when it is left alone."""

    workload: str
    profile: str
    trials: int
    seconds: float
    folder: Path

    def start(self, out: Path, scheduler: str = "", twist: str = "", moment: float = 0.0) -> subprocess.Popen[bytes]:
        """Start the run in a process, which goes on where its folder stands; 0 is no moment to be killed at."""
        words = [self.workload, self.profile, str(self.trials), str(out), scheduler, twist, str(moment)]
        return subprocess.Popen([sys.executable, "-c", RUN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finished(self, out: Path) -> bool:
        """Go on with a run until its end; whether its front is the one of the run that was left alone."""
        process = self.start(out)
        _, errors = process.communicate()
        if process.returncode != 0:
            print(f"{out.name}: exit code {process.returncode}: {errors.decode()}", flush=True)
            return False
        return self.same(out)

    def same(self, out: Path) -> bool:
        """Whether a front is that of the run that was left alone."""
        return (out / "front.csv").read_bytes() == (self.folder / "front.csv").read_bytes()


def used() -> float:
    """Processor seconds of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def killed(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a process; whether its moment came before its end."""
    process.communicate()
    return process.returncode == -signal.SIGPROF


def calibrated(folder: Path, workload: str, profile: str, trials: int, seconds: float) -> Task:
    """A run left alone that lasts at least so long, tables and compiled code known: trials are added until it does."""
    warm = Task(workload, profile, 16, 0.0, folder / "warm")
    warm.start(warm.folder).communicate()
    while True:
        task = Task(workload, profile, trials, 0.0, folder / f"whole{trials}")
        began = used()
        process = task.start(task.folder)
        _, errors = process.communicate()
        if process.returncode != 0:
            raise SystemExit(errors.decode())
        lasted = used() - began
        if lasted >= seconds:
            return Task(workload, profile, trials, lasted, task.folder)
        trials = int(trials * min(max(1.3 * seconds / lasted, 1.5), 8))


def done(out: Path) -> int:
    """Trials whose results are on disk."""
    state = out / "state" / "state.json"
    return json.loads(state.read_text())["done"] if state.exists() else 0


def kills(task: Task, folder: Path, moments: int, draw: random.Random) -> dict:
    """Kill runs at moments of their life, again and again until they end; a moment counts if there was something to kill."""
    hit, same, lost, reached = 0, 0, 0, []
    number = 0
    while hit < moments:
        out = folder / f"killed{number}"
        number += 1
        here = 0
        while hit < moments and here < 10:
            before = done(out)
            left = 1.0 - before / task.trials
            moment = draw.uniform(0.001, 0.15 + left) * task.seconds / (1 if here == 0 else 3)
            if not killed(task.start(out, moment=moment)):
                break
            here, hit = here + 1, hit + 1
            reached.append(done(out))
            lost += reached[-1] < before
        same += here * task.finished(out)
        print(f"run {number}: {here} kills, {reached[-here:]} of {task.trials} trials on disk", flush=True)
        shutil.rmtree(out)
    return {"moments": hit, "same_front": same, "states_lost": lost}


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of so many bytes; None where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def disks(task: Task, folder: Path, moments: int, draw: random.Random) -> dict:
    """Runs on disks that are full at some moment: one sentence, the last good state, and the same front once there is room."""
    most = sum(path.stat().st_size for path in task.folder.rglob("*") if path.is_file())
    said = same = full = 0
    for number in range(moments):
        size = int(most * draw.uniform(0.02, 1.0)) // 4096 * 4096 + 4096
        place = folder / f"disk{number}"
        with small_disk(place, size) as disk:
            out = (disk or place) / "run"
            if disk is None:
                words = [
                    "bash",
                    "-c",
                    f'ulimit -f {max(size // 8192, 1)}; exec "$@"',
                    "bash",
                    sys.executable,
                    "-c",
                    RUN,
                ]
                words += [task.workload, task.profile, str(task.trials), str(out), "", "", "0"]
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            else:
                process = task.start(out)
            errors = process.communicate()[1].decode()
            full += process.returncode != 0
            said += process.returncode == 0 or (
                process.returncode == 2 and errors.count("cannot be written") == 1 and "Traceback" not in errors
            )
            if disk is not None:
                subprocess.run(["mount", "-o", f"remount,size={4 * most + (1 << 20)}", str(disk)], check=True)
            same += task.finished(out)
        print(f"disk of {size} bytes: {errors.strip()[:150]}", flush=True)
    return {"disks": moments, "were_full": full, "one_sentence": said, "same_front": same}


def together(task: Task, folder: Path, times: int, draw: random.Random) -> dict:
    """Two resumes of one run at once: one goes on, the other is refused in a sentence."""
    good = 0
    for number in range(times):
        out = folder / f"together{number}"
        killed(task.start(out, moment=draw.uniform(0.2, 0.6) * task.seconds))
        pair = [task.start(out), task.start(out)]
        told = [process.communicate()[1].decode() for process in pair]
        codes = sorted(process.returncode for process in pair)
        refused = sum("another process is at work" in text for text in told)
        # The second may also have come when the first was through.
        good += codes in ([0, 2], [0, 0]) and refused == codes.count(2) and task.same(out)
        print(f"together: codes {codes}", flush=True)
    return {"pairs": times, "one_at_a_time": good}


def twisted(task: Task, folder: Path, draw: random.Random) -> dict:
    """A resume by another version is refused and harms nothing; clocks and dates of files may jump."""
    out = folder / "twisted"
    killed(task.start(out, twist="clock", moment=draw.uniform(0.4, 0.7) * task.seconds))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = task.start(out, twist="version")
    told = other.communicate()[1].decode()
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = other.returncode == 2 and "was computed by" in told and before == after
    for path in before:
        os.utime(path, (draw.choice((0, 2e9, 4e9)),) * 2)
    last = task.start(out, twist="clock")
    last.communicate()
    return {"other_version_refused": bool(refused), "clock_jumps_same_front": last.returncode == 0 and task.same(out)}


def cluster(task: Task, folder: Path, victim: str) -> dict:
    """A run on two Dask workers of which one, or their scheduler, is killed as soon as there are results."""
    address = folder / f"{victim}.json"
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
        out = folder / f"cluster-{victim}"
        run = task.start(out, json.loads(address.read_text())["address"])
        while not (out / "state" / "state.json").exists() and run.poll() is None:
            time.sleep(0.05)
        working = run.poll() is None
        os.kill(processes[0 if victim == "scheduler" else -1].pid, signal.SIGKILL)
        try:
            told = run.communicate(timeout=20 * task.seconds + 120)[1].decode()
        except subprocess.TimeoutExpired:
            run.kill()
            told = "it hangs"
    finally:
        for process in processes:
            process.kill()
    print(f"{victim} killed: exit code {run.returncode}, {told.strip()[-300:]}", flush=True)
    ended = run.returncode == 0 if victim == "worker" else run.returncode in (0, 2)
    return {"killed_while_working": working, "ended_well": ended, "same_front": task.finished(out)}


def main() -> None:
    """Run what was asked for; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100, help="kills")
    parser.add_argument("--disks", type=int, default=20, help="full disks")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of resumes at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="processor seconds that the run takes at least")
    parser.add_argument("--trials", type=int, default=96, help="trials to begin with; more if the run is too short")
    parser.add_argument("--workload", default="fashion_cnn")
    parser.add_argument("--profile", default="", help="default: the shipped one of the workload's name")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = calibrated(folder, given.workload, given.profile, given.trials, given.seconds)
        print(f"a whole run: {task.trials} trials, {task.seconds:.1f} s", flush=True)
        result = {
            "seconds_of_a_whole_run": round(task.seconds, 1),
            "trials": task.trials,
            "kills": kills(task, folder, given.moments, draw),
            "full_disks": disks(task, folder, given.disks, draw),
            "resumes_at_once": together(task, folder, given.pairs, draw),
            **twisted(task, folder, draw),
        }
        if find_spec("distributed") is not None:
            result |= {f"dask_{victim}": cluster(task, folder, victim) for victim in ("worker", "scheduler")}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
