"""By which rule a watch list leaves a model out, and which line of the file changes it."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from nightboard.profiles.errors import KeyPath, nearest
from nightboard.profiles.loading.load import BoardBundle, find_line
from nightboard.profiles.model_settings import find_explicit, is_watched
from nightboard.tasks.store.records import Commit

# What a plan says of a model that a key of the watch list leaves out, by a part of its words.
_KEYS = {
    "the watch list takes up to": ("max_params_b", "Raise max_params_b"),
    "trust_remote_code is off": (
        "trust_remote_code",
        "If you trust its code, set trust_remote_code: true",
    ),
    "the watch list asks for one": ("chat_template", "Set chat_template: auto for it"),
}


def explain_unwatched(bundle: BoardBundle, model_id: str, known: Collection[str]) -> tuple[str, str] | None:
    """Why the watch list does not follow a model, and what to edit; None if it does. `known`: names to suggest."""
    watch = bundle.watch
    if is_watched(watch, model_id):
        return None
    organization = model_id.partition("/")[0]
    for index, pattern in enumerate(watch.exclude):
        if fnmatchcase(model_id, pattern):
            line = place(bundle, ("exclude", index))
            return f"the watch list excludes it by the pattern {pattern}", f"Change the pattern in {line}."
    if organization in watch.organizations:
        patterns = ", ".join(watch.include)
        return (
            f"no pattern of the watch list's include matches it ({patterns})",
            f"Add a pattern in {place(bundle, ('include',))}.",
        )
    near = nearest(model_id, [name for name in known if is_watched(watch, name)])
    similar = f"; similar names that it follows: {', '.join(near)}" if near else ""
    return (
        f"the watch list {watch.watchlist} does not follow it{similar}",
        f"Add `- {model_id}` below models: in {place(bundle, ('models',))}.",
    )


def explain_suites(bundle: BoardBundle, model_id: str, suite: str) -> tuple[str, str] | None:
    """Why a suite is not for a watched model, and what to edit; None if it is."""
    watch = bundle.watch
    setters: list[tuple[KeyPath, Collection[str]]] = []
    for index, rule in enumerate(watch.rules):
        if rule.suites is not None and fnmatchcase(model_id, rule.match):
            setters.append((("rules", index, "suites"), rule.suites))
    explicit = find_explicit(watch, model_id)
    if explicit and explicit.suites is not None:
        setters.append((("models", watch.models.index(explicit), "suites"), explicit.suites))
    # A later layer overrides earlier ones, as in settings_for.
    if not setters or suite in setters[-1][1]:
        return None
    key, suites = setters[-1]
    return f"the watch list runs only {', '.join(suites)} for it", f"Add {suite} in {place(bundle, key)}."


def advise(bundle: BoardBundle, commit: Commit, reason: str) -> str:
    """What changes that a plan leaves a commit out for this reason."""
    if commit.state == "rejected":
        return "Each run looks at new commits of the model, and again at this one where access or code is refused."
    for words, (key, advice) in _KEYS.items():
        if words in reason:
            return f"{advice} in {place(bundle, (key,))}."
    if "the cluster's largest tier" in reason:
        return f"Add a larger tier in {place(bundle, ('tiers',), in_cluster=True)}."
    return "Nothing but another model or suite changes it."


def place(bundle: BoardBundle, key: KeyPath, *, in_cluster: bool = False) -> str:
    """File and line of a key of the board's watch list, or cluster."""
    return find_line(bundle.cluster_file if in_cluster else bundle.watch_file, key)
