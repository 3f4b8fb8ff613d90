// The search: words, "words in quotes", /regular expressions/, @column:value, @column:"" for none, and - before what must
// not be there.

import { type Suite, findBenchmark } from "./data";

/** Which rows match; or `message`: what is wrong with the query. */
export type Found = { isMatch: (row: number) => boolean; message: "" } | { isMatch: null; message: string };
type Test = (row: number) => boolean;

const OTHER_NAMES: Record<string, string> = {
  model: "model_id",
  name: "model_id",
  type: "model_type",
  size: "params_b",
  params: "params_b",
  org: "organization",
  template: "chat_template",
  chat: "chat_template",
  merge: "is_merged",
  merged: "is_merged",
  merges: "is_merged",
  moe: "is_moe",
  experts: "is_moe",
  flagged: "is_flagged",
  official: "is_official",
  state: "model_state",
  commit: "revision",
  base: "base_model",
  arch: "architecture",
  co2: "co2_kg",
  licence: "license",
  uploaded: "uploaded_at",
  committed: "committed_at",
  known: "known_at",
  places: "rank_low",
  era: "era",
};
// A sign, a column, and a value: in quotes, between slashes, or up to the next space.
const TERM = /(-?)(?:@([\w.-]+):)?(?:"([^"]*)"?|\/((?:\\.|[^\\/])+)\/(i?)|(\S+))/g;
const COMPARISON = /^(>=|<=|>|<|=)?(-?\d+(?:\.\d+)?)$|^(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)$/;

export function search(suite: Suite, query: string): Found {
  const tests: Test[] = [];
  for (const [whole, minus, name, quoted, regex, , word] of query.matchAll(TERM)) {
    const value = quoted ?? word ?? "";
    // A term that is being typed.
    if (!name && regex === undefined && (value === "" || value === "-" || value.startsWith("@"))) continue;
    try {
      const matches = regex === undefined ? makeWordTest(value) : makeRegexTest(regex);
      const test = findTest(suite, name ?? "model_id", matches, value, regex !== undefined);
      tests.push(minus ? (row) => !test(row) : test);
    } catch (error) {
      return {
        isMatch: null,
        message:
          error instanceof SyntaxError ? `${whole}: not a regular expression.` : String((error as Error).message),
      };
    }
  }
  return { isMatch: (row) => tests.every((test) => test(row)), message: "" };
}

function makeWordTest(word: string): (text: string) => boolean {
  const wanted = word.toLowerCase();
  return (text) => text.toLowerCase().includes(wanted);
}

function makeRegexTest(source: string): (text: string) => boolean {
  const regex = new RegExp(source, "i");
  return (text) => regex.test(text);
}

function findTest(
  suite: Suite,
  given: string,
  matches: (text: string) => boolean,
  value: string,
  isRegex: boolean,
): Test {
  const name = OTHER_NAMES[given.toLowerCase()] ?? given.toLowerCase();
  const texts = suite.texts.get(name);
  if (texts && value === "" && !isRegex) return (row) => texts.of[row] < 0;
  if (texts) {
    // Each text is looked at once, however many rows have it.
    const found = Uint8Array.from(texts.texts, (text) => (matches(text) ? 1 : 0));
    return (row) => texts.of[row] >= 0 && found[texts.of[row]] === 1;
  }
  const benchmark = findBenchmark(suite, `score:${name}`);
  const numbers = benchmark < 0 ? suite.numbers.get(name) : suite.scores[benchmark].normalized;
  if (!numbers)
    throw new Error(
      `@${given}: no column is called so. Some are: license, organization, type, precision, size, average.`,
    );
  if (suite.columns.get(name)?.kind === "yes" && /^(yes|no|true|false)$/i.test(value)) {
    const wanted = /^(yes|true)$/i.test(value) ? 1 : 0;
    return (row) => numbers[row] === wanted;
  }
  const found = isRegex ? null : COMPARISON.exec(value);
  if (!found) throw new Error(`@${given}:${value}: a number is needed, such as @${given}:>=7 or @${given}:7..14.`);
  return compare(numbers, found);
}

function compare(numbers: Float64Array, [, sign, number, from, to]: RegExpExecArray): Test {
  if (from !== undefined) return (row) => numbers[row] >= Number(from) && numbers[row] <= Number(to);
  const limit = Number(number);
  switch (sign) {
    case ">":
      return (row) => numbers[row] > limit;
    case ">=":
      return (row) => numbers[row] >= limit;
    case "<":
      return (row) => numbers[row] < limit;
    case "<=":
      return (row) => numbers[row] <= limit;
    default:
      return (row) => numbers[row] === limit;
  }
}
