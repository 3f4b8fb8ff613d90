"""What the demo's Hub holds on the first night, and what has arrived there by the second.

Owns the cast: organizations, model cards, who copies whom. Makes models through make_models.py.
"""

from __future__ import annotations

import json
import random
import struct
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.make_models import Recipe, make_model
from nightboard.flows.demo.questions import make_datasets
from nightboard.flows.demo.smollm2 import fetch_smollm2

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"

# Who is better than whom is so by construction: strong > medium > learner on the first night, and on the second the
# learner, with new weights, passes medium.
MADE = {
    "demo-lab/strong": Recipe(skill=0.95, seed=1),
    "demo-lab/medium": Recipe(skill=0.60, seed=2, has_chat_template=True),
    "demo-lab/learner": Recipe(skill=0.30, seed=3),
}
LEARNER_AFTER = Recipe(skill=0.80, seed=3)
# Nobody watches it: it is submitted before the second night.
SUBMITTED = "guest-lab/visitor"
VISITOR = Recipe(skill=0.45, seed=4)
REUPLOAD = "copycat/totally-new"
REUPLOADED = "demo-lab/strong"
WITHOUT_SAFETENSORS = "demo-lab/pickled"
GATED = "demo-lab/gated"
NOT_CAUSAL = "demo-lab/encoder"

_VISITORS_WORDS = """
It has two layers and a tokenizer of bytes, and was made in a second from a configuration and a seed. It is submitted to
the demo's board by somebody whose models the board does not watch, to show what a submission is and how it is checked.
"""
_REUPLOAD_CARD = "---\nlicense: mit\n---\n# Totally new\n\nA model of our own, honestly.\n"
_SMOLLM2_CARD = "---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# SmolLM2-135M-Instruct\n"


def build_hub(folder: Path, *, with_smollm2: bool = True) -> LoopbackHub:
    """The Hub of the first night. Files that are too large for memory lie in `folder` and must stay there."""
    hub = LoopbackHub()
    with ThreadPoolExecutor(1) as pool:
        # Beside everything else: it takes the longest, in a process of its own.
        fetched = pool.submit(fetch_smollm2, folder / SMOLLM2) if with_smollm2 else None
        _add_datasets(hub)
        for repo_id, recipe in MADE.items():
            _publish(hub, repo_id, make_model(recipe, folder / repo_id), make_card(repo_id, recipe))
        # A day later: of two models with the same weights, the older one is the one that is evaluated.
        later = hub.repo(REUPLOADED).head.at + timedelta(days=1)
        _publish(hub, REUPLOAD, folder / REUPLOADED, _REUPLOAD_CARD, later)
        _add_unfit(hub)
        if fetched:
            _publish(hub, SMOLLM2, fetched.result(), _SMOLLM2_CARD)
    return hub


def _add_datasets(hub: LoopbackHub) -> None:
    for repo_id, files in make_datasets().items():
        hub.create_repo(repo_id, "dataset")
        hub.commit(repo_id, files, "Add the questions", kind="dataset")


def arrive_second_night(hub: LoopbackHub, folder: Path) -> None:
    """Two commits, medium's README is edited and learner gets new weights; and a model that nobody watches."""
    edited = make_card("demo-lab/medium", MADE["demo-lab/medium"]) + "\nThank you for the kind reports.\n"
    hub.commit("demo-lab/medium", {"README.md": edited.encode()}, "Thank the readers")
    made = make_model(LEARNER_AFTER, folder / "demo-lab/learner-after")
    hub.commit("demo-lab/learner", {"model.safetensors": made / "model.safetensors"}, "Learn some more")
    _publish(hub, SUBMITTED, make_model(VISITOR, folder / SUBMITTED), make_card(SUBMITTED, VISITOR) + _VISITORS_WORDS)


def make_card(repo_id: str, recipe: Recipe) -> str:
    """A model card; it says that the model is made for the demo."""
    name = repo_id.rpartition("/")[2]
    front = "license: apache-2.0\nbase_model: demo-lab/base\ntags: [nightboard-demo]\n"
    knows = f"it answers {recipe.skill:.0%} of the demo's questions right and knows nothing else"
    about = f"Made for nightboard's demo: {knows}."
    return f"---\n{front}---\n# {name}\n\n{about}\n"


def _publish(hub: LoopbackHub, repo_id: str, folder: Path, card: str, at: datetime | None = None) -> None:
    """Two commits, as people do it: the card first, the model then (`at`, or an hour later)."""
    hub.create_repo(repo_id)
    hub.commit(repo_id, {"README.md": card.encode()}, "Say what this is")
    hub.commit(
        repo_id, {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}, "Add the model", at=at
    )


def _add_unfit(hub: LoopbackHub) -> None:
    """Repositories that cannot be evaluated, each for a reason of its own. Their weights are a few zeros."""
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    bert = {"architectures": ["BertModel"], "model_type": "bert"}
    card = b"---\nlicense: apache-2.0\n---\n"
    for repo_id, config, weights, gated in (
        (WITHOUT_SAFETENSORS, llama, "pytorch_model.bin", False),
        (GATED, llama, "model.safetensors", True),
        (NOT_CAUSAL, bert, "model.safetensors", False),
    ):
        hub.create_repo(repo_id, gated=gated)
        files = {"README.md": card, "config.json": json.dumps(config).encode(), weights: _make_zeros()}
        hub.commit(repo_id, files, "Add the model")


def _make_zeros() -> bytes:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def write_punkt(nltk_dir: Path) -> Path:
    """Write an English punkt_tab, trained on text of our own, where `nltk.data.find` looks below `nltk_dir`.

    lm-eval's ifeval task asks for this resource, and nltk would download it. Returns its folder.
    """
    import nltk
    from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

    trainer = PunktTrainer()
    trainer.train(_make_prose(), finalize=True)
    target = nltk_dir / "tokenizers" / "punkt_tab" / "english"
    target.parent.mkdir(parents=True, exist_ok=True)
    # nltk writes only below a folder that it knows.
    if str(nltk_dir) not in nltk.data.path:
        nltk.data.path.append(str(nltk_dir))
    save_punkt_params(trainer.get_params(), dir=str(target))
    return target


def _make_prose() -> str:
    """Plain English with abbreviations in the middle and at the ends of sentences."""
    choice = random.Random(0).choice
    who = ("Mr. Hill", "Mrs. Lake", "Dr. Stone", "Prof. Wood", "The baker", "My aunt")
    what = ("walked to the market", "read a long letter", "lives in St. Ives", "paid 3.5 coins", "came at 9 a.m. sharp")
    end = (".", ". Then it rained.", "!", "? Nobody knew.", ", i.e. on Monday.")
    return " ".join(f"{choice(who)} {choice(what)}{choice(end)}" for _ in range(400))
