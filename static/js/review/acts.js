// What a reviewer does: assign, confirm, take back, move on. Everything shows at once; the outbox
// carries it to the server behind.

export class Acts {
  constructor(bench) {
    Object.assign(this, bench); // case, gallery, counts, detail, outbox, undo, notes
  }

  /** Give cells a label each: [{id, to}]. Shows it, remembers it, and has it sent. */
  change(changes, { remember = true, revision = null } = {}) {
    const done = [];
    for (const { id, to } of changes) {
      const cell = this.case.cell(id);
      const from = this.case.label(id);
      if (from === to && revision === null && !this.confirmsAnother(cell, to)) continue;
      cell.conflict = false;
      cell.wanted = to;
      this.outbox.put(id, to, revision ?? cell.revision);
      this.gallery.place(id);
      done.push({ id, from, to });
    }
    if (done.length && remember) this.undo.add(done);
    return done;
  }

  /** The same label as another person's is a decision of one's own: two pairs of eyes. */
  confirmsAnother(cell, to) {
    return to !== "" && cell.wanted === undefined && cell.by !== null && cell.by.id !== this.case.config.user;
  }

  /** After changes: counts, cursor and panel in one go, then the network. */
  shown(cursor = this.case.cursor) {
    this.counts.render();
    this.goTo(cursor);
    this.outbox.flush();
  }

  goTo(id, { extend = false, focus = true } = {}) {
    const bench = this.case;
    if (id === null || id === undefined) return;
    bench.cursor = id;
    if (extend) bench.selection = new Set(bench.between(bench.anchor ?? id, id));
    else {
      bench.anchor = id;
      bench.selection = new Set([id]);
    }
    this.detail.render();
    this.gallery.follow({ focus });
    this.selectedCount();
  }

  selectedCount() {
    const count = this.case.selection.size;
    document.getElementById("selected").textContent = count > 1 ? `${count} selected` : "";
  }

  blocked() {
    if (this.case.editable) return false;
    this.notes.say(this.case.whyNot);
    return true;
  }

  /** A class key, or a drop on a group: the targets get the class, the cursor stays in the group. */
  assign(key, ids = this.case.targets()) {
    if (this.blocked() || ids.length === 0) return;
    const from = this.case.cell(ids.includes(this.case.cursor) ? this.case.cursor : ids[0]).standsIn;
    const next = this.case.successor(from, ids);
    this.change(ids.map((id) => ({ id, to: key })));
    this.shown(next ?? this.case.cursor);
  }

  /** Space: reviewed, as it stands. An unidentified cell needs a class, so there it only goes on. */
  confirm() {
    if (this.blocked()) return;
    const ids = this.case.targets();
    const flat = this.case.flat();
    const next = flat[flat.indexOf(ids.at(-1)) + 1] ?? ids.at(-1);
    this.confirmAll(ids);
    this.shown(next);
  }

  confirmAll(ids) {
    const clear = ids.filter((id) => this.case.group(id) !== "unidentified");
    if (clear.length < ids.length) this.notes.say("An unidentified cell is reviewed by giving it a class.");
    return this.change(clear.map((id) => ({ id, to: this.case.group(id) })));
  }

  /** g: what nobody has looked at in this group is reviewed as it stands. */
  confirmGroup() {
    if (this.blocked() || this.case.cursor === null) return;
    const key = this.case.cell(this.case.cursor).standsIn;
    const open = this.case.visible(key).filter((id) => !this.case.label(id));
    const next = this.case.successor(key, this.case.visible(key));
    const done = this.confirmAll(open);
    if (done.length) this.notes.say(`${done.length} × ${this.case.byKey.get(key).name} marked reviewed. u takes it back.`);
    this.shown(key === "unidentified" ? this.case.cursor : next ?? this.case.cursor);
  }

  takeBack() {
    this.step(this.undo.takeBack(), "to", "from", "Nothing to undo.");
  }

  doAgain() {
    this.step(this.undo.doAgain(), "from", "to", "Nothing to redo.");
  }

  /** Set cells that still carry `expected` to `wanted`; what somebody changed since stays. */
  step(changes, expected, wanted, nothing) {
    if (this.blocked()) return;
    if (!changes) {
      this.notes.say(nothing);
      return;
    }
    const still = changes.filter(({ id, ...labels }) => this.case.cell(id) && this.case.label(id) === labels[expected]);
    if (still.length < changes.length) this.notes.say(`${changes.length - still.length} cells were changed by somebody else since and stay as they are.`);
    this.change(still.map(({ id, ...labels }) => ({ id, to: labels[wanted] })), { remember: false });
    this.shown(still[0]?.id ?? this.case.cursor);
  }

  move(step, extend) {
    const id = this.case.neighbour(step, this.gallery.columns);
    if (id !== null && id !== undefined) this.goTo(id, { extend });
  }

  toggleMap() {
    this.detail.map = !this.detail.map;
    for (const button of document.querySelectorAll('[data-act="map"]')) button.setAttribute("aria-pressed", String(this.detail.map));
    this.detail.render();
  }
}
