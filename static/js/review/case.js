// The case in the browser: which cell stands where, where the cursor is, what is selected. No page
// and no network here.

const REPORTED = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"];

export class Case {
  constructor(config) {
    this.config = config;
    this.setClasses(config.classes);
    const rest = config.classes.map((one) => one.key).filter((key) => !REPORTED.includes(key) && key !== "unidentified");
    this.order = ["unidentified", ...REPORTED, ...rest];
    this.cells = new Map();
    this.groups = new Map(this.order.map((key) => [key, []]));
    this.hidden = new Set();
    this.selection = new Set();
    this.cursor = null;
    this.anchor = null;
    this.comments = [];
    this.editable = true;
  }

  setClasses(classes) {
    this.classes = classes;
    this.byKey = new Map(classes.map((one) => [one.key, one]));
    this.byHotkey = new Map(classes.map((one) => [one.hotkey, one.key]));
  }

  cell(id) {
    return this.cells.get(id);
  }

  /** The person's label: what is being saved, else what the server has. Empty: unreviewed. */
  label(id) {
    const cell = this.cells.get(id);
    return cell.wanted ?? cell.label;
  }

  /** The group a cell stands in: the person's word, else the machine's. */
  group(id) {
    return this.label(id) || this.cells.get(id).proposed;
  }

  compare(a, b) {
    return this.cells.get(a).confidence - this.cells.get(b).confidence || a - b;
  }

  /** Take a cell in, or anew; returns its group and the id it now stands before (null: last). */
  insert(id) {
    const key = this.group(id);
    const members = this.groups.get(key);
    let low = 0;
    let high = members.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.compare(members[middle], id) < 0) low = middle + 1;
      else high = middle;
    }
    members.splice(low, 0, id);
    this.cells.get(id).standsIn = key;
    return { key, before: members[low + 1] ?? null };
  }

  remove(id) {
    const members = this.groups.get(this.cells.get(id).standsIn);
    const at = members.indexOf(id);
    if (at >= 0) members.splice(at, 1);
  }

  visible(key) {
    const members = this.groups.get(key);
    return this.hidden.size ? members.filter((id) => !this.hidden.has(id)) : members;
  }

  /** All visible cells in the order of the page. */
  flat() {
    return this.order.flatMap((key) => this.visible(key));
  }

  counts() {
    return new Map(this.order.map((key) => [key, this.groups.get(key).length]));
  }

  reviewed() {
    let count = 0;
    for (const id of this.cells.keys()) if (this.label(id)) count += 1;
    return count;
  }

  /** What an act applies to: the selection, else the cell under the cursor; in page order. */
  targets() {
    if (this.selection.size > 1) return this.flat().filter((id) => this.selection.has(id));
    return this.cursor === null ? [] : [this.cursor];
  }

  /** The cell to go to when `ids` leave `key`: the next of that group, else of the groups after. */
  successor(key, ids) {
    const leaving = new Set(ids);
    const members = this.visible(key);
    const last = Math.max(...members.map((id, i) => (leaving.has(id) ? i : -1)));
    const after = members.slice(last + 1).find((id) => !leaving.has(id));
    if (after !== undefined) return after;
    const at = this.order.indexOf(key);
    for (const next of this.order.slice(at + 1)) {
      const found = this.visible(next).find((id) => !leaving.has(id));
      if (found !== undefined) return found;
    }
    return this.flat().findLast((id) => !leaving.has(id)) ?? null;
  }

  /** The cell one step away; up and down keep the column, across groups as well. */
  neighbour(step, columns) {
    const flat = this.flat();
    if (this.cursor === null || this.hidden.has(this.cursor)) return flat[0] ?? null;
    const at = flat.indexOf(this.cursor);
    if (step === "left") return flat[at - 1] ?? null;
    if (step === "right") return flat[at + 1] ?? null;
    if (step === "first") return flat[0];
    if (step === "last") return flat.at(-1);
    return this.vertical(step === "down" ? 1 : -1, columns);
  }

  vertical(direction, columns) {
    const key = this.cells.get(this.cursor).standsIn;
    const members = this.visible(key);
    const at = members.indexOf(this.cursor);
    const column = at % columns;
    const rows = Math.ceil(members.length / columns);
    const row = Math.floor(at / columns) + direction;
    if (row >= 0 && row < rows) return members[Math.min(row * columns + column, members.length - 1)];
    const keys = this.order.filter((one) => this.visible(one).length);
    const next = keys[keys.indexOf(key) + direction];
    if (!next) return null;
    const there = this.visible(next);
    const start = direction > 0 ? 0 : (Math.ceil(there.length / columns) - 1) * columns;
    return there[Math.min(start + column, there.length - 1)];
  }

  /** The cells between two, both included, in the order of the page. */
  between(from, to) {
    const flat = this.flat();
    const [a, b] = [flat.indexOf(from), flat.indexOf(to)].sort((x, y) => x - y);
    return a < 0 ? [to] : flat.slice(a, b + 1);
  }
}
