// What was done at the bench, to be taken back and done again. Kept for this tab, so that a reload
// does not forget it.

const MOST = 200;

export class Undo {
  constructor(config) {
    this.name = `wbclab.undo.${config.user}.${config.specimen}${config.blinded ? ".read" : ""}`;
    this.done = [];
    this.undone = [];
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.name) ?? "{}");
      [this.done, this.undone] = [kept.done ?? [], kept.undone ?? []];
    } catch {
      // Nothing kept, or nothing readable: start afresh.
    }
  }

  /** Remember one act: [{id, from, to}] of labels. */
  add(changes) {
    this.done.push(changes);
    if (this.done.length > MOST) this.done.shift();
    this.undone = [];
    this.keep();
  }

  takeBack() {
    return this.shift(this.done, this.undone);
  }

  doAgain() {
    return this.shift(this.undone, this.done);
  }

  shift(from, to) {
    const changes = from.pop();
    if (changes) to.push(changes);
    this.keep();
    return changes ?? null;
  }

  keep() {
    // Off the key's way: the stack is only read by the next page.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      try {
        sessionStorage.setItem(this.name, JSON.stringify({ done: this.done, undone: this.undone }));
      } catch {
        // The stack then lives as long as the page.
      }
    }, 200);
  }
}
