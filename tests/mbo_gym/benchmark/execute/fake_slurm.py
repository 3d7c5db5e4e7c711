"""Slurm's commands for one machine and one test, as far as submitit and mbo_gym use them.

`install` writes ``sbatch``, ``srun``, ``squeue``, ``scontrol`` and ``scancel`` into a folder. Jobs
are processes, their state is a file for each task. As in Slurm, a signal goes to every process of a
task (`signal_task`).
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

JOB = "4711"


def install(folder: Path) -> None:
    """Write the commands into a folder, which is to be put on the PATH."""
    folder.mkdir(parents=True)
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        path = folder / name
        path.write_text(
            f'#!/bin/sh\nFAKE_SLURM="{folder}" exec "{sys.executable}" -S "{__file__}" {name} "$@"\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "tasks").mkdir()


def tasks_of(folder: Path) -> dict[str, str]:
    """Return the state of each task that has not ended."""
    found = {}
    for path in folder.joinpath("tasks").glob("*.state"):
        with suppress(FileNotFoundError):
            found[path.stem] = path.read_text()
    return found


def processes(root: int) -> list[int]:
    """Return the processes that come from one, itself first."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def signal_task(folder: Path, task: str, number: int) -> None:
    """Send a signal to all processes that run a task's program."""
    pid = int(folder.joinpath("tasks", f"{task}.pid").read_text())
    for one in processes(pid):
        with suppress(ProcessLookupError):
            os.kill(one, number)


def _sbatch(folder: Path, script: str) -> None:
    text = Path(script).read_text()
    array = re.search(r"#SBATCH --array=0-(\d+)%(\d+)", text)
    n = sum(path.suffix == ".first" for path in folder.joinpath("tasks").iterdir())
    job = str(int(JOB) + n)
    folder.joinpath("tasks", f"{job}.first").touch()
    numbers = [""] if array is None else [f"_{i}" for i in range(int(array[1]) + 1)]
    for number in numbers:
        folder.joinpath("tasks", f"{job}{number}.state").write_text("PENDING")
    most = "1" if array is None else array[2]
    command = [sys.executable, "-S", __file__, "control", script, job, most, *numbers]
    null = subprocess.DEVNULL  # the pipes of sbatch end with it
    subprocess.Popen(
        command,
        env=_environment(folder),
        start_new_session=True,
        stdin=null,
        stdout=null,
        stderr=null,
    )
    print(f"Submitted batch job {job}")


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "FAKE_SLURM": str(folder)}


def _control(folder: Path, script: str, job: str, most: int, numbers: list[str]) -> None:
    """Run the tasks of a job, some at once, and run those again that were requeued."""
    waiting, running = list(numbers), {}
    while waiting or running:
        while waiting and len(running) < most:
            number = waiting.pop(0)
            environment = {
                **_environment(folder),
                "SLURM_JOB_ID": job,
                "SLURM_NTASKS": "1",
                "SLURM_PROCID": "0",
            }
            if number:
                environment["SLURM_ARRAY_JOB_ID"] = job
                environment["SLURM_ARRAY_TASK_ID"] = number[1:]
            folder.joinpath("tasks", f"{job}{number}.state").write_text("RUNNING")
            running[number] = subprocess.Popen(["bash", script], env=environment)
        for number, process in list(running.items()):
            requeue = folder.joinpath("tasks", f"{job}{number}.requeue")
            if process.poll() is None and not requeue.exists():
                continue
            for pid in processes(process.pid):  # the whole task ends
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            del running[number]
            state = folder.joinpath("tasks", f"{job}{number}.state")
            if requeue.exists():
                requeue.unlink()
                state.write_text("PENDING")
                waiting.append(number)
            else:
                state.unlink()
        time.sleep(0.05)


def _srun(folder: Path, arguments: list[str]) -> None:
    """Become the program of a task, with its output in files."""
    job = os.environ["SLURM_JOB_ID"]
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    task = job if index is None else f"{job}_{index}"
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            name = arguments.pop(0).replace("%A", job).replace("%a", index or "")
            name = name.replace("%j", job).replace("%t", "0")
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1 if option == "--output" else 2)
        elif option == "--cpus-per-task":
            arguments.pop(0)
    folder.joinpath("tasks", f"{task}.pid").write_text(str(os.getpid()))
    os.execvp(arguments[0], arguments)


def _main(name: str, arguments: list[str]) -> int:
    folder = Path(os.environ["FAKE_SLURM"])
    if name == "sbatch":
        _sbatch(folder, arguments[0])
    elif name == "control":
        _control(folder, arguments[0], arguments[1], int(arguments[2]), arguments[3:])
    elif name == "srun":
        _srun(folder, arguments)
    elif name == "squeue":
        job = arguments[arguments.index("--jobs") + 1]
        found = {t: s for t, s in tasks_of(folder).items() if t.partition("_")[0] == job}
        if not found:
            print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
            return 1
        print("\n".join(f"{task} {state}" for task, state in sorted(found.items())))
    elif name == "scontrol":  # requeue
        folder.joinpath("tasks", f"{arguments[1]}.requeue").touch()
    elif name == "scancel":
        for task in tasks_of(folder):
            signal_task(folder, task, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
