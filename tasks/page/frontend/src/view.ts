// What is shown for a state: which rows, in which order, with which ranks and averages. Pure.

import { type Column, type Suite, findBenchmark, readNumber, readText } from "./data";
import { search } from "./search";
import { type State, LISTS } from "./state";

export interface View {
  columns: Column[];
  /** Rows in the order in which they are shown. */
  rows: number[];
  /** Rows of pinned models: on top, whatever the filters. */
  pins: number[];
  /** How many rows the board has without filters. */
  nAll: number;
  /** By row: rank, average and its interval; NaN where there is none. */
  ranks: Float64Array;
  averages: Averages;
  /** By row: 1 where the average is not separable from the best one that is shown. */
  tied: Uint8Array;
  /** How many others are not separable from the first; -1: not known. */
  nTied: number;
  /** Whether ranges of places, which are those of all models today, say something of the ranks that are shown. */
  hasPlaces: boolean;
  message: string;
}

interface Averages {
  average: Float64Array;
  low: Float64Array;
  high: Float64Array;
}

export type Screen = "narrow" | "usual" | "wide";

// What a screen has no room for, or has room for, unless the reader chooses columns.
const NOT_NARROW = new Set(["places", "band"]);
const WIDE = new Set(["model_type", "precision", "chat_template", "base_model", "known_at"]);

function listShownColumns(suite: Suite, state: State, screen: Screen): Column[] {
  const chosen = state.columns && new Set([...state.columns, "model_id"]);
  const isUsual = ({ key, is_shown }: Column) =>
    screen === "narrow" ? is_shown && !NOT_NARROW.has(key) : is_shown || (screen === "wide" && WIDE.has(key));
  return [...suite.columns.values()].filter((column) => (chosen ? chosen.has(column.key) : isUsual(column)));
}

export function makeView(suite: Suite, state: State, screen: Screen): View {
  const columns = listShownColumns(suite, state, screen);
  const board = state.date
    ? listRowsAsOf(suite, findEra(suite, state), state.date)
    : listRowsToday(suite, findEra(suite, state));
  const averages = findAverages(suite, state, columns);
  const found = search(suite, state.query);
  const isShown = makeFilter(suite, state);
  const shown = board.filter((row) => isShown(row) && (found.isMatch === null || found.isMatch(row)));
  const hasPlaces = !state.date && !state.averagesShown && !state.ranksShown;
  const ranks = hasPlaces
    ? (suite.numbers.get("rank") ?? new Float64Array(suite.n).fill(NaN))
    : rankRows(suite, averages.average, state.ranksShown ? shown : board);
  const pinned = new Set(state.pins);
  const { tied, nTied } = findTies(suite, averages, shown);
  const view: View = {
    columns,
    rows: shown,
    pins: board.filter((row) => pinned.has(readText(suite, "model_id", row))),
    nAll: board.length,
    ranks,
    averages,
    tied,
    nTied,
    hasPlaces,
    message: found.message,
  };
  view.rows = sortRows(suite, state, view);
  return view;
}

export function findEra(suite: Suite, state: State): string {
  return suite.eras.includes(state.era) ? state.era : (suite.eras[0] ?? "");
}

function listRowsToday(suite: Suite, era: string): number[] {
  const ranks = suite.numbers.get("rank");
  const rows: number[] = [];
  for (let row = 0; row < suite.n; row++)
    if (ranks && !Number.isNaN(ranks[row]) && readText(suite, "era", row) === era) rows.push(row);
  return rows;
}

/** The newest commit known on a day, for each model, settings and source; an own run stands for the rows of boards. */
function listRowsAsOf(suite: Suite, era: string, day: string): number[] {
  const newest = new Map<string, number>();
  const withRun = new Set<string>();
  const age = (row: number) =>
    [readText(suite, "committed_at", row), readText(suite, "known_at", row), readText(suite, "revision", row)].join(
      " ",
    );
  const identify = (row: number) =>
    JSON.stringify([
      readText(suite, "model_id", row),
      readText(suite, "precision", row),
      readNumber(suite, "chat_template", row),
      readText(suite, "settings", row),
    ]);
  for (let row = 0; row < suite.n; row++) {
    if (readText(suite, "era", row) !== era || readText(suite, "known_at", row) > day) continue;
    const source = readText(suite, "source", row);
    if (source === "run") withRun.add(identify(row));
    const key = identify(row) + source;
    const other = newest.get(key);
    if (other === undefined || age(row) > age(other)) newest.set(key, row);
  }
  return [...newest.values()].filter(
    (row) => ["run", "import:results"].includes(readText(suite, "source", row)) || !withRun.has(identify(row)),
  );
}

/** The averages of all benchmarks, or of those that are shown. */
function findAverages(suite: Suite, state: State, columns: Column[]): Averages {
  const shown = columns.map(({ key }) => findBenchmark(suite, key)).filter((number) => number >= 0);
  if (state.averagesShown) return averageBenchmarks(suite, shown);
  const none = new Float64Array(suite.n).fill(NaN);
  const average = suite.numbers.get("average") ?? none;
  return {
    average,
    low: suite.numbers.get("average_low") ?? none,
    high: suite.numbers.get("average_high") ?? none,
  };
}

/** Mean of some benchmarks; half-widths of their intervals are combined as those of independent values (MOVER). */
function averageBenchmarks(suite: Suite, benchmarks: number[]): Averages {
  const average = new Float64Array(suite.n).fill(NaN);
  const low = new Float64Array(suite.n).fill(NaN);
  const high = new Float64Array(suite.n).fill(NaN);
  for (let row = 0; benchmarks.length && row < suite.n; row++) {
    let sum = 0,
      below = 0,
      above = 0;
    for (const number of benchmarks) {
      const scores = suite.scores[number];
      sum += scores.normalized[row];
      below += scores.low[row] ** 2;
      above += scores.high[row] ** 2;
    }
    average[row] = sum / benchmarks.length;
    low[row] = Math.max(0, average[row] - Math.sqrt(below) / benchmarks.length);
    high[row] = Math.min(100, average[row] + Math.sqrt(above) / benchmarks.length);
  }
  return { average, low, high };
}

/** Ranks by average, then fewer parameters, then the evaluated model before its copies, then the name. */
function rankRows(suite: Suite, average: Float64Array, rows: number[]): Float64Array {
  const ranks = new Float64Array(suite.n).fill(NaN);
  const size = (row: number) => {
    const value = readNumber(suite, "params_b", row);
    return Number.isNaN(value) ? Infinity : value;
  };
  const order = rows
    .filter((row) => !Number.isNaN(average[row]))
    .sort(
      (a, b) =>
        average[b] - average[a] ||
        compareNumbers(size(a), size(b)) ||
        Number(readText(suite, "identical_to", a) !== "") - Number(readText(suite, "identical_to", b) !== "") ||
        a - b,
    );
  order.forEach((row, place) => (ranks[row] = place + 1));
  return ranks;
}

function compareNumbers(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** How much wider an interval of 95% gets that is one of n (Bonferroni), as the ranges of places have it. */
function findWidening(n: number): number {
  const t = Math.sqrt(-2 * Math.log(0.025 / Math.max(1, n)));
  // The normal quantile, to 0.0005 (Abramowitz & Stegun 26.2.23).
  const top = 2.515517 + t * (0.802853 + t * 0.010328);
  return (t - top / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)))) / 1.959964;
}

/** Two averages are separable if the interval of their difference is above 0 (MOVER). */
function isSeparable({ average, low, high }: Averages, better: number, worse: number, widening: number): boolean {
  const half = Math.hypot(average[better] - low[better], high[worse] - average[worse]);
  return average[better] - average[worse] > widening * half;
}

/** Those that may be the best of what is shown: all differences to the first one are tested at once. */
function findTies(suite: Suite, averages: Averages, rows: number[]): { tied: Uint8Array; nTied: number } {
  const tied = new Uint8Array(suite.n);
  const { average, low, high } = averages;
  const best = rows.reduce((a, b) => (a < 0 || average[b] > average[a] ? b : a), -1);
  if (best < 0 || Number.isNaN(low[best])) return { tied, nTied: -1 };
  // Copies share an evaluation.
  const nEvaluated = rows.filter((row) => readText(suite, "identical_to", row) === "").length;
  const widening = findWidening(nEvaluated - 1);
  let nTied = 0;
  for (const row of rows) {
    if (row === best || Number.isNaN(high[row]) || isSeparable(averages, best, row, widening)) continue;
    tied[row] = 1;
    nTied++;
  }
  return { tied, nTied };
}

function makeFilter(suite: Suite, state: State): (row: number) => boolean {
  const tests: ((row: number) => boolean)[] = [];
  for (const [name, column] of Object.entries(LISTS)) {
    const wanted = new Set(state.lists[name] ?? []);
    if (wanted.size) tests.push((row) => wanted.has(readText(suite, column, row)));
  }
  const organization = state.organization.toLowerCase();
  if (organization) tests.push((row) => readText(suite, "organization", row).toLowerCase() === organization);
  if (state.sizeFrom) tests.push((row) => readNumber(suite, "params_b", row) >= Number(state.sizeFrom));
  if (state.sizeTo) tests.push((row) => readNumber(suite, "params_b", row) <= Number(state.sizeTo));
  for (const [name, choice] of Object.entries(state.choices)) if (choice) tests.push(makeChoice(suite, name, choice));
  return (row) => tests.every((test) => test(row));
}

function makeChoice(suite: Suite, name: string, choice: string): (row: number) => boolean {
  const wanted = choice === "yes" || choice === "only";
  const isTrue = (column: string) => (row: number) => (readNumber(suite, column, row) === 1) === wanted;
  switch (name) {
    case "template":
      return isTrue("chat_template");
    case "merges":
      return isTrue("is_merged");
    case "flagged":
      return isTrue("is_flagged");
    case "official":
      return isTrue("is_official");
    case "unavailable":
      return (row) => !["", "available"].includes(readText(suite, "model_state", row)) === wanted;
    default:
      return (row) => (readText(suite, "source", row) === "run") === (choice === "run");
  }
}

/** Rows by the chosen column; those without a value last, equal ones by rank. */
function sortRows(suite: Suite, state: State, view: View): number[] {
  const values = listSortValues(suite, state, view);
  const { ranks } = view;
  const rank = (row: number) => (Number.isNaN(ranks[row]) ? Infinity : ranks[row]);
  const sign = state.isDown ? -1 : 1;
  return view.rows.slice().sort((a, b) => {
    const [left, right] = [values[a], values[b]];
    if (left === right || (left !== left && right !== right)) return compareNumbers(rank(a), rank(b)) || a - b;
    if (left !== left) return 1;
    if (right !== right) return -1;
    return left < right ? -sign : sign;
  });
}

const compareTexts = new Intl.Collator("en", { sensitivity: "base", numeric: true }).compare;
const sortedTexts = new WeakMap<Int32Array, Float64Array>();

function listSortValues(suite: Suite, state: State, view: View): Float64Array {
  const key = state.sort;
  if (key === "rank") return view.ranks;
  if (key === "average") return view.averages.average;
  if (key === "interval") return view.averages.low;
  if (key === "places" || key === "band") return (view.hasPlaces && suite.numbers.get("rank_low")) || view.ranks;
  const benchmark = findBenchmark(suite, key);
  if (benchmark >= 0) return state.isRaw ? suite.scores[benchmark].raw : suite.scores[benchmark].normalized;
  const column = suite.texts.get(key);
  if (!column) return suite.numbers.get(key) ?? view.ranks;
  let values = sortedTexts.get(column.of);
  if (!values) {
    // Texts are compared once each; then rows are compared by numbers.
    const places = new Float64Array(column.texts.length);
    column.texts
      .map((_, number) => number)
      .sort((a, b) => compareTexts(column.texts[a], column.texts[b]))
      .forEach((number, place) => (places[number] = place));
    values = Float64Array.from(column.of, (number) => (number < 0 ? NaN : places[number]));
    sortedTexts.set(column.of, values);
  }
  return values;
}
