// What a reader has chosen, and how the address says it: defaults are left out, so that a view can be sent to somebody.

/** Filters with one value each, and what may be chosen instead of "all". */
export const CHOICES: Record<string, [value: string, title: string][]> = {
  template: [
    ["yes", "with"],
    ["no", "without"],
  ],
  merges: [
    ["no", "without merges"],
    ["only", "only merges"],
  ],
  flagged: [
    ["no", "without flagged"],
    ["only", "only flagged"],
  ],
  unavailable: [
    ["no", "without unavailable"],
    ["only", "only unavailable"],
  ],
  official: [
    ["yes", "only official"],
    ["no", "only others"],
  ],
  source: [
    ["run", "own runs"],
    ["import", "imported"],
  ],
};
/** Filters with several values, by the column that they compare. */
export const LISTS: Record<string, string> = {
  type: "model_type",
  precision: "precision",
  license: "license",
  country: "country",
};

export interface State {
  suite: string;
  era: string;
  /** The board as of this day; empty: today. */
  date: string;
  query: string;
  choices: Record<string, string>;
  lists: Record<string, string[]>;
  organization: string;
  sizeFrom: string;
  sizeTo: string;
  sort: string;
  isDown: boolean;
  /** Keys of the columns that are shown; null: the usual ones. */
  columns: string[] | null;
  pins: string[];
  isRaw: boolean;
  ranksShown: boolean;
  averagesShown: boolean;
  hasShades: boolean;
}

export function makeState(): State {
  return {
    suite: "",
    era: "",
    date: "",
    query: "",
    choices: {},
    lists: {},
    organization: "",
    sizeFrom: "",
    sizeTo: "",
    sort: "rank",
    isDown: false,
    columns: null,
    pins: [],
    isRaw: false,
    ranksShown: false,
    averagesShown: false,
    hasShades: true,
  };
}

/** How the address says a state, without the sign #. */
export function writeState(state: State): string {
  const out = new URLSearchParams();
  const put = (name: string, value: string) => value && out.set(name, value);
  put("suite", state.suite);
  put("era", state.era);
  put("date", state.date);
  put("q", state.query);
  for (const name of Object.keys(LISTS)) for (const value of state.lists[name] ?? []) out.append(name, value);
  put("organization", state.organization);
  put("from", state.sizeFrom);
  put("to", state.sizeTo);
  for (const name of Object.keys(CHOICES)) put(name, state.choices[name] ?? "");
  if (state.sort !== "rank" || state.isDown) out.set("sort", (state.isDown ? "-" : "") + state.sort);
  if (state.columns) out.set("columns", state.columns.join(","));
  for (const pin of state.pins) out.append("pin", pin);
  put("scores", state.isRaw ? "raw" : "");
  put("ranks", state.ranksShown ? "shown" : "");
  put("average", state.averagesShown ? "shown" : "");
  put("shades", state.hasShades ? "" : "no");
  return out.toString();
}

/** The state that an address says; what it does not know is left out. */
export function readState(hash: string): State {
  const from = new URLSearchParams(hash.replace(/^#/, ""));
  const get = (name: string) => from.get(name) ?? "";
  const state = makeState();
  state.suite = get("suite");
  state.era = get("era");
  state.date = /^\d{4}-\d\d-\d\d$/.test(get("date")) ? get("date") : "";
  state.query = get("q");
  for (const name of Object.keys(LISTS)) if (from.has(name)) state.lists[name] = [...new Set(from.getAll(name))];
  state.organization = get("organization");
  state.sizeFrom = readSize(get("from"));
  state.sizeTo = readSize(get("to"));
  for (const [name, values] of Object.entries(CHOICES))
    if (values.some(([value]) => value === get(name))) state.choices[name] = get(name);
  const sort = get("sort") || "rank";
  state.isDown = sort.startsWith("-");
  state.sort = sort.replace(/^-/, "");
  state.columns = from.has("columns") ? get("columns").split(",").filter(Boolean) : null;
  state.pins = [...new Set(from.getAll("pin"))];
  state.isRaw = get("scores") === "raw";
  state.ranksShown = get("ranks") === "shown";
  state.averagesShown = get("average") === "shown";
  state.hasShades = get("shades") !== "no";
  return state;
}

export function readSize(text: string): string {
  return text !== "" && Number(text) >= 0 && Number.isFinite(Number(text)) ? text : "";
}

/** How many filters let something out. */
export function countFilters(state: State): number {
  const lists = Object.values(state.lists).filter((values) => values.length).length;
  const choices = Object.values(state.choices).filter(Boolean).length;
  return lists + choices + [state.organization, state.sizeFrom || state.sizeTo].filter(Boolean).length;
}
