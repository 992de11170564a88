// The running differential beside the gallery. Rows are made once for a class and then changed.

import { differential, hundredths, judge } from "./arithmetic.js";
import { draw, make, mark, say } from "./make.js";

const LETTERS = { low: "L", high: "H", critical_low: "LL", critical_high: "HH" };
const WORDS = { low: "low", high: "high", critical_low: "critically low", critical_high: "critically high" };
const SCALES = [20, 40, 60, 80, 100];

export class Counts {
  constructor(bench) {
    this.case = bench;
    this.rows = new Map();
    this.body = document.getElementById("running");
    this.limits = new Map(bench.config.limits.map((one) => [`${one.key} ${one.quantity}`, one]));
  }

  render() {
    const found = differential(this.case.counts(), this.case.classes, this.case.config.wbc);
    const widest = found.counted ? Math.max(...found.rows.map((row) => row.upper)) : 100;
    const unit = 200 / SCALES.find((scale) => widest <= scale + 1e-9);
    const shown = new Set(found.rows.map((row) => row.key));
    for (const [key, row] of this.rows) row.element.hidden = row.below.hidden = !shown.has(key);
    for (const row of found.rows) this.row(row, unit, found.counted);
    this.totals(found);
    this.progress();
  }

  made(key) {
    if (this.rows.has(key)) return this.rows.get(key);
    const { name, code } = this.case.byKey.get(key);
    const part = {
      key: make("kbd", { "aria-hidden": "true" }),
      count: make("td", { class: "number" }),
      percent: make("td", { class: "number strong" }),
      flag: make("td", { class: "flag" }),
      fill: draw("rect", { class: "bar-fill", y: "1", height: "10" }),
      whisker: draw("path", { class: "whisker", fill: "none" }),
      limits: make("span", { title: "Exact 95 % limits (Clopper-Pearson)" }),
      reference: make("span"),
      absolute: make("span", { class: "absolute" }),
    };
    part.element = make("tr", { "data-row": key }, make("th", { scope: "row" }, make("abbr", { title: name }, code), part.key), part.count, part.percent, part.flag);
    const bar = draw("svg", { class: `bar class-${key}`, viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      draw("rect", { class: "bar-track", width: "200", height: "12" }), part.fill, part.whisker);
    part.below = make("tr", { class: "below" }, make("td", { colspan: "4" }, bar, make("div", { class: "below-line" }, part.limits, part.reference, part.absolute)));
    const { order } = this.case;
    const following = order.slice(order.indexOf(key) + 1).find((other) => this.rows.has(other));
    const next = following ? this.rows.get(following).element : null;
    for (const element of [part.element, part.below]) this.body.insertBefore(element, next);
    this.rows.set(key, part);
    return part;
  }

  row(row, unit, counted) {
    const part = this.made(row.key);
    const flags = counted ? this.flags(row) : [];
    say(part.key, this.case.byKey.get(row.key).hotkey);
    say(part.count, `${row.count}`);
    say(part.percent, counted ? `${row.percent}\u202f%` : "–");
    say(part.flag, flags.map((flag) => LETTERS[flag]).join(" "));
    mark(part.flag, "title", flags.map((flag) => WORDS[flag]).join(", "));
    mark(part.flag, "class", `flag${flags.some((flag) => flag.startsWith("critical")) ? " critical" : ""}`);
    const [from, to] = [row.lower * unit, row.upper * unit].map((at) => at.toFixed(1));
    mark(part.fill, "width", counted ? ((row.tenths / 10) * unit).toFixed(1) : "0");
    mark(part.whisker, "d", counted ? `M${from} 3V9M${from} 6H${to}M${to} 3V9` : "");
    say(part.limits, counted ? `${row.lower.toFixed(1)}–${row.upper.toFixed(1)}` : "");
    say(part.reference, this.reference(row.key, "percent", "ref "));
    const reference = this.reference(row.key, "absolute", " ref ");
    say(part.absolute, row.absolute === null ? "" : `${row.absolute} ×10⁹/L${reference}`);
    part.absolute.classList.toggle("ranged", reference !== "");
  }

  /** What is out of range of per cent and 10^9/L; the same flag twice is said once. */
  flags(row) {
    const values = { percent: row.tenths * 10, absolute: row.absolute === null ? null : hundredths(row.absolute) };
    const found = Object.entries(values).map(([quantity, value]) => {
      const limits = this.limits.get(`${row.key} ${quantity}`);
      return limits && value !== null ? judge(value, limits) : "normal";
    });
    return [...new Set(found)].filter((flag) => flag !== "normal");
  }

  reference(key, quantity, before) {
    const limits = this.limits.get(`${key} ${quantity}`);
    if (!limits || (limits.low === null && limits.high === null)) return "";
    const short = (text) => `${Number(text)}`;
    if (limits.low === null) return `${before}≤\u202f${short(limits.high)}`;
    if (limits.high === null) return `${before}≥\u202f${short(limits.low)}`;
    return `${before}${short(limits.low)}–${short(limits.high)}`;
  }

  totals(found) {
    const missing = this.case.config.target - found.counted;
    say(document.getElementById("counted"), `${found.counted} white cells`);
    const texts = [missing > 0 ? `Count ${missing} more cell${missing === 1 ? "" : "s"}: ${this.case.config.target} are asked for.` : ""];
    if (found.unidentified) texts.push(`${found.unidentified} unidentified, not in the percentages.`);
    say(document.getElementById("counts-hint"), texts.filter(Boolean).join(" "));
    const lines = found.nonWbc.map(({ key, count, per100 }) =>
      make("div", {}, make("dt", {}, this.case.byKey.get(key).name), make("dd", {}, `${count}`, make("span", { class: "muted" }, per100 === null ? "" : ` ${per100} per 100 WBC`))));
    document.getElementById("per-hundred").replaceChildren(...lines);
  }

  progress() {
    const [reviewed, total] = [this.case.reviewed(), this.case.cells.size];
    say(document.getElementById("reviewed"), `${reviewed} of ${total} reviewed`);
    Object.assign(document.getElementById("reviewed-bar"), { max: Math.max(1, total), value: reviewed });
  }
}
