"""Columns of the lake's tables of requests: what was asked for, its targets, what became of it, votes, files."""

from __future__ import annotations

from nightboard.warehouse.schema.columns import BOOL, DOUBLE, INT, STRING, STRINGS, UTC_TIMESTAMP, Column, Table

_REQUEST_ID = Column("request_id", STRING, "hash over what is asked for, and how often it was asked before")

REQUESTS = Table(
    "requests",
    "one row per request for evaluations: a backfill or a submission",
    ("request_id", "asked_at"),
    (
        _REQUEST_ID,
        Column("board", STRING, "board that it was made to"),
        Column("kind", STRING, "backfill: evaluate again, or what is missing; submission: evaluate my model"),
        Column("asked_by", STRING, "user who asked"),
        Column("asked_at", UTC_TIMESTAMP, "when it was asked"),
        Column("source", STRING, "command, flow, folder:<path> or dataset:<id>"),
        Column("source_file", STRING, "path of its request file in the folder or dataset; null: none"),
        Column("source_revision", STRING, "commit of the dataset that the file was read from; null: no dataset"),
        Column("reason", STRING, "why it was asked, in the asker's words; null: not said"),
        Column("priority", INT, "given by an operator; a higher one runs earlier, 0 is usual"),
        Column("suites", STRINGS, "suites that it asks for; empty: all of the board"),
        Column("benchmarks", STRINGS, "benchmarks that it asks for; empty: all of the suite"),
        Column("selection", STRING, "expression that a backfill selects by; null: a submission"),
        Column("exclusion", STRING, "expression of what a backfill leaves out; null: nothing, or a submission"),
        Column("is_replicate", BOOL, "whether a backfill evaluates again what is scored, beside the old score"),
        Column("model_id", STRING, "submitted model; null: a backfill"),
        Column("revision", STRING, "submitted commit, full sha; null: a backfill, or it was not found"),
        Column("precision", STRING, "number format that a submission asks for; null: as the watch list says"),
        Column("chat_template", STRING, "auto, always or never; null: as the watch list says"),
        Column("weight_type", STRING, "Original, Adapter or Delta; null: a backfill"),
        Column("base_model", STRING, "model that an adapter or delta belongs to; null: none"),
    ),
)

REQUEST_TARGETS = Table(
    "request_targets",
    "one row per request, model, revision, suite and settings that it evaluates, fixed when it was accepted",
    ("request_id", "model_id", "revision", "suite", "precision", "chat_template"),
    (
        _REQUEST_ID,
        Column("model_id", STRING, "repository id on the Hub"),
        Column("revision", STRING, "full commit sha"),
        Column("suite", STRING, "name of the suite"),
        Column("benchmarks", STRINGS, "benchmarks to evaluate; empty: all of the suite"),
        Column(
            "mode",
            STRING,
            "missing: what has no score; failed: the same, after it gave up or was cancelled; stale: what was scored by"
            " another version of the suite; replicate: again, beside the old score",
        ),
        Column("replicate", INT, "number of the new evaluation, for mode replicate; 0: any serves"),
        Column("precision", STRING, "number format of a backfill's evaluation; null: as the request says"),
        Column("chat_template", STRING, "always or never, of a backfill's evaluation; null: as the request says"),
    ),
)

REQUEST_EVENTS = Table(
    "request_events",
    "one row per change of a request's state; the newest one counts",
    ("request_id", "changed_at"),
    (
        _REQUEST_ID,
        Column("changed_at", UTC_TIMESTAMP, "when it changed"),
        Column(
            "state",
            STRING,
            "pending, accepted, rejected, planned, running, done, failed or withdrawn",
        ),
        Column("changed_by", STRING, "user or run that changed it"),
        Column(
            "reason",
            STRING,
            "what it waits for, why it failed, or all findings of a rejection, one a line; null: nothing to say",
        ),
        Column("n_targets", INT, "targets of the request"),
        Column("n_done", INT, "targets that are scored"),
        Column("n_failed", INT, "targets that failed"),
        Column("gpu_hours", DOUBLE, "estimated GPU-hours of what is left; null: not estimated"),
    ),
)

VOTES = Table(
    "votes",
    "one row per user and request: a vote to evaluate it earlier",
    ("request_id", "voter"),
    (
        _REQUEST_ID,
        Column("voter", STRING, "user who votes; counts once per request"),
        Column("voted_at", UTC_TIMESTAMP, "when"),
    ),
)

REQUEST_FILES = Table(
    "request_files",
    "one row per content of a request file in a folder or dataset, which is read once",
    ("source", "path", "blob_id"),
    (
        Column("source", STRING, "folder:<path> or dataset:<id>"),
        Column("path", STRING, "path of the file; empty: all files of a commit were read"),
        Column("blob_id", STRING, "hash of the file's content; of a whole commit, its sha"),
        Column("source_revision", STRING, "commit of the dataset that it was read from; null: no dataset"),
        Column("read_at", UTC_TIMESTAMP, "when it was read"),
        Column("request_id", STRING, "request that it asks for; null: none"),
        Column("reason", STRING, "why it is no request, such as its status or a mistake in it; null: it is one"),
    ),
)
