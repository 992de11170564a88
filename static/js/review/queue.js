// The review queue: t takes or releases the case of the row, h hands it over.

import { onKey, openDialog } from "../frame.js";

const row = () => document.activeElement?.closest("[data-rows] tr");

function press(selector) {
  const button = openDialog() ? null : row()?.querySelector(selector);
  button?.click();
  return Boolean(button);
}

function handOver(button) {
  const dialog = document.getElementById("hand-over");
  dialog.querySelector("form").action = button.dataset.handOver;
  dialog.querySelector("[data-accession]").textContent = button.dataset.accession;
  for (const group of dialog.querySelectorAll("optgroup")) {
    group.hidden = group.disabled = group.dataset.site !== button.dataset.site;
  }
  dialog.querySelector("select").value = "";
  dialog.showModal();
}

onKey("t", () => press("[data-take]"));
onKey("h", () => press("[data-hand-over]"));
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-hand-over]");
  if (button) handOver(button);
});
