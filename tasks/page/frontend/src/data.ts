// The rows of a suite: unpacks what ../../pack.py packs, and says what a row's cell holds.

export interface Column {
  key: string;
  title: string;
  kind: "number" | "places" | "band" | "model" | "interval" | "score" | "text" | "yes" | "date";
  width: number;
  help: string;
  is_shown: boolean;
  decimals: number;
}

interface PackedTexts {
  texts: string[];
  of?: (number | null)[];
}

interface PackedNumbers {
  scale: number;
  numbers: (number | boolean | null)[];
}

export interface Packed {
  suite: string;
  title: string;
  eras: string[];
  n: number;
  columns: Column[];
  benchmarks: string[];
  spans: [number, number][];
  values: Record<string, PackedTexts | PackedNumbers>;
  scores: Record<"raw" | "normalized" | "low" | "high", PackedNumbers>[];
  files: Record<string, string>;
}

/** A column of texts: each row has the number of its text, -1 for none. */
export interface Texts {
  texts: string[];
  of: Int32Array;
}

/** One benchmark's scores; `low` and `high`: how far the ends of the interval are away. NaN: none. */
export interface Scores {
  raw: Float64Array;
  normalized: Float64Array;
  low: Float64Array;
  high: Float64Array;
}

export interface Suite {
  suite: string;
  title: string;
  eras: string[];
  n: number;
  columns: Map<string, Column>;
  benchmarks: string[];
  spans: [number, number][];
  texts: Map<string, Texts>;
  numbers: Map<string, Float64Array>;
  scores: Scores[];
  files: Map<string, string>;
}

export function unpack(packed: Packed): Suite {
  const texts = new Map<string, Texts>();
  const numbers = new Map<string, Float64Array>();
  for (const [name, values] of Object.entries(packed.values)) {
    if ("texts" in values) texts.set(name, unpackTexts(values, packed.n));
    else numbers.set(name, unpackNumbers(values));
  }
  return {
    suite: packed.suite,
    title: packed.title,
    eras: packed.eras,
    n: packed.n,
    columns: new Map(packed.columns.map((column) => [column.key, column])),
    benchmarks: packed.benchmarks,
    spans: packed.spans,
    texts,
    numbers,
    files: new Map(Object.entries(packed.files)),
    scores: packed.scores.map(({ raw, normalized, low, high }) => ({
      raw: unpackNumbers(raw),
      normalized: unpackNumbers(normalized),
      low: unpackNumbers(low),
      high: unpackNumbers(high),
    })),
  };
}

function unpackTexts({ texts, of }: PackedTexts, n: number): Texts {
  const numbers = new Int32Array(n);
  for (let row = 0; row < n; row++) numbers[row] = of ? (of[row] ?? -1) : row;
  return { texts, of: numbers };
}

function unpackNumbers({ scale, numbers }: PackedNumbers): Float64Array {
  return Float64Array.from(numbers, (number) => (number === null ? NaN : Number(number) / scale));
}

export function readText(suite: Suite, name: string, row: number): string {
  const column = suite.texts.get(name);
  return column && column.of[row] >= 0 ? column.texts[column.of[row]] : "";
}

/** NaN where there is none. */
export function readNumber(suite: Suite, name: string, row: number): number {
  return suite.numbers.get(name)?.[row] ?? NaN;
}

/** Which benchmark a column of scores shows; -1: another column. */
export function findBenchmark(suite: Suite, key: string): number {
  return key.startsWith("score:") ? suite.benchmarks.indexOf(key.slice(6)) : -1;
}

/** The page of a model; the data name those that do not follow from the model's name. */
export function linkModel(suite: Suite, model: string): string {
  return `models/${suite.files.get(model) ?? `${model.replaceAll("/", "--")}.html`}`;
}
