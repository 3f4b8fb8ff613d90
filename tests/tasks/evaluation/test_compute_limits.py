"""What takes too much time or memory is interrupted, says so, and leaves the process as it was."""

from __future__ import annotations

import resource
import signal
import threading

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nightboard.tasks.evaluation.compute_limits import LimitExceeded, limited

# An interruption may hit while an object is freed: Python reports it there, and the timer comes again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def render(template: str) -> str:
    return ImmutableSandboxedEnvironment().from_string(template).render(messages=[])


def test_a_template_that_loops_is_interrupted() -> None:
    rounds = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = j %}{% endfor %}{% endfor %}"
    with pytest.raises(LimitExceeded, match=r"more than 0.2 s of computing"):
        with limited(0.2, 4):
            render(rounds)


def test_a_template_that_fills_the_memory_is_interrupted() -> None:
    doubling = "{% set s = namespace(x='a' * 1000) %}{% for i in range(40) %}{% set s.x = s.x ~ s.x %}{% endfor %}"
    with pytest.raises(LimitExceeded, match=r"more than 0.2 GB of memory"):
        with limited(60, 0.2):
            render(doubling)


def test_what_a_library_makes_of_the_interruption_does_not_hide_it() -> None:
    def swallow() -> None:
        try:
            while True:
                pass
        except LimitExceeded as error:
            raise OSError("cannot be loaded") from error

    with pytest.raises(LimitExceeded, match=r"of computing"):
        with limited(0.05, 4):
            swallow()


def test_the_process_is_left_as_it_was() -> None:
    before = signal.getsignal(signal.SIGPROF), resource.getrlimit(resource.RLIMIT_AS)
    with limited(60, 1):
        assert resource.getrlimit(resource.RLIMIT_AS) != before[1]
    with pytest.raises(ValueError, match="own"):
        with limited(60, 1):
            raise ValueError("own")
    assert (signal.getsignal(signal.SIGPROF), resource.getrlimit(resource.RLIMIT_AS)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_another_thread_has_no_timer_and_no_error() -> None:
    done = []

    def work() -> None:
        with limited(1, 4):
            done.append("well")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["well"]
