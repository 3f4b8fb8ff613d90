"""A run as the command line makes it: a server, then a flow. The tests start `small_flow.py STATE_DIR [sleep]`."""

import json
import os
import sys
import time
from pathlib import Path

from nightboard.flows.server import prefect_server


def run_flow() -> list[str]:
    """A flow with mapped tasks of which one fails, a retried one and each kind of artifact."""
    from prefect import flow, task
    from prefect.artifacts import (
        create_markdown_artifact,
        create_progress_artifact,
        create_table_artifact,
        update_progress_artifact,
    )
    from prefect.futures import wait

    tries: list[int] = []

    @task(task_run_name="evaluate {model}")
    def evaluate(model: str) -> str:
        if model == "m3":
            raise RuntimeError("no weights")
        return model

    @task(retries=2, retry_delay_seconds=[0.1, 0.1])
    def discover() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("429")
        return len(tries)

    @flow(name="small", flow_run_name="small {board}")
    def small(board: str) -> list[str]:
        progress = create_progress_artifact(0.0, key="evaluations")
        assert discover() == 3
        futures = evaluate.map([f"m{number}" for number in range(6)])
        wait(futures)
        update_progress_artifact(progress, 100.0)
        create_table_artifact([{"rank": 1, "model": "m0"}], key="ranking")
        create_markdown_artifact("# A night", key="night")
        return [future.state.name for future in futures]

    return small("demo")


def find_children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


if __name__ == "__main__":
    with prefect_server(Path(sys.argv[1])) as url:
        home = os.environ["PREFECT_HOME"]
        print(json.dumps({"url": url, "home": home, "children": find_children()}), flush=True)
        print(json.dumps(run_flow()), flush=True)
        if "sleep" in sys.argv:
            time.sleep(120)
    print(json.dumps({"after": os.environ.get("PREFECT_API_URL"), "home_left": Path(home).exists()}), flush=True)
