"""A page in a tab of a browser, with all that it requests and complains about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


class WatchedTab:
    """The tab, the addresses that it requests, and its errors: exceptions, messages on the console, dialogs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type != "log" else None)
        page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
