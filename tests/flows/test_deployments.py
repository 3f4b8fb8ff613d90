"""The flows as they can be deployed: what prefect.yaml names is there, and Prefect shows what each step is for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow, Task

from nightboard.flows import collect, nightly, rebuild

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
TASKS = {
    item.name: item
    for module in (nightly, collect, rebuild)
    for item in vars(module).values()
    if isinstance(item, Task)
}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_a_deployment_names_a_flow_and_its_parameters(deployment: dict[str, Any]) -> None:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(f"nightboard.{path.removesuffix('.py').replace('/', '.')}"), name)
    assert isinstance(flow, Flow)
    assert flow.name == deployment["name"]
    assert flow.description, "which the deployment shows, as it has none of its own"
    assert flow.parameters.properties.keys() == deployment["parameters"].keys()


def test_every_step_has_a_name_a_tag_and_a_description() -> None:
    assert TASKS.keys() == {
        "collect", "discover", "pin datasets", "plan", "fetch datasets", "rebuild", "build warehouse", "report",
    }  # fmt: skip
    assert all(task.tags and task.description for task in TASKS.values())


def test_only_steps_that_ask_the_hub_and_change_nothing_are_retried() -> None:
    assert {name for name, task in TASKS.items() if task.retries} == {"discover", "pin datasets"}
