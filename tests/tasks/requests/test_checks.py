"""What a submission must be, rule by rule, of models on a served Hub that the real client asks."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from served_hub import ServedHub, make_safetensors
from submissions import Desk, good_model

from nightboard.profiles.models.submissions import CHECKS
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.history import Done, History, ScoreKey
from nightboard.tasks.requests.book import add_events
from nightboard.tasks.requests.changes import withdraw
from nightboard.tasks.requests.checks import _CHECKS, Form, _make_evaluations, find_scored, look_up
from nightboard.tasks.requests.submission import Answer, Asker, answer, record

TEMPLATE = {"tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}


@pytest.fixture
def desk(hub: ServedHub, tmp_path: Path) -> Desk:
    return Desk(hub, tmp_path)


def test_a_good_model_has_no_findings_and_its_head_is_pinned(desk: Desk) -> None:
    sha = desk.hub.add("lab/good", good_model())
    given = desk.submit("lab/good")
    assert (given.entry.state, given.findings) == ("accepted", [])
    assert given.entry.request.revision == sha
    assert {(target.suite, target.revision) for target in given.entry.targets} == {("small", sha), ("large", sha)}


def test_a_model_must_exist(desk: Desk) -> None:
    desk.hub.add("lab/hidden", good_model(), private=True)
    for name in ("lab/nothing", "lab/hidden"):
        (finding,) = desk.submit(name).findings
        assert finding == f"{name} does not exist on the Hub, or is private. Check its name, or make it public."
    desk.hub.add("lab/disabled", good_model(), disabled=True)
    assert desk.submit("lab/disabled").findings == ["lab/disabled is disabled on the Hub. Submit another model."]


@pytest.mark.parametrize(
    "name", ["..", "lab/..", "lab/../etc", "../../x", "lab/a..b", "lab/a--b", "lab/a/b", "", " ", "a\n"]
)
def test_what_cannot_be_a_name_is_never_asked_for(desk: Desk, name: str) -> None:
    (finding,) = desk.submit(name).findings
    assert "is not a name on the Hub" in finding
    assert not desk.hub.loopback.requests


def test_a_branch_or_tag_is_pinned_to_its_commit(desk: Desk) -> None:
    first = desk.hub.add("lab/good", good_model())
    desk.hub.loopback.tag("lab/good", "v1")
    desk.hub.loopback.create_branch("lab/good", "step/1")
    desk.hub.loopback.commit("lab/good", good_model(2), "newer")
    for revision in ("v1", "step/1", first):
        assert desk.submit("lab/good", revision=revision).entry.request.revision == first
    for revision in ("v2", "0" * 40, "", "../main", "a\x1b[2J", "a" * 300):
        (finding,) = desk.submit("lab/good", revision=revision).findings
        assert finding.startswith("lab/good has no revision") and "Name a commit, a branch or a tag" in finding
        assert "\x1b" not in finding


def test_a_model_is_submitted_by_its_present_name_in_its_own_capitals(desk: Desk) -> None:
    desk.hub.add("lab/Old", good_model())
    assert desk.submit("lab/old").findings == ["lab/old is called lab/Old on the Hub. Submit it by that name."]
    desk.hub.loopback.rename_repo("lab/Old", "lab/New")
    assert desk.submit("lab/Old").findings == ["lab/Old is called lab/New on the Hub. Submit it by that name."]


def test_words_that_the_board_does_not_have_are_named(desk: Desk) -> None:
    desk.hub.add("lab/good", good_model())
    findings = desk.submit("lab/good", suites=("small", "tiny"), precision="4bit").findings
    assert findings == [
        "the board has no suite tiny. Its suites: small, large.",
        "precision 4bit cannot be run. Ask for auto, float32, float16, bfloat16; auto is as it is stored.",
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"{"}, "cannot be loaded: config.json is not valid JSON"),
        ({"config.json": b'{"architectures": ["BertModel"]}'}, "not a causal language model"),
        ({"modeling.py": b"", "config.json": json.dumps({
            "architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling.Own"},
        }).encode()}, "loads code from its repository"),
    ],
)  # fmt: skip
def test_configuration_and_tokenizer_load_without_code(desk: Desk, files: dict[str, bytes], words: str) -> None:
    desk.hub.add("lab/odd", good_model() | files)
    (finding,) = desk.submit("lab/odd").findings
    assert words in finding and finding.endswith((".", ")."))


def test_weights_are_safetensors_and_a_tokenizer_is_there(desk: Desk) -> None:
    files = good_model()
    del files["model.safetensors"]
    desk.hub.add("lab/pickle", files | {"pytorch_model.bin": b"x"})
    (finding,) = desk.submit("lab/pickle").findings
    assert "has only PyTorch .bin (pytorch_model.bin). Save it with safe_serialization=True" in finding
    files = good_model()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        del files[name]
    desk.hub.add("lab/mute", files)
    assert desk.submit("lab/mute").findings == [
        "it has no tokenizer. Upload it with the model, and submit the new revision."
    ]


def test_a_gated_model_is_refused_while_the_board_has_no_access(desk: Desk) -> None:
    desk.hub.add("lab/gated", good_model(), gated=True)
    (finding,) = desk.submit("lab/gated").findings
    assert finding == "the model is gated, and the board's account has no access. Open it, or ask the board's operator."


def test_it_must_fit_a_tier_in_its_precision(desk: Desk) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [900_000_000], "data_offsets": [0, 0]}}).encode()
    desk.hub.add("lab/large", good_model() | {"model.safetensors": struct.pack("<Q", len(header)) + header})
    assert desk.submit("lab/large").entry.state == "accepted", "1.8 GB of 2"
    (finding,) = desk.submit("lab/large", precision="float32").findings
    assert finding == (
        "too large: in float32 its weights take 3.6 GB, and the cluster's largest tier takes 2 GB."
        " Submit it in a smaller precision, or a smaller model."
    )


def test_the_same_files_with_the_same_settings_are_asked_for_once(desk: Desk) -> None:
    desk.hub.add("lab/good", good_model())
    desk.hub.add("copy/good", good_model())
    first = desk.submit("lab/good", suites=("small",)).entry.request.request_id
    (finding,) = desk.submit("copy/good", suites=("small",)).findings
    assert finding.startswith(f"asked for already (request {first[:8]}) in suite small: the same files in the same")
    (finding,) = desk.submit("copy/good", suites=("small",), precision="bfloat16").findings
    assert finding.startswith("asked for already"), "it is stored in bfloat16"
    assert desk.submit("copy/good", suites=("small",), precision="float32").entry.state == "accepted"
    assert desk.submit("copy/good").entry.state == "accepted", "in another suite it is new"


def test_a_score_that_the_board_does_not_show_yet_is_no_duplicate(desk: Desk) -> None:
    desk.hub.add("lab/good", good_model())
    desk.hub.add("copy/good", good_model())
    form = Form("lab/good", suites=("small",))
    (evaluation,) = _make_evaluations(look_up(form, desk.inputs()), desk.inputs()).values()

    def submit(form: Form) -> Answer:
        history = History(done={ScoreKey.of(evaluation): [Done(evaluation)]})
        given = answer(form, Asker("ada"), replace(desk.inputs(), history=history))
        record(desk.store, [given])
        return given

    copy = submit(replace(form, model_id="copy/good"))
    assert copy.entry.state == "accepted", "another board has the original, and this one shows neither"
    withdraw(desk.store, copy.entry, "ada", desk.now)
    first = submit(form)
    assert first.entry.state == "accepted", "it is another board's, until it is submitted to this one"
    withdraw(desk.store, first.entry, "ada", desk.now)
    again = submit(form)
    assert again.entry.state == "accepted", "it was evaluated, and withdrawn"
    done = again.entry.event.model_copy(update={"state": "done", "changed_at": desk.now})
    add_events(desk.store, [done])
    for name in ("lab/good", "copy/good"):
        (finding,) = submit(replace(form, model_id=name)).findings
        assert finding.startswith("scored already in suite small"), "the board shows it"


def test_what_is_scored_is_known_suite_by_suite_also_where_it_is_accepted(desk: Desk) -> None:
    desk.hub.add("lab/good", good_model())
    found = look_up(Form("lab/good"), desk.inputs())
    evaluations = _make_evaluations(found, desk.inputs())
    history = History(done={ScoreKey.of(evaluations["small"]): [Done(evaluations["small"])]})
    inputs = replace(desk.inputs(), history=history)
    given = answer(Form("lab/good"), Asker("ada"), inputs)
    assert given.entry.state == "accepted" and given.found is not None
    assert find_scored(given.found, inputs) == {"small": evaluations["small"]}
    assert find_scored(found, desk.inputs()) == {}


def test_another_chat_template_is_another_submission(desk: Desk) -> None:
    desk.hub.add("lab/chat", good_model() | TEMPLATE)
    desk.hub.add("copy/chat", good_model() | TEMPLATE)
    assert desk.submit("lab/chat").entry.state == "accepted"
    (finding,) = desk.submit("copy/chat", chat_template="always").findings
    assert finding.startswith("asked for already")
    assert desk.submit("copy/chat", chat_template="never").entry.state == "accepted"


def test_a_license_is_stated(desk: Desk) -> None:
    desk.hub.add("lab/bare", good_model(card="tags: [x]"))
    (finding,) = desk.submit("lab/bare").findings
    assert finding.startswith("no license is stated. Add `license:`")


def test_the_card_says_something(desk: Desk) -> None:
    desk.hub.add("lab/short", good_model(about="Good."))
    (finding,) = desk.submit("lab/short").findings
    assert finding.startswith("the model card has 15 characters without its header, and the board asks for 200.")
    desk.rules["min_card_characters"] = 15
    assert desk.submit("lab/short").entry.state == "accepted"
    files = good_model(2)
    del files["README.md"]
    desk.hub.add("lab/none", files)
    assert [finding[:24] for finding in desk.submit("lab/none").findings] == [
        "no license is stated. Ad",
        "there is no model card (",
    ]


def test_a_template_that_is_asked_for_is_there(desk: Desk) -> None:
    desk.hub.add("lab/plain", good_model())
    (finding,) = desk.submit("lab/plain", chat_template="always").findings
    assert finding.startswith("a chat template is asked for, and the tokenizer has none.")
    desk.hub.add("lab/chat", good_model(2) | TEMPLATE)
    assert desk.submit("lab/chat", chat_template="always").entry.state == "accepted"


def test_adapters_and_deltas_are_refused_and_their_base_is_looked_up(desk: Desk) -> None:
    desk.hub.add("lab/base", good_model())
    adapter = {
        "adapter_config.json": b"{}",
        "adapter_model.safetensors": make_safetensors(),
        "README.md": good_model()["README.md"],
    }
    desk.hub.add("lab/lora", adapter)
    text = (
        "adapters are not evaluated yet. Merge it into its base model, upload that, and submit it as original weights."
    )
    assert desk.submit("lab/lora", weight_type="Adapter", base_model="lab/base").findings == [text]
    assert desk.submit("lab/lora", weight_type="Adapter").findings == [f"{text} (No base model is named.)"]
    (finding,) = desk.submit("lab/lora", weight_type="Adapter", base_model="lab/gone").findings
    assert finding == f"{text} (The base model lab/gone does not exist on the Hub, or is private.)"
    (finding,) = desk.submit("lab/base", weight_type="Delta", base_model="lab/../x").findings
    assert finding.startswith("delta weights are not evaluated yet.")
    (finding,) = desk.submit("lab/lora").findings
    assert "adapters are not evaluated yet" in finding, "also where it is submitted as a model"
    desk.rules["checks"] = []
    (finding,) = desk.submit("lab/base", weight_type="Delta", base_model="lab/base").findings
    assert finding.startswith("delta weights are not evaluated yet."), "whatever a board checks"


def test_an_organization_submits_so_many_models_a_week(desk: Desk) -> None:
    desk.rules["per_organization_and_week"] = 2
    for number in range(4):
        desk.hub.add(f"lab/m{number}", good_model(number))
    desk.hub.add("other/m", good_model(9))
    assert [desk.submit(f"lab/{name}").entry.state for name in ("m0", "nothing", "m1")] == [
        "accepted",
        "rejected",
        "accepted",
    ]
    (finding,) = desk.submit("lab/m2").findings
    assert finding == (
        "lab has submitted 2 models in 7 days, and the board takes 2. Submit it again after 2026-01-08 00:01 UTC."
    )
    assert desk.submit("other/m").entry.state == "accepted"
    desk.now += timedelta(days=7)
    assert desk.submit("lab/m2").entry.state == "accepted"


def test_some_models_are_not_taken(desk: Desk) -> None:
    desk.rules["do_not_submit"] = ["lab/*-secret"]
    desk.hub.add("lab/m-Secret", good_model())
    (finding,) = desk.submit("lab/m-Secret").findings
    assert finding == "lab/m-Secret is not taken by this board (do_not_submit: lab/*-secret). Submit another model."


def test_all_findings_come_at_once_in_order(desk: Desk) -> None:
    desk.rules |= {"do_not_submit": ["lab/*"]}
    desk.hub.add("lab/Bad", good_model(card="tags: [x]", about="", architectures=["BertModel"]))
    findings = desk.submit("lab/bad", suites=("tiny",), weight_type="Delta").findings
    starts = ["the board has no suite", "delta weights", "lab/bad is called lab/Bad", "lab/Bad is not taken",
              "it cannot be loaded", "no license", "the model card has"]  # fmt: skip
    assert [finding[: len(start)] for finding, start in zip(findings, starts, strict=True)] == starts


def test_a_board_chooses_its_checks(desk: Desk) -> None:
    assert tuple(_CHECKS) == CHECKS, "each has its rule, in the declared order"
    desk.hub.add("lab/bare", good_model(card="tags: [x]", about=""))
    desk.rules["checks"] = ["loads", "size", "duplicate"]
    assert desk.submit("lab/BARE").entry.request.model_id == "lab/bare"
    assert desk.submit("lab/nothing").findings, "that it exists is checked in any case"


def test_a_hub_that_is_away_is_no_finding(desk: Desk) -> None:
    desk.hub.add("lab/good", good_model())
    desk.hub.loopback.fail_next(1000, 503)
    with pytest.raises(HubUnavailable):
        desk.submit("lab/good")
    assert not desk.book()
