// A picture of one cell at full size: zoom, move, lay the explanation map over it.

import { draw } from "./make.js";

const FACTORS = [1, 1.5, 2, 3, 4, 6, 8];

export class Stage {
  constructor(host, urls) {
    this.host = host;
    this.urls = urls;
    this.linked = [];
    this.map = false;
    this.picture = draw("image");
    this.overlay = draw("image", { class: "overlay", opacity: "0.5", visibility: "hidden" });
    this.svg = draw("svg", { class: "picture", role: "img" }, this.picture, this.overlay);
    this.reset();
    this.startPointer();
  }

  /** Show a cell; the same cell again changes nothing but the map. */
  show(cell, map) {
    this.map = map;
    if (this.cell?.id !== cell.id) {
      this.cell = cell;
      const { width, height } = cell;
      const side = Math.min(width, height);
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.svg.setAttribute("aria-label", cell.file);
      const url = cell.original ? this.urls.image : this.urls.thumbnail;
      set(this.picture, { width, height, href: url.replace("/0/", `/${cell.id}/`) });
      set(this.overlay, { x: (width - side) / 2, y: (height - side) / 2, width: side, height: side });
      this.overlay.removeAttribute("href");
      if (!this.svg.isConnected) this.host.append(this.svg);
      this.reset();
    }
    if (map && cell.model && !this.overlay.hasAttribute("href")) {
      this.overlay.setAttribute("href", this.urls.explanation.replace("/0/", `/${cell.id}/`));
    }
    this.overlay.setAttribute("visibility", map ? "visible" : "hidden");
  }

  reset() {
    [this.factor, this.x, this.y] = [1, 0, 0];
    this.apply();
  }

  zoom(step) {
    const at = FACTORS.findIndex((factor) => factor >= this.factor);
    this.factor = FACTORS[Math.min(FACTORS.length - 1, Math.max(0, at + step))];
    this.pan(0, 0);
  }

  pan(dx, dy) {
    const box = this.host.getBoundingClientRect();
    const clamp = (value, side) => Math.max(-(side * (this.factor - 1)) / 2, Math.min((side * (this.factor - 1)) / 2, value));
    this.x = clamp(this.x + dx, box.width);
    this.y = clamp(this.y + dy, box.height);
    this.apply();
    for (const other of this.linked) {
      Object.assign(other, { factor: this.factor, x: this.x, y: this.y });
      other.apply();
    }
    this.zoomed?.(this.factor);
  }

  apply() {
    this.svg.style.transform = this.factor === 1 ? "" : `translate(${this.x}px, ${this.y}px) scale(${this.factor})`;
    this.host.classList.toggle("zoomed", this.factor > 1);
  }

  startPointer() {
    let held = false;
    this.host.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    this.host.addEventListener("dblclick", () => this.zoom(this.factor === 1 ? 2 : -FACTORS.length));
    this.host.addEventListener("pointerdown", (event) => {
      if (this.factor === 1 || event.button !== 0) return;
      held = true;
      this.host.setPointerCapture(event.pointerId);
      this.host.classList.add("dragged");
    });
    this.host.addEventListener("pointermove", (event) => {
      if (held) this.pan(event.movementX, event.movementY);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.host.addEventListener(end, () => {
        held = false;
        this.host.classList.remove("dragged");
      });
    }
  }
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}
