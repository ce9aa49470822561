"""Threads that libraries compute with let the window go first."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, threading
from qtpy.QtCore import QCoreApplication, QThread
from napari_medicosam.ui.pool_threads import NICENESS, PoolThreads

def of_all():
    return {int(name): os.getpriority(os.PRIO_PROCESS, int(name)) for name in os.listdir("/proc/self/task")}

def name_of(thread):
    with open(f"/proc/self/task/{thread}/comm") as file:
        return file.read()

import torch
torch.set_num_threads(3)
torch.ones(400, 400) @ torch.ones(400, 400)  # a pool that was there before
ended, before, found = threading.Event(), of_all(), {}

def work():
    pool = PoolThreads()
    pool.begin()
    threading.Thread(target=ended.wait, name="one of Python's").start()
    qt.start()  # it gives its threads names
    for _ in range(3):
        torch.ones(400, 400) @ torch.ones(400, 400)
        (torch.ones(1 << 20) + 1).sum()
        pool.lower()
    found.update(of_all())
    found["python"] = {thread.native_id for thread in threading.enumerate()}
    found["named"] = {one for one in found if isinstance(one, int) and "Thread" in name_of(one)}

application = QCoreApplication([])
qt, worker = QThread(), threading.Thread(target=work)
worker.start()
worker.join()
ended.set()
qt.quit()
qt.wait()
python, named, first = found.pop("python"), found.pop("named"), os.getpriority(os.PRIO_PROCESS, 0)
new = {thread: nice for thread, nice in found.items() if thread not in {*before, *python, *named}}
print("pool", sorted(set(new.values())) == [max(first, NICENESS)] and len(new) >= 2)
print("named", len(named) == 1)
print("others", {nice for thread, nice in found.items() if thread not in new} == {first})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads are left as they are")
def test_a_pool_is_lowered_and_nothing_else():
    answer = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.stdout.splitlines() == ["pool True", "named True", "others True"], (
        answer.stdout + answer.stderr[-2000:]
    )
