"""A process is recognised by host, boot, pid and start time."""

import subprocess
import sys

from nightboard.tasks.cluster.processes import current_process, is_alive, process_of


def test_this_process_is_alive():
    assert is_alive(current_process()) is True


def test_a_killed_process_is_dead_even_before_it_is_waited_for():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    known = process_of(child.pid)
    assert known is not None and is_alive(known) is True
    child.kill()
    while is_alive(known):
        pass
    assert is_alive(known) is False
    child.wait()
    assert is_alive(known) is False
    assert process_of(child.pid) is None


def test_a_reused_pid_is_another_process():
    me = current_process()
    assert is_alive(me.model_copy(update={"started_ticks": me.started_ticks - 1})) is False


def test_a_process_from_before_the_last_boot_is_dead():
    assert is_alive(current_process().model_copy(update={"boot_id": "another"})) is False


def test_a_process_on_another_host_cannot_be_judged():
    assert is_alive(current_process().model_copy(update={"host": "another"})) is None


def test_a_name_with_spaces_and_parentheses_is_read(tmp_path):
    odd = tmp_path / "a) S (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(odd), "60"])
    try:
        known = process_of(child.pid)
        assert known is not None and is_alive(known) is True
        assert known.started_ticks >= current_process().started_ticks
    finally:
        child.kill()
        child.wait()
