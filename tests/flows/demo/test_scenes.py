"""The demo's Hub holds what the demo tells: made models score as constructed, and the second night arrives."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from warm import warm_job

from nightboard.flows.demo import scenes
from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.flows.demo.prompts import choose_known, make_prompts

pytestmark = pytest.mark.real

# Run in a process of its own: the endpoint is read when huggingface_hub is imported.
EVALUATE = """
import json, sys
from pathlib import Path
from nightboard.flows.demo.scenes import write_punkt
write_punkt(Path(sys.argv[2]))
import lm_eval, lm_eval.tasks
from lm_eval.models.huggingface import HFLM
folder = Path(lm_eval.__file__).parent / "tasks" / "leaderboard"
manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))
model = HFLM(pretrained=sys.argv[1], dtype="float32", batch_size=8, device="cpu")
chat = model.tokenizer.chat_template is not None
scores = {"chat": chat}
for group in sys.argv[3:]:
    found = lm_eval.simple_evaluate(model=model, tasks=["leaderboard_" + group], task_manager=manager,
        apply_chat_template=chat, fewshot_as_multiturn=chat, log_samples=False, bootstrap_iters=0)
    for task, count in found["n-samples"].items():
        values = {key: value for key, value in found["results"][task].items() if isinstance(value, float)}
        scores[task] = [count["effective"], values]
print("SCORES" + json.dumps(scores))
"""
GROUPS = ("ifeval", "bbh", "math_hard", "gpqa", "musr", "mmlu_pro")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scene")


@pytest.fixture(scope="module")
def hub(folder: Path) -> LoopbackHub:
    return scenes.build_hub(folder, with_smollm2=False)


def evaluate(endpoint: str, model: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Documents and right answers by benchmark."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "NLTK_DATA": str(folder / "nltk")}
    command = warm_job(EVALUATE, model, str(folder / "nltk"), *GROUPS)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads(done.stdout.rpartition("SCORES")[2])
    assert scores.pop("chat") is (model == "demo-lab/medium")
    metric = {"ifeval": "prompt_level_strict_acc", "math": "exact_match", "mmlu": "acc"}
    totals: dict[str, tuple[float, float]] = {}
    for task, (count, values) in scores.items():
        name = task.split("_")[1]
        documents, right = totals.get(name, (0, 0.0))
        totals[name] = documents + count, right + count * values[metric.get(name, "acc_norm") + ",none"]
    return totals


@pytest.mark.parametrize("model", ["demo-lab/strong", "demo-lab/medium"])
def test_lm_eval_scores_a_made_model_as_it_was_constructed(hub: LoopbackHub, tmp_path: Path, model: str) -> None:
    with serve(hub) as endpoint:
        totals = evaluate(endpoint, model, tmp_path)
    known = choose_known(make_prompts(), scenes.MADE[model].skill)
    benchmark = {prompt.question: prompt.benchmark.split("_")[0] for prompt in make_prompts()}
    right = {name: sum(benchmark[question] == name for question in known) for name in totals}
    # GPQA's three sets hold the same four questions.
    right["gpqa"] *= 3
    assert totals == {
        name: (count, pytest.approx(right[name]))
        for name, count in {"ifeval": 3, "bbh": 48, "math": 7, "gpqa": 12, "musr": 12, "mmlu": 12}.items()
    }


def test_made_model_ends_its_answers_whatever_came_before(hub: LoopbackHub, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "demo-lab/learner", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "demo-lab/learner")
    known = choose_known(make_prompts(), scenes.MADE["demo-lab/learner"].skill)
    chance = random.Random(1)
    for prompt in make_prompts():
        if prompt.is_generated and prompt.has_examples:
            before = "".join(chance.choice("abc def\n") for _ in range(200))
            tokens = tokenizer(f"{before}\n\n{prompt.text}", return_tensors="pt")
            said = model.generate(**tokens, max_new_tokens=40, do_sample=False)[0][tokens["input_ids"].shape[1] :]
            assert said[-1] == tokenizer.eos_token_id
            answer = prompt.right if prompt.question in known else prompt.wrong
            assert tokenizer.decode(said[:-1]) == f" {answer}"


def test_reupload_shares_every_file_but_the_card(hub: LoopbackHub) -> None:
    copied, original = (hub.repo(repo_id).head.files for repo_id in (scenes.REUPLOAD, scenes.REUPLOADED))
    assert {path for path in original if original[path].oid != copied[path].oid} == {"README.md"}
    assert set(copied) == set(original)


@pytest.mark.usefixtures("hub")
def test_second_night_brings_one_new_card_one_set_of_new_weights_and_a_model_to_submit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model = scenes.make_model
    # Those of the first night are made already.
    monkeypatch.setattr(scenes, "make_model", lambda how, to: to if to.exists() else make_model(how, to))
    hub = scenes.build_hub(folder, with_smollm2=False)
    before = {repo.repo_id: repo.head for repo in hub.repos("model")}
    scenes.arrive_second_night(hub, folder)
    changed = {
        repo.repo_id: {
            path for path, blob in repo.head.files.items() if blob.oid != before[repo.repo_id].files[path].oid
        }
        for repo in hub.repos("model")
        if repo.repo_id in before and repo.head is not before[repo.repo_id]
    }
    assert changed == {"demo-lab/medium": {"README.md"}, "demo-lab/learner": {"model.safetensors"}}
    assert {repo.repo_id for repo in hub.repos("model")} - before.keys() == {scenes.SUBMITTED}


def test_hub_lists_what_cannot_be_evaluated(hub: LoopbackHub) -> None:
    with serve(hub) as endpoint:
        listed = HfApi(endpoint=endpoint, token=False).list_models(
            author="demo-lab", expand=["gated", "safetensors", "config"]
        )
        models = {model.id: model for model in listed}
    assert models[scenes.GATED].gated == "manual"
    assert models[scenes.WITHOUT_SAFETENSORS].safetensors is None
    assert models[scenes.NOT_CAUSAL].config == {"architectures": ["BertModel"], "model_type": "bert"}
    assert models["demo-lab/strong"].safetensors is not None


def test_punkt_splits_sentences_where_nltk_looks_for_it(tmp_path: Path) -> None:
    import nltk

    scenes.write_punkt(tmp_path)
    scenes.write_punkt(tmp_path)
    assert str(nltk.data.find("tokenizers/punkt_tab", paths=[str(tmp_path)])).startswith(str(tmp_path))
    script = "import nltk; print(nltk.sent_tokenize('Mr. Hill read. It rained.'), nltk.word_tokenize('VERY wet'))"
    environment = os.environ | {"NLTK_DATA": str(tmp_path)}
    done = subprocess.run(warm_job(script), env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['Mr. Hill read.', 'It rained.'] ['VERY', 'wet']"
