// Two ways to look closely: one cell large, and two cells side by side.

import { certainty } from "./gallery.js";
import { probabilities } from "./detail.js";
import { Stage } from "./stage.js";

const PAN = { ArrowLeft: [64, 0], ArrowRight: [-64, 0], ArrowUp: [0, 64], ArrowDown: [0, -64] };
const get = (id) => document.getElementById(id);

export class Views {
  constructor(bench) {
    Object.assign(this, bench); // case, acts, detail, notes
    this.stage = new Stage(get("large-stage"), this.case.config.urls);
    this.stage.zoomed = (factor) => {
      get("large-factor").textContent = `${factor}×`;
    };
    this.sides = [...document.querySelectorAll(".compare-side")].map((element) => ({
      element,
      stage: new Stage(element.querySelector(".viewport"), this.case.config.urls),
    }));
    const [left, right] = this.sides.map((side) => side.stage);
    left.linked = [right];
    right.linked = [left];
    left.zoomed = right.zoomed = (factor) => {
      get("compare-factor").textContent = `${factor}×`;
    };
    for (const name of ["large", "compare"]) get(name).addEventListener("close", () => this.closed());
  }

  get open() {
    return document.querySelector("dialog.large[open]");
  }

  closed() {
    this.pair = null;
    this.acts.goTo(this.case.cursor);
  }

  /** z: open the large view, or close what is open. */
  large() {
    if (this.open) {
      this.open.close();
      return;
    }
    if (this.case.cursor === null) return;
    get("large").showModal();
    this.render();
    get("large-stage").focus();
  }

  /** c: the two selected cells; with one selected, it and the next. */
  compare() {
    if (this.open) {
      this.open.close();
      return;
    }
    const ids = this.case.targets();
    if (ids.length === 1) ids.push(this.case.neighbour("right", 1));
    if (ids.length !== 2 || ids[1] === null) {
      this.notes.say("Select two cells to compare: Shift and an arrow, or Ctrl and a click.");
      return;
    }
    this.pair = ids;
    get("compare").showModal();
    this.choose(0);
  }

  choose(at) {
    this.active = at;
    this.case.cursor = this.pair[at];
    this.case.selection = new Set([this.pair[at]]);
    this.render();
    this.sides[at].element.focus();
  }

  /** A key while a view is open; true: it was meant for the view. */
  key(event) {
    const stage = this.pair ? this.sides[0].stage : this.stage;
    if (event.key === "+" || event.key === "=") stage.zoom(1);
    else if (event.key === "-") stage.zoom(-1);
    else if (PAN[event.key] && stage.factor > 1) stage.pan(...PAN[event.key]);
    else if (this.pair && event.key === "ArrowLeft") this.choose(0);
    else if (this.pair && event.key === "ArrowRight") this.choose(1);
    else if (this.pair && (event.key.startsWith("Arrow") || ["Home", "End", "g"].includes(event.key))) return true;
    else if (this.pair && (event.key === " " || this.case.byHotkey.has(event.key))) this.decide(event.key);
    else return false;
    return true;
  }

  /** In the comparison a class goes to the chosen side, and both cells stay where they are. */
  decide(key) {
    if (this.acts.blocked()) return;
    const id = this.pair[this.active];
    if (key === " ") this.acts.confirmAll([id]);
    else this.acts.change([{ id, to: this.case.byHotkey.get(key) }]);
    this.acts.counts.render();
    this.acts.outbox.flush();
    this.choose(this.active);
  }

  /** Follow the cursor, the map and every change. */
  render() {
    if (this.pair) {
      this.pair.forEach((id, i) => this.side(this.sides[i], this.case.cell(id)));
      this.sides.forEach(({ element }, i) => element.classList.toggle("chosen", i === this.active));
      return;
    }
    const cell = this.case.cell(this.case.cursor);
    if (!get("large").open || !cell) return;
    this.stage.show(cell, this.detail.map);
    this.stage.zoomed(this.stage.factor);
    get("large-title").textContent = this.detail.title(cell);
    get("large-state").textContent = `${this.detail.state(cell)} ${cell.file}`;
  }

  side({ element, stage }, cell) {
    stage.show(cell, this.detail.map);
    element.querySelector("h3").textContent = `${this.detail.name(this.case.group(cell.id))} ${cell.closest ? certainty(cell.confidence) : ""}`;
    element.querySelector(".hint").textContent = [this.detail.state(cell), cell.file, cell.why].filter(Boolean).join(" ");
    probabilities(element.querySelector("tbody"), cell, this.case);
  }
}
