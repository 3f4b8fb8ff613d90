// The front page: loads the rows after the first paint, keeps the state in the address, and draws the view of it.

import { listCells, writeCsv, writeTsv } from "./cells";
import { Controls } from "./controls";
import { type Packed, type Suite, unpack } from "./data";
import { type State, makeState, readState, writeState } from "./state";
import { Table } from "./table";
import { type View, makeView } from "./view";

declare global {
  interface Window {
    nightboard?: Record<string, Packed>;
  }
}

const suites = new Map<string, Suite>();
const asked = new Set<string>();
const narrow = matchMedia("(max-width: 640px)");
const wide = matchMedia("(min-width: 2100px)");
let state: State = makeState();
let view: View | null = null;
let wasTyping = false;
let table: Table;
let controls: Controls;

function start(): void {
  const element = document.getElementById("board") as HTMLTableElement | null;
  if (!element || !nameSuite()) return;
  state = readState(location.hash);
  table = new Table(element, { sort, pin });
  controls = new Controls(change);
  addEventListener("popstate", () => {
    state = readState(location.hash);
    wasTyping = false;
    draw(true);
  });
  for (const screen of [narrow, wide]) screen.addEventListener("change", () => draw(false));
  document
    .getElementById("reset")
    ?.addEventListener("click", () => change((old) => Object.assign(old, makeState(), { suite: old.suite })));
  document.getElementById("reset-columns")?.addEventListener("click", () => change((old) => (old.columns = null)));
  document.getElementById("csv")?.addEventListener("click", saveCsv);
  document.getElementById("copy")?.addEventListener("click", () => copy("The table", writeTsv(listShownCells())));
  document.getElementById("link")?.addEventListener("click", () => copy("The address", location.href));
  document.getElementById("reload")?.addEventListener("click", () => location.reload());
  draw(true);
}

function change(put: (state: State) => void, isTyping = false): void {
  const before = JSON.stringify({ ...state, pins: [], columns: null });
  put(state);
  // Letters of one search are one step back.
  const address = `#${writeState(state)}`;
  if (address !== (location.hash || "#"))
    history[isTyping && wasTyping ? "replaceState" : "pushState"](null, "", address);
  wasTyping = isTyping;
  draw(before !== JSON.stringify({ ...state, pins: [], columns: null }));
}

function sort(key: string): void {
  change((old) => {
    const isUp = key === "rank" || key === "places" || key === "band" || isText(key);
    old.isDown = old.sort === key ? !old.isDown : !isUp;
    old.sort = key;
  });
}

function isText(key: string): boolean {
  const kind = findSuite()?.columns.get(key)?.kind;
  return kind === "text" || kind === "model";
}

function pin(model: string): void {
  change(
    (old) => (old.pins = old.pins.includes(model) ? old.pins.filter((other) => other !== model) : [...old.pins, model]),
  );
}

function findSuite(): Suite | undefined {
  return suites.get(nameSuite());
}

/** The suite of the state; the first one if the page has none of that name. */
function nameSuite(): string {
  const options = [...(document.getElementById("suite") as HTMLSelectElement).options];
  return (options.find(({ value }) => value === state.suite) ?? options[0])?.value ?? "";
}

/** Draw the state; the rows of a suite are loaded when they are first asked for. */
function draw(isOther: boolean): void {
  const suite = findSuite();
  if (!suite) {
    load(nameSuite());
    return;
  }
  if (!suite.columns.has(state.sort)) Object.assign(state, { sort: "rank", isDown: false });
  view = makeView(suite, state, narrow.matches ? "narrow" : wide.matches ? "wide" : "usual");
  controls.fill(suite);
  controls.show(suite, state, view);
  table.show({ suite, state, view }, isOther);
  document.documentElement.dataset.ready = suite.suite;
}

function load(name: string): void {
  const option = [...(document.getElementById("suite") as HTMLSelectElement).options].find(
    ({ value }) => value === name,
  );
  if (!option || asked.has(name)) return;
  asked.add(name);
  const script = document.createElement("script");
  script.src = option.dataset.file ?? "";
  script.addEventListener("load", () => {
    const packed = window.nightboard?.[name];
    if (!packed) return;
    if (!suites.has(name)) suites.set(name, unpack(packed));
    // Whoever has scrolled the first rows stays where they are.
    if (name === nameSuite()) draw(writeState(state) !== "");
  });
  // The files of an older page are gone.
  script.addEventListener("error", () => {
    asked.delete(name);
    (document.getElementById("replaced") as HTMLElement).hidden = false;
  });
  document.head.append(script);
}

function listShownCells(): string[][] {
  const suite = findSuite();
  return suite && view ? listCells({ suite, state, view }) : [];
}

function saveCsv(): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([writeCsv(listShownCells())], { type: "text/csv" }));
  link.download = `${nameSuite()}${state.date ? `-${state.date}` : ""}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function copy(what: string, text: string): Promise<void> {
  const message = document.getElementById("message") as HTMLElement;
  try {
    await navigator.clipboard.writeText(text);
    message.textContent = `${what} is copied.`;
  } catch {
    message.textContent = copyOldWay(text)
      ? `${what} is copied.`
      : `${what} cannot be copied: the browser does not allow it.`;
  }
}

/** Where a page has no clipboard: from hosts without TLS. */
function copyOldWay(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

// After the first paint, which shows the first rows.
requestAnimationFrame(() => setTimeout(start));
