"""A script: lm-eval alone, all groups in one call, on a copy of the cache.

Prints the documents' hash and the scores of each task as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path


def main(cache: Path, work: Path, groups: list[str]) -> None:
    for revision in (cache / "datasets").glob("*/*"):
        shutil.copytree(revision, work / "datasets", dirs_exist_ok=True)
    os.environ.update(
        HF_HUB_OFFLINE="1", HF_HOME=str(work / "home"), HF_DATASETS_CACHE=str(work / "datasets"),
        NLTK_DATA=str(cache / "nltk_data"),
    )  # fmt: skip
    import lm_eval.tasks
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    folder = Path(lm_eval.tasks.__file__).parent / "leaderboard"
    index = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))
    model = HFLM(pretrained=str(cache / "models" / "tiny"), device="cpu", dtype="float32", batch_size=4)
    results = simple_evaluate(model=model, tasks=groups, task_manager=index, gen_kwargs={"max_gen_toks": 8})
    found = {}
    for task, samples in results["samples"].items():
        documents = "".join(sample["doc_hash"] + sample["target_hash"] for sample in samples)
        scores = {key: value for key, value in results["results"][task].items() if isinstance(value, float)}
        found[task] = [hashlib.sha256(documents.encode()).hexdigest(), scores]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
