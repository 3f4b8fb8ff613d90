// The controls above the table: shows a state in them, and tells what a reader has changed.

import { type Suite, readNumber, readText } from "./data";
import { CHOICES, LISTS, type State, countFilters, readSize, writeState } from "./state";
import { type View, findEra } from "./view";

export type Change = (change: (state: State) => void, isTyping?: boolean) => void;

function get<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const PANELS = ["filters", "columns", "options"];

export class Controls {
  private suite: Suite | null = null;

  constructor(private readonly change: Change) {
    get("controls").hidden = false;
    for (const id of PANELS) get(`open-${id}`).addEventListener("click", () => this.open(id));
    this.follow<HTMLInputElement>("search", "input", (state, { value }) => (state.query = value), true);
    this.follow<HTMLSelectElement>("suite", "change", (state, { value }) =>
      Object.assign(state, { suite: value, era: "", columns: null, sort: "rank", isDown: false }),
    );
    this.follow<HTMLSelectElement>("era", "change", (state, { value }) => (state.era = value));
    this.follow<HTMLInputElement>("date", "change", (state, { value }) => (state.date = value));
    this.follow<HTMLInputElement>("organization", "change", (state, { value }) => (state.organization = value.trim()));
    this.follow<HTMLInputElement>("size-from", "change", (state, { value }) => (state.sizeFrom = readSize(value)));
    this.follow<HTMLInputElement>("size-to", "change", (state, { value }) => (state.sizeTo = readSize(value)));
    this.follow<HTMLSelectElement>("scores", "change", (state, { value }) => (state.isRaw = value === "raw"));
    this.follow<HTMLSelectElement>("ranks", "change", (state, { value }) => (state.ranksShown = value === "shown"));
    this.follow<HTMLSelectElement>(
      "averages",
      "change",
      (state, { value }) => (state.averagesShown = value === "shown"),
    );
    this.follow<HTMLInputElement>("shades", "change", (state, { checked }) => (state.hasShades = checked));
    for (const name of Object.keys(CHOICES)) this.makeChoice(name);
    document.addEventListener("keydown", (event) => this.shortcut(event));
  }

  private follow<T extends HTMLElement>(
    id: string,
    event: string,
    put: (state: State, control: T) => void,
    isTyping = false,
  ): void {
    const control = get<T>(id);
    control.addEventListener(event, () => this.change((state) => put(state, control), isTyping));
  }

  private open(id: string | null): void {
    for (const other of PANELS) {
      const isOpen = other === id && get(other).hidden;
      get(other).hidden = !isOpen;
      get(`open-${other}`).setAttribute("aria-expanded", String(isOpen));
    }
  }

  private shortcut(event: KeyboardEvent): void {
    const search = get<HTMLInputElement>("search");
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      search.focus();
      search.select();
      event.preventDefault();
    } else if (event.key === "Escape") {
      const panel = PANELS.find((id) => get(id).contains(document.activeElement));
      if (!panel) return;
      this.open(null);
      get(`open-${panel}`).focus();
    }
  }

  private makeChoice(name: string): void {
    const select = get<HTMLSelectElement>(`choice-${name}`);
    select.replaceChildren(makeOption("", "all"), ...CHOICES[name].map(([value, title]) => makeOption(value, title)));
    select.addEventListener("change", () => this.change((state) => (state.choices[name] = select.value)));
  }

  /** What can be chosen in a suite. */
  fill(suite: Suite): void {
    if (this.suite === suite) return;
    this.suite = suite;
    for (const [name, column] of Object.entries(LISTS)) this.makeList(name, column, suite);
    const organizations = [...(suite.texts.get("organization")?.texts ?? [])].sort((a, b) => a.localeCompare(b, "en"));
    get("organizations").replaceChildren(...organizations.map((name) => makeOption(name)));
    get("era").replaceChildren(...suite.eras.map((era, number) => makeOption(era, number ? era : `${era} (current)`)));
    get("era-field").hidden = suite.eras.length < 2;
    const days = (suite.texts.get("known_at")?.texts ?? []).slice().sort();
    const date = get<HTMLInputElement>("date");
    date.min = days[0] ?? "";
    date.max = days[days.length - 1] ?? "";
    this.makeColumnBoxes(suite);
  }

  private makeList(name: string, column: string, suite: Suite): void {
    // Counted is the current board; values of older commits and other eras can be chosen, too.
    const counts = new Map<string, number>();
    for (let row = 0; row < suite.n; row++) {
      const text = readText(suite, column, row);
      const isCounted = readText(suite, "era", row) === suite.eras[0] && readNumber(suite, "rank", row) > 0;
      counts.set(text, (counts.get(text) ?? 0) + Number(isCounted));
    }
    const values = [...counts].sort(
      ([a, n], [b, m]) => Number(a === "") - Number(b === "") || m - n || (a < b ? -1 : 1),
    );
    const list = get(`list-${name}`);
    list.replaceChildren(
      ...values.map(([value, count]) =>
        makeBox(value, value || "unknown", String(count), () =>
          this.change((state) => {
            state.lists[name] = readBoxes(list);
          }),
        ),
      ),
    );
    (list.closest("fieldset") as HTMLElement).hidden = values.length < 2;
  }

  private makeColumnBoxes(suite: Suite): void {
    const list = get("column-list");
    const columns = [...suite.columns.values()].filter(({ key }) => key !== "model_id");
    list.replaceChildren(
      ...columns.map(({ key, title, help }) => {
        const label = makeBox(key, title, "", () => this.change((state) => (state.columns = readBoxes(list))));
        label.title = help;
        return label;
      }),
    );
  }

  /** Show a state and its view. */
  show(suite: Suite, state: State, view: View): void {
    const search = get<HTMLInputElement>("search");
    if (search.value !== state.query) search.value = state.query;
    search.setAttribute("aria-invalid", String(view.message !== ""));
    get<HTMLSelectElement>("suite").value = suite.suite;
    get<HTMLSelectElement>("era").value = findEra(suite, state);
    get<HTMLInputElement>("date").value = state.date;
    get<HTMLInputElement>("organization").value = state.organization;
    get<HTMLInputElement>("size-from").value = state.sizeFrom;
    get<HTMLInputElement>("size-to").value = state.sizeTo;
    get<HTMLSelectElement>("scores").value = state.isRaw ? "raw" : "normalized";
    get<HTMLSelectElement>("ranks").value = state.ranksShown ? "shown" : "all";
    get<HTMLSelectElement>("averages").value = state.averagesShown ? "shown" : "all";
    get<HTMLInputElement>("shades").checked = state.hasShades;
    for (const name of Object.keys(CHOICES)) get<HTMLSelectElement>(`choice-${name}`).value = state.choices[name] ?? "";
    for (const name of Object.keys(LISTS)) checkBoxes(get(`list-${name}`), state.lists[name] ?? []);
    checkBoxes(
      get("column-list"),
      view.columns.map(({ key }) => key),
    );
    get("about").textContent = `${suite.title}, era ${findEra(suite, state)} · `;
    get("reset").hidden = writeState({ ...state, suite: "" }) === "";
    const nFilters = countFilters(state);
    get("n-filters").textContent = nFilters ? ` (${nFilters})` : "";
    this.tell(state, view);
  }

  private tell(state: State, view: View): void {
    const models = (n: number) => `${n.toLocaleString("en-US")} ${n === 1 ? "model" : "models"}`;
    const parts =
      view.rows.length === view.nAll
        ? [models(view.nAll)]
        : [`${view.rows.length.toLocaleString("en-US")} of ${models(view.nAll)}`];
    if (view.nTied >= 0) parts.push(`≈ not separable from the first: ${models(view.nTied)}`);
    if (state.date) parts.push(`as of ${state.date}`);
    if (state.averagesShown) parts.push("average of the shown benchmarks");
    if (state.ranksShown) parts.push("ranks among those shown");
    if (!view.hasPlaces) parts.push("without places, which are among all models of today");
    if (view.pins.length) parts.push(`${view.pins.length} pinned`);
    get("status").textContent = parts.join(" · ");
    get("message").textContent =
      view.message || (view.rows.length ? "" : "No model matches. Change the search or the filters.");
  }
}

function makeOption(value: string, title?: string): HTMLOptionElement {
  const option = document.createElement("option");
  option.value = value;
  if (title !== undefined) option.textContent = title;
  return option;
}

function makeBox(value: string, title: string, count: string, changed: () => void): HTMLLabelElement {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = value;
  box.addEventListener("change", changed);
  label.append(box, ` ${title} `);
  if (count) {
    const small = document.createElement("small");
    small.textContent = count;
    label.append(small);
  }
  return label;
}

function listBoxes(list: HTMLElement): HTMLInputElement[] {
  return [...list.querySelectorAll("input")];
}

function readBoxes(list: HTMLElement): string[] {
  return listBoxes(list)
    .filter(({ checked }) => checked)
    .map(({ value }) => value);
}

function checkBoxes(list: HTMLElement, values: string[]): void {
  const wanted = new Set(values);
  for (const box of listBoxes(list)) box.checked = wanted.has(box.value);
}
