// The panel under the gallery: the selected cell in full, and all that is known of it.

import { certainty } from "./gallery.js";
import { draw, make, say } from "./make.js";
import { Stage } from "./stage.js";

const REPORTED = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"];
const time = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });

const get = (id) => document.getElementById(id);

export class Detail {
  constructor(bench) {
    this.case = bench;
    this.stage = new Stage(get("detail-stage"), bench.config.urls);
    this.map = false;
  }

  render() {
    const cell = this.case.cell(this.case.cursor);
    if (!cell) return;
    this.stage.show(cell, this.map);
    say(get("detail-title"), this.title(cell));
    say(get("detail-state"), this.state(cell));
    say(get("detail-why"), cell.why + (cell.why && cell.closest ? ` Its closest class is ${this.name(cell.closest).toLowerCase()}.` : ""));
    say(get("detail-file"), [cell.file, `${cell.width} × ${cell.height} px`, cell.model, cell.unlikeness === null ? "" : `unlikeness ${cell.unlikeness.toFixed(2)}`].filter(Boolean).join(" · "));
    probabilities(get("detail-probabilities"), cell, this.case);
    this.history(cell);
    this.comments(cell);
  }

  name(key) {
    return this.case.byKey.get(key).name;
  }

  title(cell) {
    const key = this.case.group(cell.id);
    if (!cell.closest) return this.name(key);
    if (key === cell.closest) return `${this.name(key)} ${certainty(cell.confidence)}`;
    return `${this.name(key)} (the model: ${this.name(cell.closest).toLowerCase()}, ${certainty(cell.confidence)})`;
  }

  state(cell) {
    if (cell.wanted !== undefined) return "Not saved yet.";
    if (!cell.label) return "Unreviewed.";
    return `Reviewed by ${cell.by?.id === this.case.config.user || !cell.by ? "you" : cell.by.name}.`;
  }

  history(cell) {
    const lines = cell.history.map((one) =>
      make("li", {}, make("strong", {}, one.label ? this.name(one.label) : "taken back"), ` ${one.by.name}, `, stamp(one.at)));
    const first = cell.closest ? [make("li", {}, make("strong", {}, this.name(cell.proposed)), ` ${cell.model}`)] : [];
    get("detail-history").replaceChildren(...lines.reverse(), ...first);
  }

  comments(cell) {
    get("detail-comments")?.replaceChildren(...(cell.comments.length ? cell.comments.map(commentLine) : [make("li", { class: "muted" }, "none")]));
  }
}

export const stamp = (iso) => make("time", { datetime: iso, title: iso }, time.format(new Date(iso)));

export function commentLine(comment) {
  return make("li", {}, comment.text, " ", make("span", { class: "muted" }, `${comment.by.name}, `, stamp(comment.at), comment.on_report ? ", on the report" : ""));
}

/** Bars in reporting order: those that keep their place are compared. */
export function probabilities(body, cell, bench) {
  if (!body.rows.length) body.append(...REPORTED.map((key) => probabilityRow(bench.byKey.get(key))));
  const model = bench.classes.filter((one) => one.predicted).map((one) => one.key);
  REPORTED.forEach((key, i) => {
    const value = cell.probabilities[model.indexOf(key)] ?? 0;
    const row = body.rows[i];
    row.className = key === cell.closest ? "top" : "";
    row.querySelector(".bar-fill").setAttribute("width", (100 * value).toFixed(1));
    say(row.cells[2], cell.probabilities.length ? `${(100 * value).toFixed(1)}\u202f%` : "–");
  });
}

function probabilityRow({ key, name }) {
  const bar = draw("svg", { class: `bar class-${key}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "bar-track", width: "100", height: "10" }), draw("rect", { class: "bar-fill", height: "10" }));
  return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, bar), make("td", { class: "number" }));
}
