// The SQL page: loads DuckDB and the tables when a query first runs, and shows what it answers. Every value is a text.

import { AsyncDuckDB, type AsyncDuckDBConnection, VoidLogger } from "@duckdb/duckdb-wasm";
import { writeCsv } from "./cells";

declare global {
  interface Window {
    duckdbFiles?: { worker: string; module: string };
    boardTables?: Record<string, string>;
  }
}

interface Answer {
  names: string[];
  types: string[];
  n: number;
  /** The texts of a row; null is an empty one. */
  read: (row: number) => string[];
}

// More rows are in the CSV file.
const MOST_ROWS = 500;
// A worker of a page from disk may fetch nothing, so the page sends it DuckDB's module first.
const TAKE_MODULE = `addEventListener("message", (event) => {
  event.stopImmediatePropagation();
  fetch = async () => new Response(event.data, { headers: { "content-type": "application/wasm" } });
}, { once: true });
`;
// A query reads the tables of the page and nothing else; what needs an extension is told at once.
const SETTINGS = [
  "autoinstall_known_extensions = false",
  "autoload_known_extensions = false",
  "enable_external_access = false",
  "lock_configuration = true",
];
const READS = "select, from, with, values, describe, summarize or show";
const NUMBER = /^[A-Z]*INT(EGER)?$|^(DOUBLE|FLOAT|DECIMAL\([\d,]+\))$/;

const find = <Kind extends HTMLElement>(id: string) => document.getElementById(id) as Kind;
const editor = find<HTMLTextAreaElement>("query");
const status = find("status");
const problem = find("problem");
const runButton = find<HTMLButtonElement>("run");
const stopButton = find<HTMLButtonElement>("stop");
const csvButton = find<HTMLButtonElement>("csv");

let worker: Worker | null = null;
let connection: Promise<AsyncDuckDBConnection> | null = null;
let answer: Answer | null = null;

async function run(): Promise<void> {
  const query = editor.value.trim().replace(/[;\s]+$/, "");
  if (!query || runButton.disabled) return;
  const address = `#${new URLSearchParams({ q: editor.value })}`;
  if (address !== location.hash) history.pushState(null, "", address);
  show(null);
  try {
    showState("loading", `Loading DuckDB and the tables (${editor.dataset.size}) ...`);
    const opened = await (connection ??= open());
    showState("running", "Running ...");
    const start = performance.now();
    const found = await ask(opened, query);
    show(found);
    showState("idle", `${countRows(found.n)} in ${((performance.now() - start) / 1000).toFixed(2)} s`);
  } catch (error) {
    if (isCrash(error)) close();
    problem.textContent = explain(error);
    showState("idle", "");
  }
}

/** A query that is stopped never answers. The next one starts another DuckDB. */
function stop(): void {
  close();
  showState("idle", "Stopped.");
}

function close(): void {
  worker?.terminate();
  worker = connection = null;
}

async function open(): Promise<AsyncDuckDBConnection> {
  try {
    if (!window.boardTables) await load(editor.dataset.tables);
    if (!window.duckdbFiles) await load(editor.dataset.duckdb);
    const { worker: code, module } = window.duckdbFiles as NonNullable<Window["duckdbFiles"]>;
    return await startDuckDb(await unpack(code), await unpack(module));
  } catch (error) {
    close();
    throw error;
  }
}

async function startDuckDb(code: ArrayBuffer, module: ArrayBuffer): Promise<AsyncDuckDBConnection> {
  const address = URL.createObjectURL(new Blob([TAKE_MODULE, code], { type: "text/javascript" }));
  const started = new Worker(address);
  worker = started;
  const failed = new Promise<never>((_, fail) =>
    started.addEventListener("error", () => fail(new Error("This browser does not start DuckDB. Try another one."))),
  );
  const opened = async () => {
    started.postMessage(module, [module]);
    const database = new AsyncDuckDB(new VoidLogger(), started);
    await database.instantiate("data:,");
    const connected = await database.connect();
    for (const [name, packed] of Object.entries(window.boardTables ?? {}))
      await connected.insertArrowFromIPCStream(new Uint8Array(await unpack(packed)), { name, create: true });
    for (const setting of SETTINGS) await connected.query(`set ${setting}`);
    return connected;
  };
  try {
    return await Promise.race([opened(), failed]);
  } finally {
    URL.revokeObjectURL(address);
  }
}

function load(file: string | undefined): Promise<void> {
  return new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = file ?? "";
    script.addEventListener("load", () => done());
    // The tables of an older page are gone.
    script.addEventListener("error", () => fail(new Error(`${file} cannot be loaded. Reload the page.`)));
    document.head.append(script);
  });
}

function unpack(text: string): Promise<ArrayBuffer> {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** DuckDB writes the texts of all values. It prepares the query alone first, so that errors name the reader's lines. */
async function ask(opened: AsyncDuckDBConnection, query: string): Promise<Answer> {
  await (await opened.prepare(query)).close();
  const described = await opened.query(`describe from (\n${query}\n)`).catch((error) => {
    if (isCrash(error)) throw error;
    throw new Error(`Only one query that returns rows can run: ${READS}; nothing after its semicolon.`);
  });
  const found = await opened.query(`select columns(*)::varchar from (\n${query}\n)`);
  const columns = found.schema.fields.map((_, place) => found.getChildAt(place));
  return {
    names: found.schema.fields.map(({ name }) => name),
    types: [...(described.getChild("column_type") ?? [])].map(String),
    n: found.numRows,
    read: (row) => columns.map((column) => column?.get(row) ?? ""),
  };
}

function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  if (isCrash(error)) return `DuckDB crashed: ${text}. The next run starts it again.`;
  // DuckDB-WASM repeats the place of an error, and advises to load extensions.
  const parts = new Set(text.replace(/\s*Please try installing[^]*/, " This page has no extensions.").split("\n\n"));
  return [...parts].join("\n\n");
}

/** Such as too little memory: DuckDB answers nothing afterwards. */
function isCrash(error: unknown): boolean {
  return error instanceof Error && error.name === "RuntimeError";
}

function countRows(n: number): string {
  const rows = n === 1 ? "1 row" : `${n.toLocaleString("en")} rows`;
  return n > MOST_ROWS ? `${rows}, the first ${MOST_ROWS} are shown,` : rows;
}

function showState(state: "idle" | "loading" | "running", text: string): void {
  status.textContent = text;
  runButton.disabled = state !== "idle";
  stopButton.disabled = state !== "running";
  csvButton.disabled = state !== "idle" || !answer;
}

function show(found: Answer | null): void {
  answer = found;
  problem.textContent = "";
  const table = find<HTMLTableElement>("result");
  table.replaceChildren();
  find("frame").hidden = !found;
  if (!found) return;
  const isNumber = found.types.map((type) => NUMBER.test(type));
  addRow(table.createTHead(), "th", found.names, isNumber);
  const body = table.createTBody();
  for (let row = 0; row < Math.min(found.n, MOST_ROWS); row++) addRow(body, "td", found.read(row), isNumber);
}

function addRow(part: HTMLTableSectionElement, tag: "th" | "td", texts: string[], isNumber: boolean[]): void {
  const row = part.insertRow();
  texts.forEach((text, place) => {
    const cell = document.createElement(tag);
    cell.textContent = text;
    if (tag === "th") cell.setAttribute("scope", "col");
    if (isNumber[place]) cell.className = "number";
    row.append(cell);
  });
}

function saveCsv(): void {
  if (!answer) return;
  const { names, n, read } = answer;
  const cells = [names, ...Array.from({ length: n }, (_, row) => read(row))];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([writeCsv(cells)], { type: "text/csv" }));
  link.download = "query.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function readAddress(): void {
  const query = new URLSearchParams(location.hash.slice(1)).get("q");
  if (query !== null) editor.value = query;
}

editor.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  void run();
});
runButton.addEventListener("click", () => void run());
stopButton.addEventListener("click", stop);
csvButton.addEventListener("click", saveCsv);
for (const button of document.querySelectorAll<HTMLButtonElement>("#examples button"))
  button.addEventListener("click", () => {
    editor.value = button.dataset.sql ?? "";
    runButton.focus();
  });
addEventListener("popstate", readAddress);
readAddress();
