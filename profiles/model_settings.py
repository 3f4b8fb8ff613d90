"""The settings of one watched model: the watch list's defaults, its matching rules, and the model's own entry."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from nightboard.profiles.models.watchlist import ModelSettings, WatchedModel, WatchList


def settings_for(watch: WatchList, model_id: str) -> ModelSettings:
    """Complete settings of one model. Only `suites` may be None: all suites of the board.

    Layers: the list's defaults, each matching rule in order, the model's own entry. A later layer overrides the keys
    that it sets.
    """
    explicit = find_explicit(watch, model_id)
    layers: list[ModelSettings] = [rule for rule in watch.rules if fnmatchcase(model_id, rule.match)]
    layers += [explicit] if explicit else []
    values = {name: getattr(watch, name, None) for name in ModelSettings.model_fields}
    for layer in layers:
        values |= {name: value for name in values if (value := getattr(layer, name)) is not None}
    return ModelSettings(**values)


def find_explicit(watch: WatchList, model_id: str) -> WatchedModel | None:
    """The model's own entry, if it has one."""
    return next((model for model in watch.models if model.id == model_id), None)


def is_watched(watch: WatchList, model_id: str) -> bool:
    """Whether the list follows the model: listed by id, or in an organization and included; never if excluded."""
    if any(fnmatchcase(model_id, pattern) for pattern in watch.exclude):
        return False
    if find_explicit(watch, model_id):
        return True
    organization = model_id.partition("/")[0]
    return organization in watch.organizations and any(fnmatchcase(model_id, pattern) for pattern in watch.include)


def narrow(watch: WatchList, model_ids: Iterable[str]) -> WatchList:
    """The same list for some of its models alone, each with the settings that it has there."""
    models = tuple(find_explicit(watch, model_id) or WatchedModel(id=model_id) for model_id in model_ids)
    return watch.model_copy(update={"organizations": (), "models": models})
