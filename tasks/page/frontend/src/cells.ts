// What a cell says, as text: for the table, for files and for the clipboard. ../../columns.py says the same for the first
// rows.

import { type Column, type Suite, findBenchmark, readNumber, readText } from "./data";
import type { State } from "./state";
import type { View } from "./view";

const N_SHADES = 8;

export interface Drawn {
  suite: Suite;
  state: State;
  view: View;
}

export function writeCell({ suite, state, view }: Drawn, column: Column, row: number): string {
  switch (column.kind) {
    case "score": {
      const scores = suite.scores[findBenchmark(suite, column.key)];
      return writeNumber(state.isRaw ? scores.raw[row] * 100 : scores.normalized[row], 2);
    }
    case "places":
      return view.hasPlaces
        ? writeSpan(readNumber(suite, "rank_low", row), readNumber(suite, "rank_high", row), 0)
        : "";
    case "interval": {
      const span = writeSpan(view.averages.low[row], view.averages.high[row], 2);
      return span && readNumber(suite, "is_approximate", row) ? `~${span}` : span;
    }
    case "band":
      return "";
    case "yes": {
      const value = readNumber(suite, column.key, row);
      return Number.isNaN(value) ? "" : value ? "yes" : "no";
    }
    case "number":
      if (column.key === "rank") return writeNumber(view.ranks[row], 0);
      if (column.key === "average") return writeNumber(view.averages.average[row], 2);
      if (column.key === "params_b") return writeShort(readNumber(suite, "params_b", row));
      return writeNumber(readNumber(suite, column.key, row), column.decimals);
    default:
      return readText(suite, column.key, row);
  }
}

/** A score with its interval, and as the task counts it. */
export function tellScore({ suite }: Drawn, column: Column, row: number): string {
  const { raw, normalized, low, high } = suite.scores[findBenchmark(suite, column.key)];
  if (Number.isNaN(normalized[row])) return "";
  const interval = writeSpan(normalized[row] - low[row], normalized[row] + high[row], 2);
  return `${column.title}: ${writeNumber(normalized[row], 2)}${interval && `, ${interval} at 95%`}, raw ${writeNumber(raw[row], 4)}`;
}

export function findShade(suite: Suite, column: Column, row: number): number {
  const benchmark = findBenchmark(suite, column.key);
  const score = suite.scores[benchmark].normalized[row];
  const [low, high] = suite.spans[benchmark];
  if (Number.isNaN(score)) return -1;
  return high > low ? Math.min(N_SHADES - 1, Math.floor(((score - low) / (high - low)) * N_SHADES)) : 0;
}

/** Where a range of places begins and how wide it is, in percent of all places; narrow ones stay visible. */
export function placeBand({ suite, view }: Drawn, row: number): [number, number] | null {
  const low = readNumber(suite, "rank_low", row);
  const high = readNumber(suite, "rank_high", row);
  if (!view.hasPlaces || Number.isNaN(low) || Number.isNaN(high) || !view.nAll) return null;
  const width = Math.min(100, Math.max(2.5, ((high - low + 1) / view.nAll) * 100));
  return [Math.min(((low - 1) / view.nAll) * 100, 100 - width), width];
}

function writeNumber(value: number, decimals: number): string {
  return Number.isNaN(value) ? "" : value.toFixed(decimals);
}

function writeShort(value: number): string {
  return Number.isNaN(value) ? "" : value.toFixed(3).replace(/\.?0+$/, "");
}

function writeSpan(low: number, high: number, decimals: number): string {
  if (Number.isNaN(low) || Number.isNaN(high)) return "";
  return low === high ? low.toFixed(decimals) : `${low.toFixed(decimals)}–${high.toFixed(decimals)}`;
}

/** All rows that are shown, pinned ones first, with the columns that are shown; a span is two columns. */
export function listCells(drawn: Drawn): string[][] {
  const { suite, view } = drawn;
  const columns = view.columns
    .filter(({ kind }) => kind !== "band")
    .flatMap((column): [string, (row: number) => string][] => {
      if (column.kind === "places")
        return ["rank_low", "rank_high"].map((name) => [
          name,
          (row) => (view.hasPlaces ? writeNumber(readNumber(suite, name, row), 0) : ""),
        ]);
      if (column.kind === "interval")
        return [
          ["average_low", (row) => writeNumber(view.averages.low[row], 2)],
          ["average_high", (row) => writeNumber(view.averages.high[row], 2)],
        ];
      return [[column.key.replace(/^score:/, ""), (row) => writeCell(drawn, column, row)]];
    });
  const pinned = new Set(view.pins);
  const rows = [...view.pins, ...view.rows.filter((row) => !pinned.has(row))];
  return [columns.map(([name]) => name), ...rows.map((row) => columns.map(([, write]) => write(row)))];
}

/** A text that a spreadsheet would take for a formula gets a quote before it. */
export function writeCsv(cells: string[][]): string {
  const quote = (text: string) => {
    const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return cells.map((row) => row.map(quote).join(",") + "\r\n").join("");
}

export function writeTsv(cells: string[][]): string {
  return cells.map((row) => row.map((text) => text.replace(/[\t\n\r]/g, " ")).join("\t") + "\n").join("");
}
