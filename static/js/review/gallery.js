// The groups and tiles on the page. A tile is made once; afterwards it is moved and touched up.

import { make, mark, say } from "./make.js";

const SIZE = "wbclab.review.tile";
const GAP = 8;

export class Gallery {
  constructor(host, bench) {
    this.host = host;
    this.case = bench;
    this.tiles = new Map();
    this.lists = new Map();
    this.selected = new Set();
    this.thumbnail = bench.config.urls.thumbnail;
    this.startSize();
    new ResizeObserver(() => this.measure()).observe(host);
  }

  build() {
    const sections = this.case.order.map((key) => this.section(key));
    for (const key of this.case.order) {
      const list = this.lists.get(key).list;
      list.append(...this.case.groups.get(key).map((id) => this.tile(id)));
    }
    this.host.replaceChildren(...sections);
    this.host.setAttribute("aria-busy", "false");
    for (const key of this.case.order) this.head(key);
    this.measure();
  }

  section(key) {
    const { name } = this.case.byKey.get(key);
    const count = make("span", { class: "figures" });
    const todo = make("span", { class: "hint" });
    const heading = make("h3", { id: `group-${key}` }, make("span", { class: "swatch", "aria-hidden": "true" }), `${name} `, count, " ", todo);
    const list = make("ul", { class: "tiles", role: "listbox", "aria-labelledby": `group-${key}`, "aria-multiselectable": "true" });
    const section = make("section", { class: `group class-${key}`, "data-group": key }, heading, list);
    this.lists.set(key, { section, list, count, todo });
    return section;
  }

  tile(id) {
    const picture = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false", src: this.thumbnail.replace("/0/", `/${id}/`) });
    const code = make("span", { class: "code" });
    const by = make("span", { class: "by" });
    const certainty = make("span", { class: "confidence" });
    const tile = make("li", { class: "cell", role: "option", "data-id": id, tabindex: "-1", draggable: "true", "aria-selected": "false" },
      picture, make("span", { class: "dot", "aria-hidden": "true" }), make("span", { class: "caption" }, code, by, certainty));
    this.tiles.set(id, Object.assign(tile, { parts: { code, by, certainty } }));
    this.paint(id);
    return tile;
  }

  /** Bring what a tile says in line with its cell. */
  paint(id) {
    const tile = this.tiles.get(id);
    const cell = this.case.cell(id);
    const label = this.case.label(id);
    const standing = this.case.byKey.get(this.case.group(id));
    const confidence = certainty(cell.confidence);
    const other = cell.by && cell.wanted === undefined && cell.by.id !== this.case.config.user ? cell.by.initials : "";
    const { classList } = tile;
    if (!classList.contains(`class-${standing.key}`)) tile.className = `cell class-${standing.key}`;
    classList.toggle("unreviewed", !label);
    classList.toggle("unsaved", cell.wanted !== undefined);
    classList.toggle("commented", cell.comments.length > 0);
    classList.toggle("conflict", Boolean(cell.conflict));
    say(tile.parts.code, standing.code + this.differs(cell, standing.key));
    say(tile.parts.by, other);
    say(tile.parts.certainty, confidence);
    mark(tile, "aria-label", `${standing.name}, ${confidence}, ${label ? "reviewed" : "unreviewed"}${other ? ` by ${cell.by.name}` : ""}, ${cell.file}`);
    tile.hidden = this.case.hidden.has(id);
  }

  /** " LYM?": what the model made of a cell that stands elsewhere, or abstained on. */
  differs(cell, key) {
    const closest = this.case.byKey.get(cell.closest);
    return closest && closest.key !== key ? ` ${closest.code}?` : "";
  }

  /** Put a tile where its cell stands now. */
  place(id) {
    const from = this.case.cell(id).standsIn;
    this.case.remove(id);
    const { key, before } = this.case.insert(id);
    const tile = this.tiles.get(id) ?? this.tile(id);
    this.lists.get(key).list.insertBefore(tile, before === null ? null : this.tiles.get(before));
    this.paint(id);
    if (from && from !== key) this.head(from);
    this.head(key);
  }

  head(key) {
    const { section, list, count, todo } = this.lists.get(key);
    const members = this.case.groups.get(key);
    const shown = this.case.visible(key).length;
    const open = members.reduce((sum, id) => sum + (this.case.label(id) ? 0 : 1), 0);
    say(count, shown === members.length ? `${members.length}` : `${shown} of ${members.length}`);
    if (key === "unidentified") say(todo, "a person gives each of them a class");
    else say(todo, open ? `${open} unreviewed` : members.length ? "all reviewed" : "");
    list.hidden = shown === 0;
    const isReported = this.case.byKey.get(key).predicted;
    section.classList.toggle("empty-group", shown === 0 && (!isReported || this.case.hidden.size > 0));
  }

  /** Move the tab stop and the focus to the cursor, and show which cells are selected. */
  follow({ focus = true } = {}) {
    const { cursor, selection } = this.case;
    for (const id of this.selected) if (!selection.has(id)) this.tiles.get(id)?.setAttribute("aria-selected", "false");
    for (const id of selection) if (!this.selected.has(id)) this.tiles.get(id)?.setAttribute("aria-selected", "true");
    this.selected = new Set(selection);
    const tile = this.tiles.get(cursor);
    if (this.current !== tile) {
      if (this.current) {
        this.current.tabIndex = -1;
        this.current.classList.remove("cursor");
      }
      this.current = tile;
    }
    if (!tile) return;
    tile.tabIndex = 0;
    tile.classList.add("cursor");
    if (!focus) return;
    tile.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
  }

  measure() {
    const width = Math.max(...[...this.lists.values()].map(({ list }) => list.clientWidth), 1);
    this.columns = Math.max(1, Math.floor((width + GAP) / (this.size + GAP)));
  }

  startSize() {
    const slider = document.getElementById("tile-size");
    const apply = (pixels) => {
      this.size = Number(pixels);
      this.host.style.setProperty("--tile", `${pixels}px`);
    };
    try {
      slider.value = localStorage.getItem(SIZE) ?? slider.value;
    } catch {
      // Storage is switched off: the size holds for this page.
    }
    apply(slider.value);
    slider.addEventListener("input", () => {
      apply(slider.value);
      this.measure();
      try {
        localStorage.setItem(SIZE, slider.value);
      } catch {
        // As above.
      }
    });
  }
}

/** Whole per cent; never the 100 % that no model can mean. */
export function certainty(value) {
  return value >= 0.995 ? ">\u202f99\u202f%" : `${Math.round(100 * value)}\u202f%`;
}
