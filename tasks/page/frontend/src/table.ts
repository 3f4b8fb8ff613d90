// The table: draws only the rows that are in sight, as a real table with all its rows counted for screen readers.

import { type Column, linkModel, readText } from "./data";
import { type Drawn, findShade, placeBand, tellScore, writeCell } from "./cells";

// Rows that are drawn above and below those in sight; others are drawn when fewer than the second number are left.
const MARGIN = 12;
const MIN_MARGIN = 3;
// So many pinned rows stay in sight; more would fill a small screen.
const MAX_STICKY = 6;

export interface Wishes {
  sort: (key: string) => void;
  pin: (model: string) => void;
}

interface Line {
  tr: HTMLTableRowElement;
  cells: HTMLTableCellElement[];
  link: HTMLAnchorElement;
  pin: HTMLButtonElement;
  row: number;
  /** The place among pinned and other rows, from 0. */
  place: number;
}

export class Table {
  private readonly scroller: HTMLElement;
  private drawn: Drawn | null = null;
  private lines: Line[] = [];
  private pinLines: Line[] = [];
  private shownColumns = "";
  private readonly above = makeSpacer();
  private readonly below = makeSpacer();
  private readonly pinBody = document.createElement("tbody");
  private readonly body = document.createElement("tbody");
  private active = 0;
  private rowHeight = 28;
  private isWaiting = false;

  constructor(
    private readonly table: HTMLTableElement,
    private readonly wishes: Wishes,
  ) {
    this.scroller = table.parentElement as HTMLElement;
    this.pinBody.className = "pins";
    this.scroller.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    new ResizeObserver(() => this.drawSoon()).observe(this.scroller);
    this.table.addEventListener("keydown", (event) => this.walk(event));
    this.table.addEventListener("mouseover", (event) => this.tell(event.target as HTMLElement));
    this.table.addEventListener("focusin", (event) => this.follow(event.target as HTMLElement));
  }

  /** Draw another view; `isOther`: its rows or their order differ, so that the first ones come into sight. */
  show(drawn: Drawn, isOther: boolean): void {
    this.drawn = drawn;
    const { view } = drawn;
    const columns = view.columns.map(({ key }) => key).join();
    const { scrollTop } = this.scroller;
    if (columns !== this.shownColumns) this.makeColumns(view.columns);
    this.shownColumns = columns;
    this.markSorting();
    this.table.setAttribute("aria-rowcount", String(1 + view.pins.length + view.rows.length));
    this.table.setAttribute("aria-colcount", String(view.columns.length));
    this.table.classList.toggle("shades", drawn.state.hasShades);
    this.shiftPlaces(view.pins.length - this.pinLines.length);
    if (isOther) this.active = 0;
    // As high as it will be, so that the place in it can be kept.
    this.readRowHeight();
    if (!this.lines.length) setHeight(this.below, view.rows.length * this.rowHeight);
    this.scroller.scrollTop = isOther ? 0 : scrollTop;
    this.drawPins();
    this.draw(true);
  }

  private makeColumns(columns: Column[]): void {
    this.table.classList.add("is-live");
    const focused = (document.activeElement as HTMLElement | null)?.closest<HTMLElement>("thead th")?.dataset.key;
    const group = document.createElement("colgroup");
    for (const column of columns) {
      const col = document.createElement("col");
      col.className = `c-${column.kind}`;
      if (column.kind !== "model") col.width = String(column.width);
      group.append(col);
    }
    const head = document.createElement("thead");
    const tr = head.insertRow();
    tr.setAttribute("aria-rowindex", "1");
    for (const column of columns) tr.append(this.makeHeader(column));
    this.table.querySelectorAll("colgroup, thead, tbody").forEach((part) => part.remove());
    this.table.append(group, head, this.pinBody, this.body);
    this.body.replaceChildren(this.above, this.below);
    this.pinBody.replaceChildren();
    this.lines = [];
    this.pinLines = [];
    this.above.cells[0].colSpan = this.below.cells[0].colSpan = columns.length;
    if (focused) this.table.querySelector<HTMLElement>(`th[data-key="${CSS.escape(focused)}"] button`)?.focus();
  }

  private makeHeader(column: Column): HTMLTableCellElement {
    const th = document.createElement("th");
    th.scope = "col";
    th.className = `c-${column.kind}`;
    th.dataset.key = column.key;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.title = column.help;
    button.addEventListener("click", () => this.wishes.sort(column.key));
    th.append(button);
    return th;
  }

  private markSorting(): void {
    const { state } = this.drawn as Drawn;
    for (const th of this.table.tHead?.rows[0].cells ?? []) {
      if (th.dataset.key === state.sort) th.setAttribute("aria-sort", state.isDown ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
  }

  private drawSoon(): void {
    if (this.isWaiting || !this.drawn) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.draw(false);
    });
  }

  /** More or fewer pinned rows come before the others. */
  private shiftPlaces(shift: number): void {
    if (this.active >= this.pinLines.length) this.active += shift;
    for (const line of this.lines) line.place += shift;
  }

  private drawPins(): void {
    const { view } = this.drawn as Drawn;
    const head = this.table.tHead?.offsetHeight ?? 0;
    for (const { tr } of this.pinLines.splice(view.pins.length)) {
      if (tr.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
      tr.remove();
    }
    this.readRowHeight();
    view.pins.forEach((row, place) => {
      const line = (this.pinLines[place] ??= this.makeLine(this.pinBody));
      line.tr.style.top = place < MAX_STICKY ? `${head + place * this.rowHeight}px` : "";
      line.tr.classList.toggle("sticky", place < MAX_STICKY);
      this.fill(line, row, place);
    });
  }

  private readRowHeight(): void {
    this.rowHeight = parseFloat(getComputedStyle(this.table).getPropertyValue("--row")) || 28;
  }

  /** Draw the rows in sight, and some more. Without `isAll` only those that have come near. */
  private draw(isAll: boolean): void {
    const { view } = this.drawn as Drawn;
    const oldHeight = this.rowHeight;
    this.readRowHeight();
    const isOtherHeight = this.rowHeight !== oldHeight;
    const [first, end] = this.findSeen();
    const n = view.rows.length;
    if (!isAll && !isOtherHeight && this.covers(Math.max(0, first - MIN_MARGIN), Math.min(n, end + MIN_MARGIN))) return;
    const from = Math.max(0, first - MARGIN);
    const to = Math.min(n, end + MARGIN);
    this.letGo(from, to, first);
    this.place(from, to, isAll);
    setHeight(this.above, from * this.rowHeight);
    setHeight(this.below, (n - to) * this.rowHeight);
    this.markActive();
    if (isOtherHeight) this.drawPins();
  }

  /** From which row to which, in the order of the view, the scroller is. */
  private findSeen(): [first: number, end: number] {
    const { view } = this.drawn as Drawn;
    const nSeen = Math.ceil(this.scroller.clientHeight / this.rowHeight);
    const first = Math.floor(this.scroller.scrollTop / this.rowHeight) - view.pins.length;
    const kept = Math.max(0, Math.min(first, view.rows.length - nSeen));
    return [kept, Math.min(view.rows.length, kept + nSeen)];
  }

  /** Whether rows are drawn already. */
  private covers(from: number, to: number): boolean {
    const nPins = (this.drawn as Drawn).view.pins.length;
    const [first, last] = [this.lines[0], this.lines[this.lines.length - 1]];
    return first !== undefined && first.place - nPins <= from && last.place - nPins + 1 >= to;
  }

  /** A focused row that will not be drawn leaves the focus to the table; of others, one in sight is in the order of tabs. */
  private letGo(from: number, to: number, first: number): void {
    const { view } = this.drawn as Drawn;
    const nPins = view.pins.length;
    const isDrawn = (place: number) => place < nPins || (place >= nPins + from && place < nPins + to);
    const focused = this.findLine(document.activeElement);
    if (focused && !isDrawn(focused.place)) this.scroller.focus({ preventScroll: true });
    else if (!focused && !isDrawn(this.active)) this.active = nPins + first;
  }

  /** Put the lines from one row to another one into the table; those that are not needed any more are filled anew. */
  private place(from: number, to: number, isAll: boolean): void {
    const { view } = this.drawn as Drawn;
    const nPins = view.pins.length;
    const isKept = ({ place }: Line) => place - nPins >= from && place - nPins < to;
    const free = this.lines.filter((line) => !isKept(line));
    const kept = new Map(this.lines.filter(isKept).map((line) => [line.place - nPins, line]));
    this.lines = [];
    let before: Element = this.above;
    for (let index = from; index < to; index++) {
      const old = kept.get(index);
      const line = old ?? free.pop() ?? this.makeLine(this.body);
      if (before.nextSibling !== line.tr) before.after(line.tr);
      before = line.tr;
      if (isAll || !old) this.fill(line, view.rows[index], nPins + index);
      this.lines.push(line);
    }
    for (const { tr } of free) tr.remove();
  }

  private makeLine(body: HTMLTableSectionElement): Line {
    const { view } = this.drawn as Drawn;
    const tr = document.createElement("tr");
    const link = document.createElement("a");
    link.append(makeSpan("owner"), makeSpan("name"));
    const pin = document.createElement("button");
    pin.type = "button";
    pin.className = "pin";
    const line: Line = { tr, cells: [], link, pin, row: -1, place: -1 };
    pin.addEventListener("click", () => this.wishes.pin(readText((this.drawn as Drawn).suite, "model_id", line.row)));
    for (const column of view.columns) {
      const cell = document.createElement(column.kind === "model" ? "th" : "td");
      cell.className = `c-${column.kind}`;
      if (column.kind === "model") {
        cell.scope = "row";
        cell.append(pin, link);
      }
      line.cells.push(cell);
      tr.append(cell);
    }
    if (body === this.pinBody) body.append(tr);
    return line;
  }

  private fill(line: Line, row: number, place: number): void {
    const drawn = this.drawn as Drawn;
    const { suite, state, view } = drawn;
    line.row = row;
    line.place = place;
    line.tr.setAttribute("aria-rowindex", String(place + 2));
    view.columns.forEach((column, number) => {
      const cell = line.cells[number];
      if (column.kind === "model") this.fillModel(line, cell);
      else if (column.kind === "band") fillBand(cell, placeBand(drawn, row));
      else {
        const text = writeCell(drawn, column, row);
        if (cell.firstChild?.nodeValue !== text || cell.childNodes.length > 1) cell.textContent = text;
        if (column.kind === "text") cell.title = text;
        if (column.kind === "score")
          cell.className = state.hasShades ? `c-score s${findShade(suite, column, row)}` : "c-score";
        if (column.key === "rank" && view.tied[row]) cell.append(makeTie());
      }
    });
  }

  private fillModel(line: Line, cell: HTMLTableCellElement): void {
    const { suite, state } = this.drawn as Drawn;
    const model = readText(suite, "model_id", line.row);
    const [owner, name] = model.includes("/")
      ? [model.slice(0, model.indexOf("/") + 1), model.slice(model.indexOf("/") + 1)]
      : ["", model];
    line.link.children[0].textContent = owner;
    line.link.children[1].textContent = name;
    line.link.href = linkModel(suite, model);
    cell.title = model;
    const isPinned = state.pins.includes(model);
    line.pin.setAttribute("aria-pressed", String(isPinned));
    line.pin.setAttribute("aria-label", `Pin ${model}`);
    line.pin.title = isPinned ? "Unpin" : "Pin to the top";
  }

  /** One row of the table is in the order of tabs; arrows go to others. */
  private markActive(): void {
    for (const line of [...this.pinLines, ...this.lines]) {
      const tab = line.place === this.active ? 0 : -1;
      line.link.tabIndex = tab;
      line.pin.tabIndex = tab;
    }
  }

  private follow(target: HTMLElement): void {
    const line = this.findLine(target);
    if (!line) return;
    this.active = line.place;
    this.markActive();
  }

  /** What the pointer is on: the interval of a score. */
  private tell(target: HTMLElement): void {
    const cell = target.closest("td");
    const line = this.findLine(cell);
    if (!this.drawn || !cell || !line || !cell.classList.contains("c-score")) return;
    cell.title = tellScore(this.drawn, this.drawn.view.columns[line.cells.indexOf(cell)], line.row);
  }

  private findLine(target: Element | null): Line | undefined {
    const tr = target?.closest("tr");
    return [...this.pinLines, ...this.lines].find((line) => line.tr === tr);
  }

  private walk(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const line = this.findLine(target);
    if (!line || !this.drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    const { view } = this.drawn;
    const last = view.pins.length + view.rows.length - 1;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight) - view.pins.length - 2);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -last,
      End: last,
    };
    if (event.key in steps) this.goTo(Math.max(0, Math.min(last, line.place + steps[event.key])), target === line.pin);
    else if (event.key === "ArrowLeft") line.pin.focus();
    else if (event.key === "ArrowRight") line.link.focus();
    else if (event.key === "p") line.pin.click();
    else return;
    event.preventDefault();
  }

  private goTo(place: number, isPin: boolean): void {
    const { view } = this.drawn as Drawn;
    const nPins = view.pins.length;
    this.active = place;
    if (place >= nPins) {
      const hidden = (this.table.tHead?.offsetHeight ?? 0) + Math.min(nPins, MAX_STICKY) * this.rowHeight;
      const top = (this.table.tHead?.offsetHeight ?? 0) + place * this.rowHeight;
      const { scrollTop, clientHeight } = this.scroller;
      if (top - hidden < scrollTop) this.scroller.scrollTop = top - hidden;
      else if (top + this.rowHeight > scrollTop + clientHeight)
        this.scroller.scrollTop = top + this.rowHeight - clientHeight;
      this.draw(false);
    }
    const line = [...this.pinLines, ...this.lines].find((other) => other.place === place);
    (isPin ? line?.pin : line?.link)?.focus({ preventScroll: true });
  }
}

function makeSpacer(): HTMLTableRowElement {
  const tr = document.createElement("tr");
  tr.className = "spacer";
  tr.setAttribute("aria-hidden", "true");
  tr.insertCell();
  return tr;
}

function setHeight(spacer: HTMLTableRowElement, height: number): void {
  spacer.hidden = height <= 0;
  spacer.cells[0].style.height = `${height}px`;
}

function makeSpan(name: string): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = name;
  return span;
}

function makeTie(): HTMLSpanElement {
  const span = makeSpan("tie");
  span.textContent = "≈";
  span.setAttribute("role", "img");
  span.setAttribute("aria-label", "not separable from the first");
  span.title = "Not separable from the first that is shown";
  return span;
}

function fillBand(cell: HTMLTableCellElement, band: [number, number] | null): void {
  let track = cell.firstElementChild as HTMLElement | null;
  if (!track) {
    cell.append((track = makeSpan("track")));
    track.append(makeSpan("bar"));
  }
  track.hidden = !band;
  if (!band) return;
  const bar = track.firstElementChild as HTMLElement;
  bar.style.left = `${band[0]}%`;
  bar.style.width = `${band[1]}%`;
}
