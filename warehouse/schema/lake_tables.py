"""Columns of the lake's Parquet tables (models, commits, attempts, scores, samples ...): names, types, descriptions."""

from __future__ import annotations

from nightboard.warehouse.schema.columns import BOOL, DOUBLE, INT, STRING, STRINGS, UTC_TIMESTAMP, Column, Table
from nightboard.warehouse.schema.request_tables import (
    REQUEST_EVENTS,
    REQUEST_FILES,
    REQUEST_TARGETS,
    REQUESTS,
    VOTES,
)

MODELS = Table(
    "models",
    "one row per observed change of a model's state",
    ("model_id", "observed_at"),
    (
        Column("model_id", STRING, "repository id on the Hub"),
        Column("organization", STRING, "part of the id before the slash"),
        Column("state", STRING, "available, gated, private, disabled or deleted"),
        Column("observed_at", UTC_TIMESTAMP, "when discover observed the change"),
    ),
)

COMMITS = Table(
    "commits",
    "one row per model, revision and observation; the newest observation counts",
    ("model_id", "revision", "discovered_at"),
    (
        Column("model_id", STRING, "repository id on the Hub"),
        Column("organization", STRING, "part of the id before the slash"),
        Column("revision", STRING, "full commit sha"),
        Column("ref", STRING, "branch or tag that pointed to it"),
        Column("committed_at", UTC_TIMESTAMP, "when the repository was last changed, according to the Hub"),
        Column("discovered_at", UTC_TIMESTAMP, "when discover first found it"),
        Column("state", STRING, "ok, or rejected if it cannot be evaluated"),
        Column("reason", STRING, "why it is rejected; null: ok"),
        Column("fingerprint", STRING, "hash over the blob ids of all files that can change a score; null: rejected"),
        Column("weights_hash", STRING, "hash over the blob ids of the weight files; null: rejected"),
        Column("params_b", DOUBLE, "parameters in billions, from the safetensors metadata or an import"),
        Column("size_gb", DOUBLE, "size of the files to download, in 10^9 bytes"),
        Column("stored_precision", STRING, "number format of most parameters, such as float32 or bfloat16"),
        Column("architecture", STRING, "first architecture listed in the configuration"),
        Column("has_chat_template", BOOL, "whether the tokenizer has a chat template"),
        Column("context_length", INT, "longest prompt and answer together, in tokens, from config.json; null: unknown"),
        Column("needs_remote_code", BOOL, "whether the configuration loads code from the repository"),
        Column("is_gated", BOOL, "whether the Hub asks for accepted terms"),
        Column("license", STRING, "license, from the model card"),
        Column("model_type", STRING, "pretrained, continuously pretrained, fine-tuned, chat, merge or multimodal"),
        Column("base_model", STRING, "model it is derived from, from the model card"),
        Column("files", STRINGS, "files that the fingerprint covers and that are downloaded, sorted"),
    ),
)

SUITES = Table(
    "suites",
    "one row per suite version and task, as declared in the suite's profile",
    ("suite", "suite_version", "benchmark", "task"),
    (
        Column("suite", STRING, "name of the suite"),
        Column("suite_version", STRING, "hash over all settings that decide a score"),
        Column("suite_title", STRING, "title for readers"),
        Column("declared_at", UTC_TIMESTAMP, "when this version was last declared again after another one"),
        Column("benchmark", STRING, "key of the benchmark"),
        Column("benchmark_title", STRING, "title for readers"),
        Column("benchmark_position", INT, "position of its column, from 1"),
        Column("task", STRING, "lm-eval leaf task"),
        Column("metrics", STRINGS, "metrics whose mean is the task's score"),
        Column("filter", STRING, "lm-eval filter of the metrics"),
        Column("n_shot", INT, "few-shot examples"),
        Column("n_samples", INT, "documents that a complete evaluation scores"),
        Column("aggregate", STRING, "mean: unweighted over tasks; pooled: weighted by samples"),
        Column("normalize", STRING, "where the baseline is subtracted: task or benchmark"),
        Column("task_lower_bound", DOUBLE, "score of random guessing at the task, 0..1"),
        Column("benchmark_lower_bound", DOUBLE, "score of random guessing at the benchmark, 0..1"),
        Column(
            "independent_share",
            DOUBLE,
            "effective number of independent samples, as a share of all, 0..1; less than 1 if tasks share questions",
        ),
        Column(
            "measurement",
            STRING,
            "JSON object of other settings that decide the answers, such as the lm-eval group, the dataset, the seed"
            " and"
            " the longest generated answer; null: an old row",
        ),
        Column(
            "publish_documents",
            BOOL,
            "whether questions and options may be published; null: an old row",
        ),
    ),
)

ERAS = Table(
    "eras",
    "one row per declaration, suite version, era and task that the era names (one with task null if it names none)",
    ("suite", "suite_version", "era", "task", "declared_at"),
    (
        Column("suite", STRING, "name of the suite"),
        Column("suite_version", STRING, "hash over all settings that decide a score"),
        Column("era", STRING, "name of the era"),
        Column("position", INT, "position in the profile, from 1"),
        Column("is_current", BOOL, "whether rank shows it by default"),
        Column("task", STRING, "lm-eval leaf task; null: an era without restrictions"),
        Column("task_version", STRING, "required version; null: any"),
        Column("n_shot", INT, "required number of few-shot examples; null: any"),
        Column(
            "doc_set_hash", STRING, "required hash over the documents; null: the hash of the era's first evaluation"
        ),
        Column(
            "declared_at",
            UTC_TIMESTAMP,
            "when this declaration was first used; the newest one of a suite version counts",
        ),
    ),
)

ORGANIZATIONS = Table(
    "organizations",
    "one row per organization and declaration; the newest declaration counts",
    ("organization", "declared_at"),
    (
        Column("organization", STRING, "id on the Hub"),
        Column("display_name", STRING, "name for readers"),
        Column("country", STRING, "ISO 3166-1 alpha-2 code"),
        Column("declared_at", UTC_TIMESTAMP, "when this declaration was first used in the store"),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "one row per evaluation that was ever planned to run",
    ("evaluation_id",),
    (
        Column("evaluation_id", STRING, "hash over everything that can change the score, and nothing else"),
        Column("suite", STRING, "name of the suite"),
        Column("suite_version", STRING, "hash over all settings that decide a score"),
        Column("model_id", STRING, "model that is evaluated"),
        Column("revision", STRING, "commit that is evaluated"),
        Column("fingerprint", STRING, "fingerprint of that commit"),
        Column("precision", STRING, "number format the weights are loaded in"),
        Column("chat_template", BOOL, "whether prompts go through the chat template"),
        Column("fewshot_as_multiturn", BOOL, "whether few-shot examples are turns of a conversation"),
        Column("backend", STRING, "lm-eval model back end"),
        Column("replicate", INT, "0; a forced re-run gets the next number"),
        Column("harness_version", STRING, "lm-eval version that the suite declares"),
        Column(
            "left_out",
            STRING,
            "JSON object: benchmarks of the suite that are not run, each with the reason; null: none",
        ),
        Column("planned_at", UTC_TIMESTAMP, "when it was first launched"),
        Column("request_id", STRING, "request that it was launched for; null: the watch list"),
    ),
)

ATTEMPTS = Table(
    "attempts",
    "one row per ended attempt",
    ("evaluation_id", "shard", "attempt"),
    (
        Column("evaluation_id", STRING, "evaluation"),
        Column("shard", STRING, "shard (part of the evaluation); all: the whole evaluation"),
        Column("attempt", INT, "number of the attempt, from 1"),
        Column("launch_id", STRING, "launch that submitted it"),
        Column("job_id", STRING, "job that ran it; null: no job was started"),
        Column("array_task", INT, "index within the launch's array"),
        Column("node", STRING, "host name"),
        Column("tier", STRING, "tier of the cluster profile; null: an old row"),
        Column("batch_size", STRING, "requested batch size; null: an old row"),
        Column(
            "state",
            STRING,
            "completed, or why it ended: timeout, deadline, preempted, node_fail, boot_fail, revoked, interrupted,"
            " not_started, out_of_memory, failed, invalid, fetch_failed, hub_failed, cache_failed,"
            " environment, harness, cancelled",
        ),
        Column("cluster_state", STRING, "final state of its job according to the cluster; null: none"),
        Column("exit_code", STRING, "exit code and signal of its job, from sacct, such as 0:9; null: unknown"),
        Column("reason", STRING, "why it did not complete; null: completed"),
        Column("log", STRING, "path of its log, relative to the store; the job's log if it never started"),
        Column("log_tail", STRINGS, "last 20 lines of the log; empty if completed"),
        Column("started_at", UTC_TIMESTAMP, "when it started on the node"),
        Column("ended_at", UTC_TIMESTAMP, "when it ended, or was found to have ended"),
        Column("elapsed_s", DOUBLE, "seconds from start to end"),
        Column("gpus", INT, "GPUs of the job"),
        Column("energy_kwh", DOUBLE, "its share of its job's energy, in kWh; null: the cluster does not measure it"),
        Column("estimate_s", DOUBLE, "seconds that the plan estimated for it; null: an old row"),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "one row per done evaluation; written last, so all other rows of the evaluation exist if this one does",
    ("evaluation_id",),
    (
        Column("evaluation_id", STRING, "evaluation"),
        Column("finished_at", UTC_TIMESTAMP, "when the last shard ended"),
        Column("elapsed_s", DOUBLE, "compute time over all attempts, in seconds"),
        Column("gpu_hours", DOUBLE, "GPU-hours over all attempts"),
        Column("energy_kwh", DOUBLE, "energy over all attempts, in kWh; null: not known when it was scored"),
        Column("source", STRING, "run, or import:<name>"),
    ),
)

IMPORTS = Table(
    "imports",
    "one row per evaluation imported from a file, and import; the newest import counts",
    ("evaluation_id", "imported_at"),
    (
        Column(
            "evaluation_id",
            STRING,
            "hash over the source, suite, era and the row's name in its file; for lm-eval's outputs, over suite and"
            " file",
        ),
        Column("source", STRING, "import:<name>"),
        Column("source_revision", STRING, "commit of the dataset on the Hub that it was read from; null: a local file"),
        Column(
            "row_name",
            STRING,
            "its name in the board's table; for lm-eval's outputs, the path of the results file, as given",
        ),
        Column("suite", STRING, "suite of its benchmarks; null: only lm-eval tasks"),
        Column(
            "era",
            STRING,
            "era given at the import; null: no suite, or the task versions determine the era",
        ),
        Column("model_id", STRING, "repository id on the Hub"),
        Column("revision", STRING, "full commit sha; null: not in the file"),
        Column(
            "revision_name",
            STRING,
            "branch or tag that was evaluated, if the file names one other than main; it is part of the identity",
        ),
        Column(
            "is_revision_inferred",
            BOOL,
            "whether revision is the commit that the Hub has for revision_name at the time of the evaluation; null: no",
        ),
        Column("precision", STRING, "number format the weights were loaded in, from the file"),
        Column("chat_template", BOOL, "whether prompts went through the chat template; null: not in the file"),
        Column(
            "fewshot_as_multiturn",
            BOOL,
            "whether few-shot examples were turns of a conversation; null: not in the file",
        ),
        Column(
            "settings",
            STRING,
            "other settings that can change a score, as lm-eval's name=value, sorted; they are part of the identity;"
            " null: none",
        ),
        Column(
            "not_comparable",
            STRING,
            "settings that the suite does not allow, or whose influence is not known, as name=value: it is not ranked;"
            " null: none",
        ),
        Column(
            "supersedes",
            BOOL,
            "whether it was imported with --supersede: it ranks as an own run does, and before one; null: no",
        ),
        Column("backend", STRING, "lm-eval model back end; null: not in the file"),
        Column("harness_version", STRING, "lm-eval version or commit that ran; null: not in the file"),
        Column("finished_at", UTC_TIMESTAMP, "when it was evaluated; for a board, when it was submitted"),
        Column("imported_at", UTC_TIMESTAMP, "when it was imported"),
        Column("published_average", DOUBLE, "average in the file, 0..100; not used for ranking"),
        Column("params_b", DOUBLE, "parameters in billions, from the file"),
        Column("model_type", STRING, "pretrained, continuously pretrained, fine-tuned, chat, merge or multimodal"),
        Column("weight_type", STRING, "Original, Adapter or Delta"),
        Column("architecture", STRING, "architecture, from the file"),
        Column("license", STRING, "license, from the file"),
        Column("base_model", STRING, "model it is derived from, from the file"),
        Column("generation", INT, "steps of derivation from a base model; 0: a base model"),
        Column("is_merged", BOOL, "whether it is a merge of models"),
        Column("is_moe", BOOL, "whether it is a mixture of experts"),
        Column("is_flagged", BOOL, "whether users of the board flagged it"),
        Column("is_official", BOOL, "whether its organization is an official provider"),
        Column("is_available", BOOL, "whether it was on the Hub when the file was made"),
        Column("likes", INT, "likes on the Hub when the file was made"),
        Column("uploaded_at", UTC_TIMESTAMP, "when the model was uploaded to the Hub"),
        Column("co2_kg", DOUBLE, "CO2 emitted, in kg, from the file"),
    ),
)

IMPORTED_SCORES = Table(
    "imported_scores",
    "one row per evaluation imported from a board, benchmark and import",
    ("evaluation_id", "benchmark", "imported_at"),
    (
        Column("evaluation_id", STRING, "evaluation"),
        Column("benchmark", STRING, "key of the benchmark"),
        Column("raw", DOUBLE, "score before the baseline is subtracted, a fraction 0..1; null: none"),
        Column("published", DOUBLE, "normalized score in the file, 0..100"),
        Column("imported_at", UTC_TIMESTAMP, "when it was imported"),
    ),
)

RANKINGS = Table(
    "rankings",
    "one row per external ranking, date, model name and import",
    ("ranking", "published_at", "model_name", "imported_at"),
    (
        Column("ranking", STRING, "name given at the import"),
        Column("published_at", UTC_TIMESTAMP, "date of the ranking; null: not in the file"),
        Column("model_name", STRING, "name of the model in the ranking"),
        Column("rank", INT, "rank, 1 is best; null: the file has only scores"),
        Column("score", DOUBLE, "score, on the ranking's own scale; null: the file has only ranks"),
        Column("is_ascending", BOOL, "whether a lower score is better"),
        Column("imported_at", UTC_TIMESTAMP, "when it was imported"),
    ),
)

TASK_SCORES = Table(
    "task_scores",
    "one row per evaluation, task, metric and filter",
    ("evaluation_id", "task", "metric", "filter"),
    (
        Column("evaluation_id", STRING, "evaluation"),
        Column("benchmark", STRING, "key of the benchmark"),
        Column("task", STRING, "lm-eval leaf task"),
        Column("metric", STRING, "lm-eval metric"),
        Column("filter", STRING, "lm-eval filter"),
        Column("value", DOUBLE, "score reported by lm-eval (a fraction 0..1 for accuracies); null: no finite number"),
        Column("stderr", DOUBLE, "standard error reported by lm-eval; null: none"),
        Column("n_samples", INT, "documents scored; null: not in the imported file"),
        Column("n_shot", INT, "few-shot examples"),
        Column("task_version", STRING, "version in the task's metadata"),
        Column("doc_set_hash", STRING, "hash over the ordered documents and targets; null: an import without samples"),
        Column(
            "samples_hash", STRING, "hash over the imported samples of the task; null: no samples, or not an import"
        ),
        Column(
            "task_hash",
            STRING,
            "lm-eval's own hash over documents, prompts and targets, for provenance only; null: run in several shards",
        ),
        Column("dataset_id", STRING, "dataset on the Hub"),
        Column("dataset_sha", STRING, "commit of the dataset"),
        Column("chat_template_hash", STRING, "hash of the applied chat template; null: none"),
        Column("batch_size", STRING, "requested batch size; all of them if the shards of a benchmark differed"),
        Column(
            "benchmark_s",
            DOUBLE,
            "time of the whole benchmark, over its shards, in seconds; null: an old row, or reused from an earlier"
            " evaluation",
        ),
        Column("harness_version", STRING, "lm-eval version that ran"),
        Column("library_versions", STRING, "JSON object: torch, transformers, datasets, python ...; of all shards"),
        Column("node", STRING, "host name; all of them if a benchmark ran in several shards"),
        Column("device", STRING, "GPU name, or cpu; all of them if a benchmark ran in several shards"),
        Column(
            "not_finite_answers",
            INT,
            "documents with a log-likelihood that is NaN or infinite; such a task has no score; null: unknown",
        ),
        Column("empty_answers", INT, "documents with an empty answer; null: unknown"),
        Column(
            "only_answer",
            STRING,
            "answer given to all documents: the beginning of its text, or the choice (1: the first); null: answers"
            " differ,"
            " or unknown",
        ),
        Column(
            "cut_prompts",
            INT,
            "documents whose prompt was truncated at the beginning to fit the model's context; null: unknown",
        ),
        Column(
            "cut_answers",
            INT,
            "documents whose answer reached the length limit before it ended; null: unknown, for example after a job"
            " resumed with answers of an earlier job",
        ),
        Column(
            "prompt_date",
            STRING,
            "date passed to the chat template as today's date, the same for all models; null: the template uses none,"
            " or"
            " unknown",
        ),
        Column(
            "measured_by",
            STRING,
            "earlier evaluation of the same files and settings whose result is reused; null: this evaluation ran the"
            " benchmark",
        ),
    ),
)

SAMPLES = Table(
    "samples",
    "one row per evaluation, task, document, filter and metric",
    ("evaluation_id", "task", "doc_id", "filter", "metric"),
    (
        Column("evaluation_id", STRING, "evaluation"),
        Column("benchmark", STRING, "key of the benchmark"),
        Column("task", STRING, "lm-eval leaf task"),
        Column("doc_id", INT, "position of the document in the task"),
        Column("doc_hash", STRING, "lm-eval's hash of the document"),
        Column(
            "question_hash",
            STRING,
            "hash of the question, if tasks of the benchmark share questions; null: every document has its own"
            " question",
        ),
        Column("filter", STRING, "lm-eval filter"),
        Column("metric", STRING, "lm-eval metric"),
        Column("value", DOUBLE, "score of the document: the mean over its parts"),
        Column("weight", DOUBLE, "number of parts; 1 except for lists such as IFEval's instructions"),
        Column("target", STRING, "correct answer"),
        Column("response", STRING, "the model's answer: text, or JSON of log-likelihoods"),
        Column(
            "answer",
            STRING,
            "generated text after filtering, or the option that the metric takes as the answer, such as (B) 42; its"
            " letter alone where documents may not be published; null: there was no choice, a log-likelihood is not a"
            " number, or an old row",
        ),
    ),
)

DOCUMENTS = Table(
    "documents",
    "one row per task, set of documents and document; written once, never per evaluation",
    ("task", "doc_hash", "is_imported", "doc_set_hash"),
    (
        Column("task", STRING, "lm-eval leaf task"),
        Column("doc_hash", STRING, "lm-eval's hash of the document"),
        Column("doc_set_hash", STRING, "hash over the ordered documents and targets that it was read with"),
        Column("is_imported", BOOL, "whether it was read from imported samples, not from those of a run"),
        Column("dataset_id", STRING, "dataset on the Hub; null: not in the imported file"),
        Column("dataset_sha", STRING, "commit of the dataset that it was first read from; null: unknown"),
        Column("question", STRING, "text of the question with its passage, without few-shot examples"),
        Column("choices", STRINGS, "options with their letters, such as (B) 42; null: none"),
        Column("target", STRING, "correct answer; the option with its letter where there are options"),
        Column("category", STRING, "subject, from the dataset; null: none"),
    ),
)

LAKE_TABLES = {
    table.name: table
    for table in (
        MODELS,
        COMMITS,
        SUITES,
        ERAS,
        ORGANIZATIONS,
        REQUESTS,
        REQUEST_TARGETS,
        REQUEST_EVENTS,
        VOTES,
        REQUEST_FILES,
        EVALUATIONS,
        ATTEMPTS,
        OUTCOMES,
        IMPORTS,
        IMPORTED_SCORES,
        RANKINGS,
        TASK_SCORES,
        SAMPLES,
        DOCUMENTS,
    )
}
