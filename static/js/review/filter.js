// Narrow the gallery by words: a class, "unreviewed", "comment", "<80", part of a file name.

export class Filter {
  constructor(bench) {
    Object.assign(this, bench); // case, gallery, acts
    this.field = document.getElementById("filter");
    this.field.addEventListener("input", () => this.apply());
    this.field.addEventListener("keydown", (event) => this.key(event));
  }

  focus() {
    this.field.focus();
    this.field.select();
  }

  key(event) {
    if (event.key === "Escape") {
      this.field.value = "";
      this.apply();
    }
    if (!["Escape", "Enter", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    const first = this.case.flat()[0];
    const { cursor, hidden } = this.case;
    if (first !== undefined) this.acts.goTo(cursor === null || hidden.has(cursor) ? first : cursor);
  }

  apply() {
    const words = this.field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hidden = new Set();
    for (const cell of this.case.cells.values()) {
      if (!words.every((word) => this.matches(cell, word))) hidden.add(cell.id);
    }
    this.case.hidden = hidden;
    for (const [id, tile] of this.gallery.tiles) tile.hidden = hidden.has(id);
    for (const key of this.case.order) this.gallery.head(key);
    if (hidden.has(this.case.cursor)) this.acts.goTo(this.case.flat()[0], { focus: false });
  }

  matches(cell, word) {
    if (word === "unreviewed") return !this.case.label(cell.id);
    if (word === "reviewed") return Boolean(this.case.label(cell.id));
    if (word.startsWith("comment")) return cell.comments.length > 0;
    const bound = /^([<>])(\d{1,3})%?$/.exec(word);
    if (bound) return bound[1] === "<" ? 100 * cell.confidence < bound[2] : 100 * cell.confidence > bound[2];
    const { name, code } = this.case.byKey.get(this.case.group(cell.id));
    return [name, code].some((text) => text.toLowerCase().startsWith(word)) || cell.file.toLowerCase().includes(word);
  }
}
