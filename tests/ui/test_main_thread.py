"""What a worker posts is called on the GUI thread, and the window gets its turn in between."""

from __future__ import annotations

import threading
import time

from qtpy.QtCore import QTimer

from napari_medicosam.ui.main_thread import MainThread

LONGER_THAN_A_TURN = 0.012


def from_another_thread(main, callback):
    thread = threading.Thread(target=main.post, args=(callback,))
    thread.start()
    thread.join()


def test_posts_are_called_in_order_on_the_thread_that_made_it(qtbot):
    main, called = MainThread(), []
    for number in range(100):
        from_another_thread(main, lambda n=number: called.append((n, threading.current_thread())))
    qtbot.waitUntil(lambda: len(called) == 100)
    assert called == [(n, threading.main_thread()) for n in range(100)]


def test_a_worker_that_is_always_faster_does_not_keep_the_window_waiting(qtbot):
    main, order = MainThread(), []
    window = QTimer()
    window.timeout.connect(lambda: order.append("window"))
    window.start(0)

    def work(left):
        end = time.monotonic() + LONGER_THAN_A_TURN
        order.append("work")
        if left:  # the next one is there before this one is done
            from_another_thread(main, lambda: work(left - 1))
        while time.monotonic() < end:
            pass

    from_another_thread(main, lambda: work(5))
    qtbot.waitUntil(lambda: order.count("work") == 6)
    window.stop()
    assert "work work" not in " ".join(order)
