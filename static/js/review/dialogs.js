// The legend of the class keys, and the sheet to change them.

import { make } from "./make.js";
import { postJson } from "./outbox.js";

const get = (id) => document.getElementById(id);

export class Hotkeys {
  constructor(bench) {
    Object.assign(this, bench); // case, counts, notes
    this.sheet = get("hotkeys");
    this.sheet.querySelector("form").addEventListener("submit", (event) => this.save(event));
    this.legend();
  }

  legend() {
    // The keys of the five that the model predicts stand beside their counts.
    const lines = this.movable.map(({ name, code, hotkey }) =>
      make("div", { title: `${name} (${code})` }, make("dt", {}, make("kbd", {}, hotkey)), make("dd", {}, name)));
    get("legend").replaceChildren(...lines);
  }

  get movable() {
    return this.case.classes.filter((one) => one.default);
  }

  open() {
    this.fill((one) => one.hotkey);
    this.complain("");
    this.sheet.showModal();
  }

  fill(keyOf) {
    const fields = this.movable.map((one) => make("div", { class: "field" }, make("label", { for: `key-${one.key}` }, one.name),
      make("input", { id: `key-${one.key}`, name: one.key, value: keyOf(one), maxlength: "1", required: "", autocomplete: "off", spellcheck: "false", pattern: "[a-z0-9]" })));
    get("hotkeys-fields").replaceChildren(...fields);
  }

  defaults() {
    this.fill((one) => one.default);
  }

  complain(text) {
    get("hotkeys-error").textContent = text;
    get("hotkeys-error").hidden = !text;
  }

  /** The server knows which keys can be used; what it refuses is said here. */
  async save(event) {
    event.preventDefault();
    const wanted = Object.fromEntries(this.movable.map((one) => [one.key, get(`key-${one.key}`).value.trim().toLowerCase()]));
    const answer = await postJson(this.case.config.urls.hotkeys, wanted).catch(() => null);
    if (answer?.status !== 200 || !answer.body) {
      this.complain(answer?.body?.message ?? "The keys could not be saved: the server cannot be reached.");
      return;
    }
    this.case.setClasses(answer.body.classes);
    this.legend();
    this.counts.render();
    this.sheet.close();
    this.notes.say("Your class keys are saved.");
  }
}
