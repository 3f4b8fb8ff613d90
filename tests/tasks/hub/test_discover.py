"""What discover finds on a Hub, what it costs, and what it says of models that cannot be evaluated.

Everything here goes over HTTP, with the real client.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from served_hub import Files, ServedHub, make_model, make_safetensors

from nightboard.flows.demo.loopback_hub import payloads as describe
from nightboard.tasks.hub.discover import Discovery, Known
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.inspect_commit import GATED_REASON, read_context_length
from nightboard.tasks.hub.known_architectures import is_native
from nightboard.tasks.store.records import Commit


def _remember(*discoveries: Discovery) -> Known:
    """What the lake knows after these nights."""
    commits = [commit for discovery in discoveries for commit in discovery.commits]
    states = [state for discovery in discoveries for state in discovery.model_states]
    return Known({(c.model_id, c.revision): c for c in commits}, {s.model_id: s.state for s in states})


def _without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def _only_commit(discovery: Discovery) -> Commit:
    (commit,) = discovery.commits
    return commit


# ----------------------------------------------------------------------------------------------------------- cost


def test_an_organization_is_listed_in_pages_without_a_request_per_model(hub: ServedHub) -> None:
    shas = {f"big/m{n:02}": hub.add(f"big/m{n:02}", make_model(n)) for n in range(45)}
    first = hub.discover(organizations=["big"])
    assert {head.model_id: head.revision for head in first.heads} == shas
    assert len(hub.requests("/api/models?")) == 3

    hub.loopback.requests.clear()
    second = hub.discover(_remember(first), organizations=["big"])

    assert second.heads == first.heads
    assert len(hub.loopback.requests) == 3
    assert (second.commits, second.model_states, second.problems) == ((), (), ())


def test_a_tree_is_taken_only_of_new_commits(hub: ServedHub) -> None:
    for name in ("a", "b", "c"):
        hub.add(f"org/{name}", make_model())
    first = hub.discover(organizations=["org"])
    hub.loopback.requests.clear()
    sha = hub.loopback.commit("org/b", {"model.safetensors": make_safetensors(fill=9)}, "new weights")

    second = hub.discover(_remember(first), organizations=["org"])

    assert [(commit.model_id, commit.revision) for commit in second.commits] == [("org/b", sha)]
    assert hub.requests("/tree/") == hub.requests("/org/b/tree/")
    assert len(hub.requests("/tree/")) == 1


def test_past_commits_are_read_once_and_no_more_of_them_than_asked_for(hub: ServedHub) -> None:
    first = hub.add("org/m", make_model())
    shas = [hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=n)}, "step") for n in (3, 5, 7)]
    two, problems = hub.discover_past(["org/m", "org/gone"], newest=2)
    assert [commit.revision for commit in two] == [shas[2], shas[1]]
    assert {commit.ref for commit in two} == {"main"}
    assert [problem.subject for problem in problems] == ["org/gone"]
    known = Known({(commit.model_id, commit.revision): commit for commit in two})
    rest, _ = hub.discover_past(["org/m"], known)
    assert [commit.revision for commit in rest][:2] == [shas[0], first], "those that are not known"


def test_explicit_models_of_one_author_are_found_in_one_listing(hub: ServedHub) -> None:
    for number in range(30):
        hub.add(f"someone/m{number:02}", make_model())
    wanted = ["someone/m07", "someone/m03"]

    found = hub.discover(models=wanted)

    assert [head.model_id for head in found.heads] == wanted
    assert len(hub.requests("/api/models?")) == 1  # the second page is not needed
    assert hub.requests("/api/models/someone/m03?", "expand") == []


def test_heads_come_in_a_stable_order_explicit_models_first(hub: ServedHub) -> None:
    for name in ("z/late", "a/two", "a/one"):
        hub.add(name, make_model())

    found = hub.discover(models=["z/late", "a/two"], organizations=["a"])

    assert [head.model_id for head in found.heads] == ["z/late", "a/two", "a/one"]


def test_include_and_exclude_patterns_choose(hub: ServedHub) -> None:
    for name in ("a/x-Instruct", "a/x", "a/x-Instruct-GGUF", "b/y"):
        hub.add(name, make_model())

    found = hub.discover(organizations=["a"], models=["b/y"], include=["*-Instruct*"], exclude=["*-GGUF", "b/*"])

    assert [head.model_id for head in found.heads] == ["a/x-Instruct"]


# ------------------------------------------------------------------------------------------------ facts of a commit


def test_a_commit_carries_the_facts_of_listing_card_and_files(hub: ServedHub) -> None:
    card = "license: other\nlicense_name: llama3.1\nbase_model: meta/base\ntags: [merge]"
    files = make_model(card=card, max_position_embeddings=2048)
    files |= {"tokenizer_config.json": b'{"chat_template": "{{ messages }}"}', "m.gguf": b"x"}
    sha = hub.add("org/m", files)

    commit = _only_commit(hub.discover(organizations=["org"]))

    assert commit.model_dump(exclude={"fingerprint", "weights_hash", "committed_at"}) == {
        "model_id": "org/m", "organization": "org", "revision": sha, "ref": "main", "discovered_at": hub.now,
        "state": "ok", "reason": None, "params_b": 500 / 1e9, "stored_precision": "bfloat16",
        "size_gb": sum(len(files[name]) for name in commit.files) / 1e9, "architecture": "LlamaForCausalLM",
        "has_chat_template": True, "needs_remote_code": False, "is_gated": False, "license": "llama3.1",
        "context_length": 2048,
        "model_type": "merge", "base_model": "meta/base",
        "files": tuple(sorted(_without(files, "README.md", "m.gguf"))),
    }  # fmt: skip
    assert commit.committed_at == hub.loopback.repo("org/m").head.at


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"n_ctx": 512}, 512),
        ({"max_position_embeddings": 4096, "text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"max_position_embeddings": 1200, "text_config": {"hidden_size": 8}}, None),  # its class knows
        ({"max_position_embeddings": 1200, "text_config": {}}, 1200),
        ({"max_seq_len": 2048}, None),  # lm-eval does not look there
        ({"n_positions": True}, None),
        ({"n_positions": "1024"}, None),
        ({"n_positions": -1}, None),
        ({"n_positions": 10**400}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_context_length_is_what_lm_eval_reads_from_the_configuration(
    config: dict[str, object], tokens: int | None
) -> None:
    assert read_context_length(config) == tokens


@pytest.mark.parametrize(
    ("card", "extra", "model_type"),
    [
        ("license: mit", {}, "pretrained"),
        ("base_model: a/b", {}, "fine-tuned"),
        ("base_model: [a/b, c/d]", {"chat_template.jinja": b"{{ messages }}"}, "chat"),
        ("base_model_relation: merge", {}, "merge"),
    ],
)
def test_model_type_follows_from_card_and_template(hub: ServedHub, card: str, extra: Files, model_type: str) -> None:
    hub.add("org/m", make_model(card=card) | extra)

    assert _only_commit(hub.discover(organizations=["org"])).model_type == model_type


@pytest.mark.parametrize(
    ("files", "has_template"),
    [
        ({"chat_template.jinja": b"{{ messages }}"}, True),
        # Every prompt would come out empty; transformers takes a blank file all the same, and not the text beside it.
        ({"chat_template.jinja": b""}, False),
        ({"chat_template.jinja": b" \n\t"}, False),
        ({"chat_template.jinja": b"\n", "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}, False),
        ({"tokenizer_config.json": b'{"chat_template": " "}'}, False),
        ({"tokenizer_config.json": b'{"chat_template": [{"name": "default", "template": ""}]}'}, False),
        ({"tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}, True),
        ({"tokenizer_config.json": b'{"chat_template": [{"name": "default", "template": "x"}]}'}, True),
        # Transformers applies none of these unless it is asked for by name.
        ({"tokenizer_config.json": b'{"chat_template": [{"name": "rag", "template": "x"}]}'}, False),
        ({"additional_chat_templates/rag.jinja": b"x"}, False),
        ({"chat_template.json": b'{"chat_template": "x"}'}, False),
    ],
)
def test_only_a_template_that_is_applied_without_a_name_counts(
    hub: ServedHub, files: Files, has_template: bool
) -> None:
    hub.add("org/m", make_model() | files)

    assert _only_commit(hub.discover(organizations=["org"])).has_chat_template is has_template


@pytest.mark.parametrize(("architecture", "needs_code"), [("Phi3ForCausalLM", False), ("OwnPhi3ForCausalLM", True)])
def test_code_that_transformers_has_itself_is_not_remote(hub: ServedHub, architecture: str, needs_code: bool) -> None:
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}, "model_type": "phi3"}
    hub.add("org/m", make_model(architectures=[architecture], **code))

    assert _only_commit(hub.discover(organizations=["org"])).needs_remote_code is needs_code


@pytest.mark.real
def test_the_native_models_are_those_of_the_installed_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    for model_type, classes in NAMES.items():
        first = classes if isinstance(classes, str) else classes[0]
        assert is_native({"model_type": model_type, "architectures": [first]}), model_type
    assert not is_native({"model_type": "llama", "architectures": ["OwnForCausalLM"]})


def test_one_repository_that_answers_with_errors_for_ever_is_its_own_problem(hub: ServedHub) -> None:
    hub.add("org/a", make_model())
    hub.add("org/b", make_model(fill=2))
    hub.loopback.fail_next(1000, 500, path_contains="org/b/tree")

    night = hub.discover(organizations=["org"])

    assert [commit.model_id for commit in night.commits] == ["org/a"]
    assert "org/b" in str(night.problems[0])


def test_a_readme_edit_keeps_the_fingerprint_and_new_weights_change_it(hub: ServedHub) -> None:
    hub.add("org/m", make_model())
    first = hub.discover(organizations=["org"])
    hub.loopback.commit("org/m", {"README.md": b"---\nlicense: mit\n---\nBetter words."}, "edit the card")
    second = hub.discover(_remember(first), organizations=["org"])
    hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=7)}, "new weights")
    third = hub.discover(_remember(first, second), organizations=["org"])

    fingerprints = [_only_commit(night).fingerprint for night in (first, second, third)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert _only_commit(second).license == "mit"


def test_a_copy_under_another_name_has_the_same_fingerprint(hub: ServedHub) -> None:
    hub.add("org/m", make_model())
    hub.add("copycat/better", make_model(card="license: mit"))

    first, second = hub.discover(organizations=["org", "copycat"]).commits

    assert (first.fingerprint, first.weights_hash) == (second.fingerprint, second.weights_hash)


def test_sharded_weights_are_read_through_their_index(hub: ServedHub) -> None:
    shards = {f"model-0000{n}-of-00002.safetensors": make_safetensors(300, n) for n in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    files = _without(make_model(), "model.safetensors") | shards | {"model.safetensors.index.json": index}
    hub.add("org/m", files | {"spare.safetensors": make_safetensors()})

    commit = _only_commit(hub.discover(organizations=["org"]))

    assert commit.state == "ok"
    assert set(commit.files) == {*files} - {"README.md"}


@pytest.mark.parametrize("listed", [None, {"parameters": "odd"}, {"total": 5}])
def test_parameters_come_from_the_weights_where_the_listing_does_not_tell(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch, listed: object
) -> None:
    monkeypatch.setattr(describe, "count_parameters", lambda commit: listed)
    hub.add("org/m", make_model())

    commit = _only_commit(hub.discover(organizations=["org"]))

    assert (commit.params_b, commit.stored_precision) == (500 / 1e9, "bfloat16")


def test_parameters_are_estimated_from_size_where_no_header_can_be_read(hub: ServedHub) -> None:
    hub.add("org/m", make_model(torch_dtype="float32") | {"model.safetensors": b"\xff" * 4000})

    commit = _only_commit(hub.discover(organizations=["org"]))

    assert (commit.state, commit.params_b, commit.stored_precision) == ("ok", 1000 / 1e9, "float32")


def test_code_is_part_of_a_commit_once_the_watch_list_allows_it(hub: ServedHub) -> None:
    code = {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}, "architectures": ["Own"]}
    hub.add("org/m", make_model(**code) | {"modeling.py": b"class Own: ..."})
    refused = hub.discover(models=["org/m"])
    allowed = hub.discover(_remember(refused), models=[{"id": "org/m", "trust_remote_code": True}])

    assert _only_commit(refused).needs_remote_code
    assert "modeling.py" not in _only_commit(refused).files
    assert "modeling.py" in _only_commit(allowed).files
    assert _only_commit(allowed).fingerprint != _only_commit(refused).fingerprint
    again = hub.discover(_remember(refused, allowed), models=[{"id": "org/m", "trust_remote_code": True}])
    assert again.commits == ()


# --------------------------------------------------------------------------------------------------------- refused

GOOD = make_model()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"README.md": b"soon"}, "closed: no weights at all"),
        (_without(GOOD, "model.safetensors") | {"pytorch_model.bin": b"x"}, "the repository has only PyTorch .bin"),
        ({"README.md": b"", "model-q4.gguf": b"x"}, "the repository has only GGUF (model-q4.gguf)"),
        (
            _without(GOOD, "model.safetensors", "config.json")
            | {"adapter_config.json": b"{}", "adapter_model.safetensors": make_safetensors()},
            "adapter: there are no merged weights",
        ),
        (GOOD | {"adapter_config.json": b"{}"}, "adapter: the repository has adapter_config.json"),
        (_without(GOOD, "config.json"), "no config.json"),
        (GOOD | {"config.json": b"{not json"}, "config.json is not valid JSON"),
        (GOOD | {"config.json": b"[]"}, "config.json is not a JSON object"),
        (GOOD | {"config.json": b""}, "config.json is not valid JSON"),
        (GOOD | {"tokenizer_config.json": b"\xff\xfe"}, "tokenizer_config.json is not valid JSON"),
        (make_model(num_hidden_layers=10**9), "num_hidden_layers is 1000000000, but the weights have only 500"),
        (make_model(attribute_map={"note": "transformers_weights"}), "config.json: attribute_map refers to something"),
        (
            GOOD | {"tokenizer_config.json": b'{"vocab_file": "../x/tokenizer.model"}'},
            "tokenizer_config.json: vocab_file refers to something outside the model ('../x/tokenizer.model')",
        ),
        (make_model(architectures=["BertForMaskedLM"]), "not a causal language model (architecture: BertForMaskedLM"),
        (make_model(architectures=["T5ForConditionalGeneration"]), "not a causal language model"),
        (make_model(architectures={"odd": 1}), "not a causal language model (architecture: none named"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_recorded_with_its_reason(hub: ServedHub, files: Files, reason: str) -> None:
    hub.add("org/m", files)
    hub.add("org/well", GOOD)

    refused, well = hub.discover(organizations=["org"]).commits

    assert (refused.state, refused.fingerprint, refused.files) == ("rejected", None, ())
    assert reason in (refused.reason or "")
    assert well.state == "ok"


@pytest.mark.parametrize(
    ("config", "pipeline"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "other"),
        ({"architectures": "LlamaForCausalLM"}, "other"),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "text-generation"),
        ({"architectures": None}, "text-generation"),
        ({"architectures": ["Own"], "auto_map": {"AutoModelForCausalLM": "m.Own"}}, "other"),
    ],
)
def test_causal_models_of_all_kinds_are_taken(hub: ServedHub, config: dict[str, object], pipeline: str) -> None:
    hub.add("org/m", make_model(card=f"pipeline_tag: {pipeline}", **config))

    assert _only_commit(hub.discover(organizations=["org"])).reason is None


@pytest.mark.parametrize(
    "odd",
    [
        {"cardData": "just text", "tags": "merge", "config": [], "safetensors": [1], "lastModified": "yesterday"},
        {"cardData": {"license": 7, "base_model": {"a": 1}}, "tags": [None, 3], "lastModified": 12},
        {"safetensors": {"parameters": {"BF16": "many"}}, "gated": "auto", "pipeline_tag": ["x"]},
    ],
)
def test_odd_metadata_in_a_listing_stops_no_model(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch, odd: dict[str, object]
) -> None:
    real = describe.describe_repo
    monkeypatch.setattr(
        describe,
        "describe_repo",
        lambda repo, *args, **kwargs: real(repo, *args, **kwargs) | (odd if repo.repo_id == "org/a" else {}),
    )
    hub.add("org/a", GOOD)
    hub.add("org/b", GOOD)

    assert [commit.state for commit in hub.discover(organizations=["org"]).commits] == ["ok", "ok"]


@pytest.mark.parametrize("odd", [{"id": "../../etc"}, {"sha": "main"}, {"sha": None}])
def test_a_listed_model_without_a_usable_name_or_commit_is_a_problem(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch, odd: dict[str, object]
) -> None:
    real = describe.describe_repo
    monkeypatch.setattr(describe, "describe_repo", lambda *args, **kwargs: real(*args, **kwargs) | odd)
    hub.add("org/a", GOOD)

    found = hub.discover(organizations=["org"])

    assert found.heads == ()
    assert "without a usable name and commit" in str(found.problems[0])


# ---------------------------------------------------------------------------------------------------------- access


def test_a_gated_model_is_asked_every_night_until_access_is_granted(hub: ServedHub) -> None:
    hub.add("org/m", GOOD, gated=True)
    first = hub.discover(organizations=["org"])
    second = hub.discover(_remember(first), organizations=["org"])
    third = hub.discover(_remember(first), token="good", organizations=["org"])

    assert (_only_commit(first).state, _only_commit(first).reason) == ("rejected", GATED_REASON)
    assert [state.state for state in first.model_states] == ["gated"]
    assert (second.commits, second.model_states) == ((), ())
    assert (_only_commit(third).state, _only_commit(third).is_gated) == ("ok", True)


def test_a_disabled_model_is_refused_until_it_is_enabled(hub: ServedHub) -> None:
    hub.add("org/m", GOOD, disabled=True)
    first = hub.discover(organizations=["org"])
    assert _only_commit(first).reason == "disabled on the Hub"
    assert [state.state for state in first.model_states] == ["disabled"]
    assert hub.discover(_remember(first), organizations=["org"]).commits == ()

    hub.loopback.set_access("org/m", disabled=False)
    second = hub.discover(_remember(first), organizations=["org"])

    assert _only_commit(second).state == "ok"
    assert [state.state for state in second.model_states] == ["available"]


def test_a_private_model_is_found_with_a_token_that_opens_it(hub: ServedHub) -> None:
    hub.add("org/m", GOOD, private=True)

    shut, opened = hub.discover(models=["org/m"]), hub.discover(models=["org/m"], token="good")

    assert [str(problem) for problem in shut.problems] == ["org/m: it does not exist on the Hub, or is private"]
    assert (shut.heads, shut.model_states) == ((), ())
    assert [state.state for state in opened.model_states] == ["private"]
    assert _only_commit(opened).state == "ok"


@pytest.mark.parametrize("watch", [{"models": ["org/m"]}, {"organizations": ["org"]}])
def test_a_deleted_model_changes_its_state_once(hub: ServedHub, watch: dict[str, object]) -> None:
    hub.add("org/m", GOOD)
    hub.add("org/other", GOOD)
    first = hub.discover(**watch)
    hub.loopback.delete_repo("org/m")
    second = hub.discover(_remember(first), **watch)
    third = hub.discover(_remember(first, second), **watch)

    assert [(state.model_id, state.state) for state in second.model_states] == [("org/m", "deleted")]
    assert "org/m" not in {head.model_id for head in second.heads}
    assert third.model_states == ()


def test_a_model_that_goes_away_between_listing_and_tree_stops_no_other(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/gone", GOOD)
    hub.add("org/stays", GOOD)
    from nightboard.tasks.hub import discover as module

    follow = module._follow

    def delete_and_follow(*args: object) -> object:
        if "org/gone" in {repo.repo_id for repo in hub.loopback.repos("model")}:
            hub.loopback.delete_repo("org/gone")
        return follow(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_follow", delete_and_follow)
    found = hub.discover(organizations=["org"])

    assert [head.model_id for head in found.heads] == ["org/stays"]
    assert [commit.model_id for commit in found.commits] == ["org/stays"]
    assert [problem.subject for problem in found.problems] == ["org/gone@main"]


def test_an_organization_without_models_is_a_problem(hub: ServedHub) -> None:
    found = hub.discover(organizations=["nobody"])

    assert "lists no models" in str(found.problems[0])


# ------------------------------------------------------------------------------------------------------- revisions


def test_a_tag_a_branch_and_a_commit_are_followed_by_name(hub: ServedHub) -> None:
    old = hub.add("org/m", make_model(1))
    hub.loopback.tag("org/m", "v1", old)
    hub.loopback.create_branch("org/m", "dev", old)
    dev = hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=2)}, "dev", branch="dev")
    hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=3)}, "main")

    found = hub.discover(models=[{"id": "org/m", "revisions": ["v1", "dev", old]}])

    assert [(head.ref, head.revision) for head in found.heads] == [("v1", old), ("dev", dev)]
    assert [commit.revision for commit in found.commits] == [old, dev]
    history = hub.loopback.repo("org/m").commits
    assert [commit.committed_at for commit in found.commits] == [history[old].at, history[dev].at]
    assert len(hub.requests("/refs")) == 1


def test_branch_patterns_cost_one_call_a_model_and_follow_new_branches(hub: ServedHub) -> None:
    hub.add("org/m", make_model())
    for step in (10, 20):
        hub.loopback.create_branch("org/m", f"step-{step}")
        weights = {"model.safetensors": make_safetensors(fill=step)}
        hub.loopback.commit("org/m", weights, "step", branch=f"step-{step}")
    watch = {"models": [{"id": "org/m", "branches": ["step-*"]}]}
    first = hub.discover(**watch)
    hub.loopback.requests.clear()
    hub.loopback.create_branch("org/m", "step-30", "step-20")
    hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=30)}, "step", branch="step-30")
    second = hub.discover(_remember(first), **watch)

    assert [head.ref for head in first.heads] == ["step-10", "step-20"]
    assert [commit.ref for commit in second.commits] == ["step-30"]
    assert len(hub.requests("/refs")) == 1


def test_a_revision_that_does_not_exist_is_a_problem_and_as_a_commit_a_rejected_row(hub: ServedHub) -> None:
    hub.add("org/m", GOOD)
    nowhere = "0" * 40

    watch = {"models": [{"id": "org/m", "revisions": ["v9", nowhere], "branches": ["x-*"]}]}
    found = hub.discover(**watch)

    assert [str(p) for p in found.problems] == ["org/m@v9: no such revision", "org/m: no branch matches x-*"]
    assert (_only_commit(found).revision, _only_commit(found).reason) == (nowhere, "no such revision")
    assert hub.discover(_remember(found), **watch).commits == ()


# --------------------------------------------------------------------------------------------------------- trouble


def test_a_hub_that_is_down_ends_discovery_with_one_message(hub: ServedHub) -> None:
    hub.add("org/m", GOOD)
    hub.loopback.fail_next(10_000, 503)

    with pytest.raises(HubUnavailable, match="is not available"):
        hub.discover(organizations=["org"])


def test_a_hub_that_stumbles_is_asked_again(hub: ServedHub) -> None:
    hub.add("org/m", GOOD)
    hub.loopback.fail_next(2, 503)
    hub.loopback.fail_next(1, 429, retry_after=3, path_contains="/tree/")

    assert _only_commit(hub.discover(organizations=["org"])).state == "ok"
    assert 3 in hub.waits


def test_the_token_appears_in_no_message(hub: ServedHub) -> None:
    hub.add("org/m", GOOD, private=True)
    client = hub.client(token="hf_verysecret")

    assert "verysecret" not in repr(client) + str(vars(hub.discover(models=["org/m"], token="hf_verysecret")))
    with pytest.raises(TypeError, match="must not be pickled"):
        __import__("pickle").dumps(client)


def test_a_second_look_later_changes_nothing_but_the_time(hub: ServedHub) -> None:
    hub.add("org/m", GOOD, gated=True)
    first = hub.discover(organizations=["org"])
    hub.now += timedelta(days=1)

    assert hub.discover(_remember(first), organizations=["org"]).commits == ()


def test_weights_of_another_model_in_the_cache_cannot_be_named(hub: ServedHub) -> None:
    hub.add("org/victim", make_model(fill=7))
    victim = _only_commit(hub.discover(models=["org/victim"]))
    names = {
        "above": f"../{victim.fingerprint}/model.safetensors",
        "absolute": f"/store/cache/models/{victim.fingerprint}/model.safetensors",
    }
    for name, target in names.items():
        index = json.dumps({"metadata": {}, "weight_map": {"w": target}}).encode()
        redirected = make_model(transformers_weights="tokenizer.safetensors.index.json")
        hub.add(f"attack/{name}-redirected", redirected | {"tokenizer.safetensors.index.json": index})
        hub.add(f"attack/{name}", _without(GOOD, "model.safetensors") | {"model.safetensors.index.json": index})

    commits = hub.discover(organizations=["attack"]).commits

    assert {commit.state for commit in commits} == {"rejected"}
    reasons = {commit.model_id.removeprefix("attack/"): str(commit.reason) for commit in commits}
    assert len(reasons) == 4
    for name, target in names.items():
        assert reasons[f"{name}-redirected"].startswith("config.json: transformers_weights refers to something outside")
        assert reasons[name].endswith(f"lists {target}, which is not in the repository")
