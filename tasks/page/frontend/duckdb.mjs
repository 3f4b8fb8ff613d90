// Writes DuckDB-WASM as a classic script, which a page opened from disk can load: its worker and its module as texts, packed
// by fflate, because zlib's bytes differ between versions of Node and between processors.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "fflate";

const LIBRARY = "node_modules/@duckdb/duckdb-wasm/";
const NOTICE = `/*! DuckDB-WASM ${JSON.parse(readFileSync(`${LIBRARY}package.json`, "utf8")).version}, https://github.com/duckdb/duckdb-wasm, with Apache Arrow (Apache-2.0).
Copyright 2021 DuckDB WASM Contributors (see https://github.com/duckdb/duckdb-wasm/graphs/contributors)

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */`;

function pack(file) {
  const packed = gzipSync(readFileSync(`${LIBRARY}dist/${file}`), { level: 9, mtime: 0 });
  return Buffer.from(packed).toString("base64");
}

const files = { worker: pack("duckdb-browser-eh.worker.js"), module: pack("duckdb-eh.wasm") };
writeFileSync("../assets/duckdb.js", `${NOTICE}\nwindow.duckdbFiles=${JSON.stringify(files)};\n`);
