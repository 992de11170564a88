// Lists: j and k move from row to row, a click anywhere in a row opens it.

import { onKey, openDialog } from "./frame.js";

const links = () => [...document.querySelectorAll("[data-rows] .row-link")];

function step(by) {
  const all = links();
  if (openDialog() || all.length === 0) return false;
  const at = all.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by;
  const link = all[Math.min(all.length - 1, Math.max(0, next))];
  link.focus({ preventScroll: true });
  link.closest("tr").scrollIntoView({ block: "nearest" });
  return true;
}

export function startRows() {
  onKey("j", () => step(1));
  onKey("k", () => step(-1));
  document.getElementById("list")?.addEventListener("click", (event) => {
    const row = event.target.closest("[data-rows] tbody tr");
    if (!row || event.target.closest("a, button, form") || window.getSelection().toString()) return;
    row.querySelector(".row-link").click();
  });
}
