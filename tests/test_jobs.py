"""Jobs in processes of their own: how many at a time, why one failed, and that none outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from panoptag_pyg.jobs import Job, run_jobs

#: Stands in for the worker: does what the order's "code" says.
SCRIPT = "import json, sys; exec(json.load(open(sys.argv[1]))['code'])"


def job(folder: Path, name: str, code: str) -> Job:
    return Job(name, "training", {"kind": "train", "code": code}, folder / name, (sys.executable, "-c", SCRIPT))


def test_failures_are_told_and_stop_nothing(tmp_path: Path) -> None:
    codes = {
        "good": "print('epoch 1/1')",
        "told": "sys.exit(print('Error: no such thing', file=sys.stderr) or 2)",
        "raised": "print('before'); 1 / 0",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "silent": "sys.exit(3)",
        "last": "print(__import__('os').environ['OMP_NUM_THREADS'])",
    }
    jobs = [job(tmp_path, name, code) for name, code in codes.items()]
    heard: list[tuple[str, str, str]] = []
    run_jobs(jobs, 2, 3, lambda job, event, text: heard.append((job.name, event, text)))
    reasons = {job.name: job.reason for job in jobs}
    assert reasons["good"] == reasons["last"] == ""
    assert reasons["told"] == "no such thing"
    assert reasons["raised"].startswith("ZeroDivisionError: division by zero (see ")
    assert "SIGKILL; was there enough memory?" in reasons["killed"]
    assert "without a word" in reasons["silent"]
    assert ("good", "line", "epoch 1/1") in heard
    assert ("last", "line", "3") in heard
    assert ("told", "end", "no such thing") in heard
    assert "ZeroDivisionError" in (tmp_path / "raised" / "train.log").read_text()


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_at_a_time(tmp_path: Path, workers: int) -> None:
    running, most = set(), 0

    def listen(job: Job, event: str, text: str) -> None:
        nonlocal most
        if event == "start":
            running.add(job.name)
            most = max(most, len(running))
        elif event == "end":
            running.remove(job.name)

    run_jobs([job(tmp_path, str(n), "import time; time.sleep(0.2)") for n in range(4)], workers, 1, listen)
    assert most == workers


def test_no_more_start_once_told(tmp_path: Path) -> None:
    jobs = [job(tmp_path, str(n), "pass") for n in range(4)]
    run_jobs(jobs, 1, 1, lambda *_: None, go_on=lambda: jobs[1].process is None)
    assert [one.process is not None for one in jobs] == [True, True, False, False]


def test_an_interrupt_reaches_the_children_and_waits_for_them(tmp_path: Path) -> None:
    code = (
        "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    open({str(tmp_path / 'kept')!r}, 'w').close()\n    sys.exit(130)"
    )

    def listen(job: Job, event: str, text: str) -> None:
        if event == "line":
            os.kill(os.getpid(), 2)

    waiting = job(tmp_path, "waiting", "raise SystemExit")
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "sleeper", code), waiting], 1, 1, listen)
    assert (tmp_path / "kept").exists()
    assert waiting.process is None


def test_a_worker_leaves_when_its_parent_is_gone(tmp_path: Path) -> None:
    code = (
        "import time\nfrom panoptag_pyg.jobs import stop_with_parent\n"
        "stop_with_parent()\n"
        "try:\n    print('up', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(130)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "up\n"
        start = time.monotonic()
        child.stdin.close()
        assert child.wait(timeout=30) == 130
        assert time.monotonic() - start < 30
    finally:
        child.kill()
        child.stdout.close()
