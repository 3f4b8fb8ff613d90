"""The lake's tables: one declaration is the source of the Parquet type and of the column's description.

Owns names, types and meaning of every stored column. Reads and writes nothing.
"""

from __future__ import annotations

import pyarrow as pa

from nightboard.warehouse.schema.columns import UTC_TIMESTAMP, Column, Table

_STRING, _DOUBLE, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()

MODELS = Table(
    "models",
    "one row per observed change of a model's state",
    ("model_id", "observed_at"),
    (
        Column("model_id", _STRING, "repository id on the Hub"),
        Column("organization", _STRING, "part of the id before the slash"),
        Column("state", _STRING, "available, gated, private, disabled or deleted"),
        Column("observed_at", UTC_TIMESTAMP, "when discover saw it"),
    ),
)

COMMITS = Table(
    "commits",
    "one row per model, revision and observation; the newest observation counts",
    ("model_id", "revision", "discovered_at"),
    (
        Column("model_id", _STRING, "repository id on the Hub"),
        Column("organization", _STRING, "part of the id before the slash"),
        Column("revision", _STRING, "full commit sha"),
        Column("ref", _STRING, "branch or tag it was found at"),
        Column("committed_at", UTC_TIMESTAMP, "when the repository was last changed, as the Hub says"),
        Column("discovered_at", UTC_TIMESTAMP, "when discover first saw it"),
        Column("state", _STRING, "ok, or rejected when it cannot be evaluated"),
        Column("reason", _STRING, "why it is rejected, in words; null when ok"),
        Column(
            "fingerprint", _STRING, "hash over the blob ids of all files that can change a score; null when rejected"
        ),
        Column("weights_hash", _STRING, "hash over the blob ids of the weight files alone; null when rejected"),
        Column("params_b", _DOUBLE, "parameters in billions, from safetensors metadata; else as an import says"),
        Column("size_gb", _DOUBLE, "size of the files to fetch, in 10^9 bytes"),
        Column("stored_precision", _STRING, "number format of most parameters: float32, float16, bfloat16 ..."),
        Column("architecture", _STRING, "first architecture that the configuration names"),
        Column("has_chat_template", _BOOL, "whether the tokenizer has a chat template"),
        Column(
            "context_length", _INT, "longest prompt and answer together, in tokens, as config.json says; null: unknown"
        ),
        Column("needs_remote_code", _BOOL, "whether the configuration loads code from the repository"),
        Column("is_gated", _BOOL, "whether the Hub asks for accepted terms"),
        Column("license", _STRING, "licence as the model card says"),
        Column("model_type", _STRING, "pretrained, continuously pretrained, fine-tuned, chat, merge or multimodal"),
        Column("base_model", _STRING, "model it was made from, as the card says"),
        Column("files", pa.list_(_STRING), "files that the fingerprint covers, sorted; what is fetched"),
    ),
)

SUITES = Table(
    "suites",
    "one row per suite version and task: what the suite's profile declared",
    ("suite", "suite_version", "benchmark", "task"),
    (
        Column("suite", _STRING, "name of the suite"),
        Column("suite_version", _STRING, "hash over everything that decides a score"),
        Column("suite_title", _STRING, "title for readers"),
        Column("declared_at", UTC_TIMESTAMP, "when this version was last declared anew"),
        Column("benchmark", _STRING, "key of the benchmark"),
        Column("benchmark_title", _STRING, "title for readers"),
        Column("benchmark_position", _INT, "order of the column, from 1"),
        Column("task", _STRING, "lm-eval leaf task"),
        Column("metrics", pa.list_(_STRING), "metrics whose mean is the task's score"),
        Column("filter", _STRING, "lm-eval filter the metrics are taken from"),
        Column("n_shot", _INT, "few-shot examples"),
        Column("n_samples", _INT, "documents a complete evaluation scores"),
        Column("aggregate", _STRING, "mean: unweighted over tasks; pooled: weighted by samples"),
        Column("normalize", _STRING, "where the baseline is subtracted: task or benchmark"),
        Column("task_lower_bound", _DOUBLE, "score of random guessing at the task, 0..1"),
        Column("benchmark_lower_bound", _DOUBLE, "score of random guessing at the benchmark, 0..1"),
        Column(
            "independent_share",
            _DOUBLE,
            "how much of the benchmark's samples are worth as independent ones, 0..1: less than 1 where tasks share"
            " questions",
        ),
        Column(
            "measurement",
            _STRING,
            "JSON object: what else decides the answers, such as the lm-eval group, the data set, the seed and the"
            " longest generated answer; null in old rows",
        ),
    ),
)

ERAS = Table(
    "eras",
    "one row per declaration, suite version, era and task that the era names (one with task null if it names none)",
    ("suite", "suite_version", "era", "task", "declared_at"),
    (
        Column("suite", _STRING, "name of the suite"),
        Column("suite_version", _STRING, "hash over everything that decides a score"),
        Column("era", _STRING, "name of the era"),
        Column("position", _INT, "order in the profile, from 1"),
        Column("is_current", _BOOL, "whether rank shows it unless asked"),
        Column("task", _STRING, "lm-eval leaf task; null for an era that restricts nothing"),
        Column("task_version", _STRING, "version it must have; null: any"),
        Column("n_shot", _INT, "few-shot examples it must have; null: any"),
        Column("doc_set_hash", _STRING, "documents it must have; null: those of the era's first evaluation"),
        Column(
            "declared_at", UTC_TIMESTAMP, "when this declaration was first used; the newest of a suite version counts"
        ),
    ),
)

ORGANIZATIONS = Table(
    "organizations",
    "one row per organisation and declaration; the newest declaration counts",
    ("organization", "declared_at"),
    (
        Column("organization", _STRING, "id on the Hub"),
        Column("display_name", _STRING, "name for readers"),
        Column("country", _STRING, "ISO 3166-1 alpha-2 code"),
        Column("declared_at", UTC_TIMESTAMP, "when this declaration was first used in the store"),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "one row per evaluation that was ever planned to run",
    ("evaluation_id",),
    (
        Column("evaluation_id", _STRING, "hash of exactly what can change the score"),
        Column("suite", _STRING, "name of the suite"),
        Column("suite_version", _STRING, "hash over everything that decides a score"),
        Column("model_id", _STRING, "model that is run"),
        Column("revision", _STRING, "commit that is run"),
        Column("fingerprint", _STRING, "fingerprint of that commit"),
        Column("precision", _STRING, "number format the weights are loaded in"),
        Column("chat_template", _BOOL, "whether prompts go through the chat template"),
        Column("fewshot_as_multiturn", _BOOL, "whether few-shot examples become turns of a conversation"),
        Column("backend", _STRING, "lm-eval model back end"),
        Column("replicate", _INT, "0; a forced re-run takes the next"),
        Column("harness_version", _STRING, "lm-eval version the suite asks for"),
        Column(
            "left_out",
            _STRING,
            "JSON object: benchmarks of the suite that it does not run, each with the reason; null: none",
        ),
        Column("planned_at", UTC_TIMESTAMP, "when it was first launched"),
    ),
)

ATTEMPTS = Table(
    "attempts",
    "one row per attempt that has ended",
    ("evaluation_id", "shard", "attempt"),
    (
        Column("evaluation_id", _STRING, "evaluation"),
        Column("shard", _STRING, "part of the evaluation"),
        Column("attempt", _INT, "number of the try, from 1"),
        Column("launch_id", _STRING, "launch it belonged to"),
        Column("job_id", _STRING, "job that ran it; null when no job was started"),
        Column("array_task", _INT, "index within the launch's array"),
        Column("node", _STRING, "host name"),
        Column("tier", _STRING, "tier of the cluster profile that the job got; null in old rows"),
        Column("batch_size", _STRING, "batch size that it was to use; null in old rows"),
        Column(
            "state",
            _STRING,
            "completed, or how it ended: timeout, deadline, preempted, node_fail, boot_fail, revoked, interrupted,"
            " not_started, out_of_memory, failed, invalid, fetch_failed, hub_failed, cache_failed,"
            " environment, harness, cancelled",
        ),
        Column("cluster_state", _STRING, "the cluster's own word for how its job ended; null where there is none"),
        Column("exit_code", _STRING, "exit code and signal of its job as sacct tells them, such as 0:9; null: unknown"),
        Column("reason", _STRING, "why it did not complete, in words; null when completed"),
        Column("log", _STRING, "path of the log, relative to the store; of its job where it never began"),
        Column("log_tail", pa.list_(_STRING), "last 20 lines of the log; empty when completed"),
        Column("started_at", UTC_TIMESTAMP, "when the node began"),
        Column("ended_at", UTC_TIMESTAMP, "when it ended or was found dead"),
        Column("elapsed_s", _DOUBLE, "seconds from start to end"),
        Column("gpus", _INT, "GPUs of the job"),
        Column(
            "energy_kwh", _DOUBLE, "its share of its job's energy, in kWh; null where the cluster does not account it"
        ),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "one row per evaluation that is done; written last, so its presence means that all its rows are there",
    ("evaluation_id",),
    (
        Column("evaluation_id", _STRING, "evaluation"),
        Column("finished_at", UTC_TIMESTAMP, "when the last shard ended"),
        Column("elapsed_s", _DOUBLE, "seconds of computing over all its attempts"),
        Column("gpu_hours", _DOUBLE, "GPU-hours over all its attempts"),
        Column("energy_kwh", _DOUBLE, "energy over all its attempts, in kWh; null where not known when it was scored"),
        Column("source", _STRING, "run, or import:<name>"),
    ),
)

IMPORTS = Table(
    "imports",
    "one row per evaluation that came from a file, and import of it; the newest import counts",
    ("evaluation_id", "imported_at"),
    (
        Column(
            "evaluation_id",
            _STRING,
            "hash over the source, suite, era and what names the row in its file; of lm-eval's over suite and file",
        ),
        Column("source", _STRING, "import:<name>"),
        Column(
            "source_revision", _STRING, "commit of the data set on the Hub that it was read from; null: a local file"
        ),
        Column(
            "row_name",
            _STRING,
            "what the board's table calls it; of lm-eval's outputs the path of the results file, as it was given",
        ),
        Column("suite", _STRING, "suite whose benchmarks it has; null: only tasks of lm-eval"),
        Column(
            "era",
            _STRING,
            "era of the suite that it was said to belong to; null without a suite, and where task versions tell it",
        ),
        Column("model_id", _STRING, "repository id on the Hub"),
        Column("revision", _STRING, "full commit sha; null where the file names none"),
        Column("precision", _STRING, "number format the weights were loaded in, as the file says"),
        Column("chat_template", _BOOL, "whether prompts went through the chat template; null: the file does not say"),
        Column("fewshot_as_multiturn", _BOOL, "whether few-shot examples became turns; null: the file does not say"),
        Column("backend", _STRING, "lm-eval model back end; null: the file does not say"),
        Column("harness_version", _STRING, "lm-eval version or commit that ran; null: the file does not say"),
        Column("finished_at", UTC_TIMESTAMP, "when it was evaluated; of a board: when it was submitted"),
        Column("imported_at", UTC_TIMESTAMP, "when it was brought in"),
        Column("published_average", _DOUBLE, "average that the file gives, 0..100; not used for ranking"),
        Column("params_b", _DOUBLE, "parameters in billions, as the file says"),
        Column("model_type", _STRING, "pretrained, continuously pretrained, fine-tuned, chat, merge or multimodal"),
        Column("weight_type", _STRING, "Original, Adapter or Delta"),
        Column("architecture", _STRING, "architecture, as the file says"),
        Column("license", _STRING, "licence, as the file says"),
        Column("base_model", _STRING, "model it was made from, as the file says"),
        Column("generation", _INT, "steps of derivation from a base model; 0: a base model"),
        Column("is_merged", _BOOL, "whether it is a merge of models"),
        Column("is_moe", _BOOL, "whether it is a mixture of experts"),
        Column("is_flagged", _BOOL, "whether the board's readers flagged it"),
        Column("is_official", _BOOL, "whether its organisation is an official provider"),
        Column("is_available", _BOOL, "whether it was on the Hub when the file was made"),
        Column("likes", _INT, "likes on the Hub when the file was made"),
        Column("uploaded_at", UTC_TIMESTAMP, "when the model was uploaded to the Hub"),
        Column("co2_kg", _DOUBLE, "CO2 emitted, in kg, as the file says"),
    ),
)

IMPORTED_SCORES = Table(
    "imported_scores",
    "one row per evaluation that came from a board, benchmark and import of it",
    ("evaluation_id", "benchmark", "imported_at"),
    (
        Column("evaluation_id", _STRING, "evaluation"),
        Column("benchmark", _STRING, "key of the benchmark"),
        Column("raw", _DOUBLE, "score before the baseline is subtracted, a fraction 0..1; null where there is none"),
        Column("published", _DOUBLE, "normalized score that the file gives, 0..100"),
        Column("imported_at", UTC_TIMESTAMP, "when it was brought in"),
    ),
)

RANKINGS = Table(
    "rankings",
    "one row per external ranking, its date, name and import",
    ("ranking", "published_at", "model_name", "imported_at"),
    (
        Column("ranking", _STRING, "name it was imported under"),
        Column("published_at", UTC_TIMESTAMP, "day the ranking is from; null where its file does not say"),
        Column("model_name", _STRING, "what the ranking calls the model"),
        Column("rank", _INT, "place in it, 1 is best; null where its file gives scores alone"),
        Column("score", _DOUBLE, "score in it, on its own scale; null where its file gives ranks alone"),
        Column("is_ascending", _BOOL, "whether a lower score is the better one"),
        Column("imported_at", UTC_TIMESTAMP, "when it was brought in"),
    ),
)

TASK_SCORES = Table(
    "task_scores",
    "one row per evaluation, task, metric and filter",
    ("evaluation_id", "task", "metric", "filter"),
    (
        Column("evaluation_id", _STRING, "evaluation"),
        Column("benchmark", _STRING, "key of the benchmark"),
        Column("task", _STRING, "lm-eval leaf task"),
        Column("metric", _STRING, "lm-eval metric"),
        Column("filter", _STRING, "lm-eval filter"),
        Column(
            "value", _DOUBLE, "score as lm-eval reports it (a fraction 0..1 for accuracies); null: no finite number"
        ),
        Column("stderr", _DOUBLE, "standard error as lm-eval reports it; null where it gives none"),
        Column("n_samples", _INT, "documents scored; null: an import does not say"),
        Column("n_shot", _INT, "few-shot examples"),
        Column("task_version", _STRING, "version in the task's metadata"),
        Column("doc_set_hash", _STRING, "hash over the ordered documents and targets; null: an import without samples"),
        Column(
            "samples_hash", _STRING, "hash over the samples that an import brought for the task; null: none, or a run"
        ),
        Column(
            "task_hash",
            _STRING,
            "lm-eval's own hash over documents, prompts and targets: provenance, not a key; null when run in parts",
        ),
        Column("dataset_id", _STRING, "data set on the Hub"),
        Column("dataset_sha", _STRING, "commit of the data set"),
        Column("chat_template_hash", _STRING, "hash of the chat template text that was applied; null for none"),
        Column("batch_size", _STRING, "batch size as asked for; where parts of a benchmark differed, all of them"),
        Column(
            "benchmark_s",
            _DOUBLE,
            "seconds that the whole benchmark took, over its parts; null in old rows, and where it was not run anew",
        ),
        Column("harness_version", _STRING, "lm-eval version that ran"),
        Column("library_versions", _STRING, "JSON object: torch, transformers, datasets, python ...; of all parts"),
        Column("node", _STRING, "host name; of a benchmark in parts, all of them"),
        Column("device", _STRING, "GPU name, or cpu; of a benchmark in parts, all of them"),
        Column(
            "not_finite_answers",
            _INT,
            "documents with a log-likelihood that is NaN or infinite: such a task has no score; null: not known",
        ),
        Column("empty_answers", _INT, "documents for which the model wrote nothing; null: not known"),
        Column(
            "only_answer",
            _STRING,
            "answer that all documents got: the beginning of the text, or the choice (1: the first); null: they differ,"
            " or not known",
        ),
        Column(
            "cut_prompts",
            _INT,
            "documents whose prompt did not fit into the model's context and lost its beginning; null: not known",
        ),
        Column(
            "cut_answers",
            _INT,
            "documents whose answer was as long as it may be and did not end by itself; null: not known, as where a job"
            " went on with answers of an earlier one",
        ),
        Column(
            "prompt_date",
            _STRING,
            "date that the chat template was given as today's, the same for all models; null: it asks for none, or not"
            " known",
        ),
        Column(
            "measured_by",
            _STRING,
            "earlier evaluation of the same files and settings that ran the benchmark; null: this one did",
        ),
    ),
)

SAMPLES = Table(
    "samples",
    "one row per evaluation, task, document, filter and metric",
    ("evaluation_id", "task", "doc_id", "filter", "metric"),
    (
        Column("evaluation_id", _STRING, "evaluation"),
        Column("benchmark", _STRING, "key of the benchmark"),
        Column("task", _STRING, "lm-eval leaf task"),
        Column("doc_id", _INT, "position of the document in the task"),
        Column("doc_hash", _STRING, "lm-eval's hash of the document"),
        Column(
            "question_hash",
            _STRING,
            "hash of the question, where tasks of the benchmark share questions; null: every document asks its own",
        ),
        Column("filter", _STRING, "lm-eval filter"),
        Column("metric", _STRING, "lm-eval metric"),
        Column("value", _DOUBLE, "the document's score: the mean over its parts"),
        Column("weight", _DOUBLE, "number of parts, 1 but for lists such as IFEval's instructions"),
        Column("target", _STRING, "right answer"),
        Column("response", _STRING, "what the model answered: text, or JSON of log-likelihoods"),
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
        EVALUATIONS,
        ATTEMPTS,
        OUTCOMES,
        IMPORTS,
        IMPORTED_SCORES,
        RANKINGS,
        TASK_SCORES,
        SAMPLES,
    )
}
