// The gallery: one tab stop, arrows move by place on the screen, Enter opens the cell beside it.

import { onKey, openDialog } from "./frame.js";

const SIZE = "wbclab.tile";
const tiles = () => [...document.querySelectorAll("#cells .tile")];

function rove(tile) {
  for (const other of tiles()) other.tabIndex = other === tile ? 0 : -1;
}

/** The tile nearest above (-1) or below (1), by what the eye sees. */
function vertical(from, direction, all) {
  const here = from.getBoundingClientRect();
  let best = null;
  let bestRow = Infinity;
  let bestOffset = Infinity;
  for (const tile of all) {
    const box = tile.getBoundingClientRect();
    const row = (box.top - here.top) * direction;
    if (row < here.height / 2) continue;
    const offset = Math.abs(box.left - here.left);
    if (row < bestRow - 4 || (row < bestRow + 4 && offset < bestOffset)) {
      [best, bestRow, bestOffset] = [tile, row, offset];
    }
  }
  return best;
}

function move(event) {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = tiles();
  const at = all.indexOf(tile);
  const next = {
    ArrowRight: () => all[at + 1],
    ArrowLeft: () => all[at - 1],
    ArrowDown: () => vertical(tile, 1, all),
    ArrowUp: () => vertical(tile, -1, all),
    Home: () => all[0],
    End: () => all.at(-1),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  const target = next();
  if (target) focusTile(target);
}

export function focusTile(tile) {
  rove(tile);
  tile.focus({ preventScroll: true });
  tile.scrollIntoView({ block: "nearest" });
}

function keepOneTabStop() {
  const all = tiles();
  if (all.length && !all.some((tile) => tile.tabIndex === 0)) rove(all[0]);
  else rove(all.find((tile) => tile === document.activeElement) ?? all.find((t) => t.tabIndex === 0));
}

// The style sheet is the only place the content security policy lets a size stand, so the rule is
// changed there and not on the element.
function applySize(pixels) {
  document.documentElement.style.setProperty("--tile", `${pixels}px`);
}

function startSize() {
  let remembered = null;
  try {
    remembered = localStorage.getItem(SIZE);
  } catch {
    // Storage is switched off: the size holds for this page.
  }
  const restore = () => {
    const slider = document.getElementById("size");
    if (slider && remembered) slider.value = remembered;
  };
  if (remembered) applySize(remembered);
  restore();
  document.addEventListener("htmx:afterSettle", restore);
  document.addEventListener("input", (event) => {
    if (event.target.id !== "size") return;
    remembered = event.target.value;
    applySize(remembered);
    try {
      localStorage.setItem(SIZE, remembered);
    } catch {
      // As above.
    }
  });
}

export function startGallery() {
  const live = document.getElementById("live");
  if (!live) return;
  keepOneTabStop();
  live.addEventListener("htmx:afterSettle", keepOneTabStop);
  live.addEventListener("keydown", move);
  live.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) rove(tile);
  });
  onKey("g", () => {
    const first = tiles().find((tile) => tile.tabIndex === 0) ?? tiles()[0];
    if (openDialog() || !first) return false;
    focusTile(first);
    return true;
  });
  startSize();
}
