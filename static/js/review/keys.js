// The keyboard of the bench. It listens before the frame of the page does: here n is a neutrophil.

import { typing } from "../frame.js";

const STEPS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };

export class Keys {
  constructor(bench) {
    Object.assign(this, bench); // acts, views, dialogs, comments, filter, sign
    document.addEventListener("keydown", (event) => this.down(event), true);
  }

  down(event) {
    const dialog = document.querySelector("dialog[open]");
    const viewing = dialog?.classList.contains("large");
    if (event.isComposing || (dialog && !viewing) || this.belongsToControl(event)) return;
    if (this.act(event, viewing) === false) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Typing belongs to its field; Space and Enter belong to the button they would press. */
  belongsToControl(event) {
    if (event.key === "Enter" && event.ctrlKey) return Boolean(event.target.closest?.("dialog"));
    if (typing(event) || event.target.closest?.(".menu-sheet")) return true;
    if (event.target.matches?.("input[type=range]")) return event.key.startsWith("Arrow");
    return [" ", "Enter"].includes(event.key) && Boolean(event.target.closest?.("button, a, summary"));
  }

  act(event, viewing) {
    const command = event.ctrlKey || event.metaKey;
    if (event.altKey) return false;
    if (command) return this.command(event);
    if (viewing && this.views.key(event)) return true;
    if (STEPS[event.key]) return this.acts.move(STEPS[event.key], event.shiftKey);
    if (event.shiftKey && event.key.length === 1 && event.key !== "?" && event.key !== "/" && event.key !== "+") return this.shifted(event);
    // With Caps Lock on, the same keys do the same.
    return this.plain(event.key.length === 1 ? event.key.toLowerCase() : event.key, viewing);
  }

  command(event) {
    if (event.key === "Enter") return this.sign();
    if (event.key.toLowerCase() !== "z") return false;
    return event.shiftKey ? this.acts.doAgain() : this.acts.takeBack();
  }

  shifted(event) {
    const act = { U: () => this.acts.doAgain(), M: () => this.acts.toggleMap() }[event.key.toUpperCase()];
    return act ? act() : false;
  }

  plain(key, viewing) {
    const acts = {
      " ": () => this.acts.confirm(),
      g: () => this.acts.confirmGroup(),
      u: () => this.acts.takeBack(),
      z: () => this.views.large(),
      c: () => this.views.compare(),
      t: () => this.comments?.openCell(),
      "/": () => (viewing ? false : this.filter.focus()),
      Escape: () => (viewing || document.querySelector("details[open]") ? false : this.acts.goTo(this.case.cursor)),
    };
    if (acts[key]) return acts[key]();
    const assigned = this.case.byHotkey.get(key);
    return assigned ? this.acts.assign(assigned) : false;
  }
}
