"""The base class of all errors of the warehouse. Imports nothing, so that the command line can know it at once."""

from __future__ import annotations


class WarehouseError(Exception):
    """The warehouse cannot do what was asked. The message is for a person: what is wrong, and what to do."""
