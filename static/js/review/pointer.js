// The mouse at the bench: click, Ctrl-click, Shift-click, and drag to another group. One listener
// for all tiles.

const cellOf = (event) => {
  const tile = event.target.closest?.(".cell");
  return tile ? Number(tile.dataset.id) : null;
};
const groupOf = (event) => event.target.closest?.("[data-group]") ?? null;

export class Pointer {
  constructor(host, bench) {
    this.host = host;
    Object.assign(this, bench); // case, acts, gallery, views
    host.addEventListener("click", (event) => this.click(event));
    host.addEventListener("dblclick", (event) => cellOf(event) !== null && this.views.large());
    host.addEventListener("dragstart", (event) => this.start(event));
    host.addEventListener("dragover", (event) => this.over(event));
    host.addEventListener("drop", (event) => this.drop(event));
    host.addEventListener("dragend", () => this.end());
  }

  click(event) {
    const id = cellOf(event);
    if (id === null) return;
    if (event.ctrlKey || event.metaKey) this.toggle(id);
    else this.acts.goTo(id, { extend: event.shiftKey });
  }

  toggle(id) {
    const { selection } = this.case;
    const kept = new Set(selection);
    if (kept.has(id) && kept.size > 1) kept.delete(id);
    else kept.add(id);
    this.acts.goTo(id);
    this.case.selection = kept;
    this.gallery.follow();
    this.acts.selectedCount();
  }

  start(event) {
    const id = cellOf(event);
    if (id === null || !this.case.editable) {
      event.preventDefault();
      return;
    }
    this.dragged = this.case.selection.has(id) ? this.case.targets() : [id];
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", String(this.dragged.length));
    // Groups without a cell appear only now, and only after the browser took its picture of the tile.
    setTimeout(() => this.host.classList.add("dragging"));
  }

  over(event) {
    const group = groupOf(event);
    if (!this.dragged || !group) return;
    event.preventDefault();
    if (this.target === group) return;
    this.target?.classList.remove("over");
    this.target = group;
    group.classList.add("over");
  }

  drop(event) {
    const group = groupOf(event);
    if (!this.dragged || !group) return;
    event.preventDefault();
    const ids = this.dragged;
    this.end();
    this.acts.assign(group.dataset.group, ids);
  }

  end() {
    this.host.classList.remove("dragging");
    this.target?.classList.remove("over");
    this.dragged = this.target = null;
  }
}
