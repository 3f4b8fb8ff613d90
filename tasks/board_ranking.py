"""Which rows of a store the rankings of a board show: its watched models, their like by submission, and its imports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.model_settings import is_watched
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import Filters, list_known_models, list_submitted


def narrow(filters: Filters, bundle: BoardBundle, warehouse: Path) -> Filters:
    """The same filters, which let only rows of the board through. Raises NoBuildError without a warehouse."""
    with connect(warehouse) as con:
        known, submitted = list_known_models(con), list_submitted(con, bundle.board.board)
    models = [model for model in known if model in submitted or is_watched(bundle.watch, model)]
    return replace(filters, models=models, sources=[f"import:{name}" for name in bundle.board.imports])
