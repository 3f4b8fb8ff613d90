"""The program that downloads one dataset or one NLTK resource into a folder; runs as a separate process.

`datasets` and `nltk` read their settings once, when imported, and leave caches behind; a separate process keeps both
away from the flow. What is downloaded is decided in datasets.py.

Usage: python -m nightboard.tasks.fetch.download_process dataset ID SHA FOLDER CONFIGS-AS-JSON
       python -m nightboard.tasks.fetch.download_process nltk RESOURCE FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

from nightboard.tasks.hub.client import install_retrying_client
from nightboard.tasks.hub.http_retry import Announcer, retry_everywhere

REASON_MARK = "REASON: "
WAIT_MARK = "WAIT: "


def download_dataset(dataset_id: str, sha: str, folder: str, configs: Sequence[str | None]) -> None:
    """Let `datasets` build the cache of each configuration in `folder`, as a later offline load expects it."""
    import datasets

    for config in configs:
        datasets.load_dataset(dataset_id, config, revision=sha, cache_dir=folder, token=os.environ.get("HF_TOKEN"))


def download_nltk(resource: str, folder: str) -> None:
    """Download an NLTK resource such as punkt_tab."""
    import nltk

    nltk.download(resource, download_dir=folder, quiet=True, raise_on_error=True)


def tell_wait(text: str) -> None:
    """Announce a wait to the parent process."""
    print(WAIT_MARK + text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Do one download. On failure, the last line of the output is REASON_MARK and the reason.

    A long wait for the Hub is announced when it starts, in a line with WAIT_MARK.
    """
    kind, *rest = arguments
    try:
        if kind == "dataset":
            install_retrying_client()
            # The token is sent only to the Hub of this environment, whatever addresses the dataset names.
            retry_everywhere(os.environ.get("HF_ENDPOINT"), Announcer(tell_wait))
            dataset_id, sha, folder, configs = rest
            download_dataset(dataset_id, sha, folder, json.loads(configs))
        else:
            download_nltk(*rest)
    except Exception as error:
        traceback.print_exc()
        print(REASON_MARK + _explain(error), flush=True)
        return 1
    return 0


def _explain(error: BaseException) -> str:
    """The first line of an error, or of its cause if `datasets` says only that an error occurred."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__:
        return _explain(error.__cause__)
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
