"""SIGTERM and SIGINT: a run ends after its next step, with a checkpoint, and its exit code says which signal it was."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HANDLED = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """The end that a signal asked for; the exit code is 128 and the signal's number, as a shell gives it."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Signals:
    """While its block runs, SIGTERM and SIGINT raise `Interrupted`; where steps are being trained they are only noted.

    A second signal does not wait for the step to end, only for a checkpoint that is being written.

    Attributes:
        can_wait: whether someone looks at `received` soon.
        received: the number of the signal that waits, or None.
    """

    def __init__(self):
        self.can_wait, self.received, self._held = False, None, False

    def __enter__(self) -> "Signals":
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other may
            self._before = {number: signal.getsignal(number) for number in HANDLED}
            self.install()
        return self

    def install(self) -> None:
        """Takes the signals, also from Lightning, which takes SIGTERM for itself when training starts."""
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a worker of the loader, which has nothing to save
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self._held and (not self.can_wait or self.received is not None):
            raise Interrupted(number)
        self.received = number

    @contextmanager
    def held(self) -> Iterator[None]:
        """No signal interrupts the block; one that comes meanwhile is noted."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
