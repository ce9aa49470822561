"""Processes that the kill tests start: `python writer_process.py write|crash ...`.

write ROOT SEED GRID     put every slice of a volume; on stdout one line before and one after each put
crash FOLDER             kill a writer at its 1st, 2nd, 3rd ... file operation, each time in a new folder
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
from cache_helpers import SHAPE, cases, make_key

from napari_medicosam.cache.store import ZarrEmbeddingStore

FILE_EVENTS = {
    "open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "os.link", "os.truncate",
    "shutil.rmtree", "tempfile.mkdtemp",
}  # fmt: skip


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write(root: Path, seed: int, grid_size: int) -> None:
    key = make_key(grid_size=grid_size)
    everything = list(cases(seed, key))
    store = ZarrEmbeddingStore(root, key, SHAPE)
    say("ready")
    if sys.stdin.readline() != "go\n":
        raise SystemExit("expected 'go'")
    for plane, digest, embedding in everything:
        if store.get(plane, digest) is None:
            say(f"put {plane.index}")
            store.put(plane, digest, embedding)
        say(f"done {plane.index}")


def scenario(root: Path, report: int | None) -> None:
    """Three slices along one axis, then one of them for other pixels; reports each put that came back."""
    key = make_key()
    store = ZarrEmbeddingStore(root, key, SHAPE)
    for number, case in enumerate(scenario_cases()):
        store.put(*case)
        if report is not None:
            os.write(report, bytes([number]))


def scenario_cases():
    key = make_key()
    return [*list(cases(0, key))[:3], list(cases(1, key))[1]]


def check_after_kill(root: Path, num_done: int) -> None:
    key = make_key()
    store = ZarrEmbeddingStore(root, key, SHAPE)
    everything = scenario_cases()
    for number, (plane, digest, embedding) in enumerate(everything):
        has, got = store.has(plane, digest), store.get(plane, digest)
        if has != (got is not None) or (got is not None and not np.array_equal(got, embedding)):
            raise SystemExit(f"slice {number}: has {has}, got {got}")
        replaced = number == 1 and num_done >= 3  # the last put may be under way
        if number < num_done and not has and not replaced:
            raise SystemExit(f"slice {number} was done and is lost")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("embeddings/c.*0")}
    scenario_todo = everything if num_done < 3 else everything[3:]
    for number, case in enumerate(scenario_todo):
        done = store.has(case[0], case[1])
        store.put(*case)
        path = next(root.rglob(f"embeddings/c.{case[0].index}.0.0.0"))
        if done and path.stat().st_mtime_ns != before[path]:
            raise SystemExit(f"slice {number} was done and is written again")
    for plane, digest, embedding in [everything[0], everything[2], everything[3]]:
        if not store.has(plane, digest) or not np.array_equal(store.get(plane, digest), embedding):
            raise SystemExit(f"slice {plane.index} is not whole after the second run")


def in_child(function, *args: object) -> int:
    """Run in a fork, because zarr's threads must not be forked; the wait status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function(*args)
            status = 0
        except SystemExit as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def killed_at(step: int, root: Path, report: int) -> None:
    count = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and any(str(root) in str(arg) for arg in args):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    scenario(root, report)


def crash(folder: Path) -> None:
    for step in range(1, 1000):
        root = folder / str(step)
        reader, writer = os.pipe()
        status = in_child(killed_at, step, root, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            num_done = len(pipe.read())
        if in_child(check_after_kill, root, num_done) != 0:
            raise SystemExit(f"after a kill at file operation {step}, {num_done} puts done")
        if status == 0:
            say(step - 1)  # it ran to its end: every operation has been a moment to die
            return
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            raise SystemExit(f"the writer ended with status {status}")
    raise SystemExit("the writer never came to its end")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        crash(Path(sys.argv[2]))
