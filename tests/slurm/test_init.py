"""`nightboard init` on a real SLURM: the partition that it reads gives a cluster profile that validates and plans."""

from __future__ import annotations

from pathlib import Path

from served_hub import make_model
from slurm.cluster import Cluster
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.profiles.loading.load import load_board


def test_a_new_board_has_the_clusters_shape_validates_and_plans(cluster: Cluster, tmp_path: Path) -> None:
    runner, hub = CliRunner(env={"COLUMNS": "200"}), LoopbackHub()
    hub.create_repo("lab/one")
    hub.commit("lab/one", make_model(), "Add")
    hub.create_repo("TAUR-Lab/MuSR", "dataset")
    hub.commit("TAUR-Lab/MuSR", {"README.md": b"questions"}, "Add", kind="dataset")
    made = runner.invoke(app, ["init", str(tmp_path), "--name", "mine", "--follow", "lab", "--yes"])
    assert made.exit_code == 0, made.output
    board = tmp_path / "mine.yaml"
    assert runner.invoke(app, ["validate", str(tmp_path)]).exit_code == 0
    profile = load_board(board).cluster
    assert (profile.executor, profile.slurm.partition) == ("slurm", "gpu")
    assert profile.tiers[-1].gpus == cluster.shape.gpus
    assert profile.max_gpus == cluster.shape.gpus * cluster.shape.nodes
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nonly: [musr]\n")
    with serve(hub) as endpoint:
        board.write_text(board.read_text().replace("[quickstart]", "[small]") + f"hub: {endpoint}\n")
        planned = runner.invoke(app, ["plan", "--board", str(board)])
    assert planned.exit_code == 0, planned.output
    assert "Plan: 1 evaluation in 1 job" in planned.output
