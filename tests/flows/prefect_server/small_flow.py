"""A run as the command line makes it: a history, then steps. The tests start `small_flow.py STATE_DIR [sleep]`."""

import json
import logging
import sys
import time
from pathlib import Path

from nightboard.flows.prefect_server.history import History
from nightboard.flows.prefect_server.reporter import Reporter
from nightboard.flows.prefect_server.server import REPORTING_SETTINGS, OwnServer, find_server, keep_prefect_quiet


def tell_all(history: History) -> None:
    """A step, lines of the log, evaluations of which one fails, and each kind of artifact."""
    from prefect import task

    history.show_progress("evaluations", 0.0, "this run")
    with history.step(task(lambda: None, name="discover")):
        history.log(logging.WARNING, "a model is gone")
    for number in range(6):
        history.add_outcome(f"lab/m{number} {{small}}", "no weights" if number == 3 else None)
    history.show_progress("evaluations", 100.0, "this run")
    history.add_table("ranking", [{"rank": 1, "model": "m0", "average": float("nan")}], "small")
    history.add_markdown("night", "# A night", "What the night did")


if __name__ == "__main__":
    state_dir = Path(sys.argv[1])
    keep_prefect_quiet(state_dir, REPORTING_SETTINGS)
    server = find_server(state_dir)
    assert isinstance(server, OwnServer)
    reporter = Reporter(server)
    history = History(reporter)
    with history.flow_run("nightly", "board:demo", {"board": "demo"}) as ending:
        tell_all(history)
        while not reporter.is_idle:
            time.sleep(0.05)
        home = str(server.home)
        print(json.dumps({"url": server.url, "home": home, "children": [server.pid]}), flush=True)
        if "sleep" in sys.argv:
            time.sleep(600)
        ending.summary = "all well"
    history.close()
    print(json.dumps({"news": history.take_news(), "home_left": Path(home).exists()}), flush=True)
