// The line under the case strip: what happened, and choices that wait for an answer.

import { make } from "./make.js";

export class Notes {
  constructor(host) {
    this.host = host;
    this.line = make("p", { class: "message note" });
    this.line.hidden = true;
    this.lasting = new Map();
    host.append(this.line);
  }

  /** One remark; the next one takes its place, and it leaves by itself. */
  say(text) {
    this.line.textContent = text;
    this.line.hidden = !text;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.line.hidden = true;
    }, 6000);
  }

  /** Something that stays until it is answered: buttons are [text, act]. */
  ask(name, text, buttons, kind = "warning") {
    this.answer(name);
    const element = make("div", { class: `message ${kind} choice-line`, "data-note": name }, make("span", {}, text));
    for (const [label, act] of buttons) {
      const button = make("button", { type: "button", class: "button small" }, label);
      button.addEventListener("click", () => {
        this.answer(name);
        act();
      });
      element.append(button);
    }
    this.lasting.set(name, element);
    this.host.append(element);
  }

  answer(name) {
    this.lasting.get(name)?.remove();
    this.lasting.delete(name);
  }
}
