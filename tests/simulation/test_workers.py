"""Several processes: order, bounded memory, errors as they are, and workers that die."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest
from helpers.worker_tasks import Explosive, Stubborn, die_until, refuse, square, stubborn, stumble, unpicklable

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.simulation.workers import MAX_DEATHS, _answer, in_order


def attempts(folder, number):
    return len(os.listdir(folder / str(number)))


def test_in_order_from_several_processes():
    results = list(in_order(square, ((n,) for n in range(23)), workers=3))
    assert [value for value, _ in results] == [n**2 for n in range(23)]
    processes = {process for _, process in results}
    assert os.getpid() not in processes
    assert len(processes) <= 3
    assert [process for _, process in in_order(square, [(1,)], workers=1)] == [os.getpid()]
    assert list(in_order(square, [], workers=2)) == []


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for n in range(100):
            taken.append(n)
            yield (n,)

    results = in_order(square, tasks(), workers=2)
    assert next(results)[0] == 0
    assert len(taken) <= 2 * 2 + 1
    results.close()


def test_a_killed_worker_loses_only_its_task(tmp_path, caplog):
    tasks = [(str(tmp_path), n, n % 2) for n in range(4)]
    results = list(in_order(die_until, tasks, 2, name=lambda task: f"number {task[1]}"))
    assert results == [0, 1, 2, 3]
    assert [attempts(tmp_path, n) for n in range(4)] == [1, 2, 1, 2]
    assert sorted(caplog.messages) == [f"a worker died (signal 9) over number {n}, which is done again" for n in (1, 3)]


def test_a_deadly_task_is_given_up(tmp_path):
    tasks = [(str(tmp_path), n, 1000 if n == 3 else 0) for n in range(6)]
    results = in_order(die_until, tasks, 2, name=lambda task: f"number {task[1]}")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(PanopTagError, match=rf"^number 3 ended {MAX_DEATHS} workers \(signal 9\), perhaps for lack of"):
        next(results)
    assert attempts(tmp_path, 3) == MAX_DEATHS


def test_a_workers_error_arrives_as_it_is():
    with pytest.raises(ConfigError, match=r"^number 5 is no good$"):
        list(in_order(refuse, [(5,), (6,)], 2))


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    # The stubborn one as it is only where tblib (of distributed) has taught pickle to.
    [(stumble, KeyError, "5"), (stubborn, (RuntimeError, Stubborn), "1 and 2"), (unpicklable, TypeError, "no")],
)
def test_any_error_survives_the_journey(function, kind, message):
    succeeded, error = pickle.loads(_answer(pickle.dumps((function, (5,)))))
    assert not succeeded
    assert isinstance(error, kind)
    assert message in str(error)
    assert "worker_tasks.py" in "".join([str(error), *getattr(error, "__notes__", [])])


def test_what_ends_a_worker_while_it_is_read_is_one_sentence():
    with pytest.raises(PanopTagError, match=rf"^a piece of work ended {MAX_DEATHS} workers \(exit code 9\)"):
        list(in_order(square, [(Explosive(),)], 2))


def test_a_script_without_main_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from panoptag_pyg.simulation.workers import in_order\nprint(list(in_order(abs, [(-1,)] * 3, 2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert "a worker could not start; in a script of your own call this under" in done.stderr.splitlines()[-1]


def test_workers_end_with_a_killed_parent(tmp_path):
    """They hold its standard output open, so that reading it to the end waits for all of them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from panoptag_pyg.simulation.workers import in_order\n"
        "if __name__ == '__main__':\n"
        "    results = in_order(abs, ((n,) for n in range(100)), 2)\n"
        "    next(results)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""
