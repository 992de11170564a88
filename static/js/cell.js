// One cell, as a page or in the panel: zoom and move the picture, lay the map over it, go on.

import { onKey, openDialog } from "./frame.js";
import { focusTile } from "./gallery.js";

const FACTORS = [1, 2, 4];
const view = { factor: 1, x: 0, y: 0, map: false, strength: "50" };

const root = () => document.querySelector("dialog[open] .cell-view") ?? document.querySelector("main > .cell-view");
const panel = () => document.getElementById("cell-panel");

function draw() {
  const cell = root();
  const picture = cell?.querySelector(".picture");
  if (!picture) return;
  picture.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.factor})`;
  cell.querySelector(".viewport").classList.toggle("zoomed", view.factor > 1);
  cell.querySelector("[data-zoom-factor]").textContent = `${view.factor}×`;
  const overlay = cell.querySelector(".overlay");
  if (!overlay) return;
  overlay.setAttribute("visibility", view.map ? "visible" : "hidden");
  overlay.setAttribute("opacity", String(Number(view.strength) / 100));
  cell.querySelector("[data-overlay-toggle]").setAttribute("aria-pressed", String(view.map));
  cell.querySelector("[data-overlay-strength]").value = view.strength;
}

function zoom(factor) {
  view.factor = factor;
  if (factor === 1) view.x = view.y = 0;
  draw();
}

const nextFactor = () => FACTORS[(FACTORS.indexOf(view.factor) + 1) % FACTORS.length];

function pan(dx, dy) {
  const box = root().querySelector(".viewport").getBoundingClientRect();
  const limit = (side) => (side * (view.factor - 1)) / 2;
  const clamp = (value, most) => Math.max(-most, Math.min(most, value));
  view.x = clamp(view.x + dx, limit(box.width));
  view.y = clamp(view.y + dy, limit(box.height));
  draw();
}

function toggleMap() {
  if (!root()?.querySelector(".overlay")) return false;
  view.map = !view.map;
  draw();
  return true;
}

async function show(address) {
  await window.htmx.ajax("GET", address, { target: "#cell-panel-body", swap: "innerHTML" });
  const dialog = panel();
  if (!dialog.querySelector(".cell-view")) return;
  if (!dialog.open) dialog.showModal();
  [view.factor, view.x, view.y] = [1, 0, 0];
  draw();
  dialog.querySelector(".viewport")?.focus({ preventScroll: true });
}

function go(rel) {
  const link = root()?.querySelector(`a[rel="${rel}"]`);
  if (!link) return false;
  link.click();
  return true;
}

function arrow(dx, dy, rel) {
  return () => {
    if (!root()) return false;
    if (view.factor > 1 && document.activeElement?.closest(".viewport")) {
      pan(dx, dy);
      return true;
    }
    return rel ? go(rel) : false;
  };
}

function startPointer() {
  let held = null;
  document.addEventListener("pointerdown", (event) => {
    const viewport = event.target.closest?.(".viewport");
    if (!viewport || view.factor === 1 || event.button !== 0) return;
    held = viewport;
    held.setPointerCapture(event.pointerId);
    held.classList.add("dragged");
  });
  document.addEventListener("pointermove", (event) => {
    if (held) pan(event.movementX, event.movementY);
  });
  const release = () => {
    held?.classList.remove("dragged");
    held = null;
  };
  document.addEventListener("pointerup", release);
  document.addEventListener("pointercancel", release);
  document.addEventListener("dblclick", (event) => {
    if (event.target.closest?.(".viewport")) zoom(nextFactor());
  });
}

function startClicks() {
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-zoom]")) zoom(nextFactor());
    if (event.target.closest("[data-overlay-toggle]")) toggleMap();
    const link = event.target.closest("a[data-panel]");
    const plain = !(event.ctrlKey || event.metaKey || event.shiftKey);
    if (link && panel() && plain) {
      event.preventDefault();
      show(link.getAttribute("href"));
    }
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-overlay-strength]")) return;
    view.strength = event.target.value;
    view.map = true;
    draw();
  });
}

export function startCell() {
  onKey("m", toggleMap);
  onKey("z", () => (root()?.querySelector(".picture") ? (zoom(nextFactor()), true) : false));
  onKey("ArrowLeft", arrow(48, 0, "prev"));
  onKey("ArrowRight", arrow(-48, 0, "next"));
  onKey("ArrowUp", arrow(0, 48));
  onKey("ArrowDown", arrow(0, -48));
  startPointer();
  startClicks();
  draw();
  panel()?.addEventListener("close", () => {
    const pk = panel().querySelector(".cell-view")?.dataset.cellView;
    const tile = document.querySelector(`[data-cell="${pk}"] .tile`);
    document.getElementById("cell-panel-body").replaceChildren();
    if (tile && !openDialog()) focusTile(tile);
  });
}
