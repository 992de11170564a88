// The review page: puts the parts together and takes in what the server says.

import { Acts } from "./acts.js";
import { Case } from "./case.js";
import { Comments } from "./comments.js";
import { Counts } from "./counts.js";
import { Detail } from "./detail.js";
import { Hotkeys } from "./dialogs.js";
import { Filter } from "./filter.js";
import { Gallery } from "./gallery.js";
import { Keys } from "./keys.js";
import { Notes } from "./notes.js";
import { Outbox } from "./outbox.js";
import { Pointer } from "./pointer.js";
import { Poll } from "./poll.js";
import { Undo } from "./undo.js";
import { Views } from "./views.js";

const get = (id) => document.getElementById(id);
const root = get("bench");

class Bench {
  constructor(config) {
    this.config = config;
    this.case = new Case(config);
    this.notes = new Notes(get("notes"));
    this.gallery = new Gallery(get("groups"), this.case);
    this.counts = new Counts(this.case);
    this.detail = new Detail(this.case);
    this.undo = new Undo(config);
    this.outbox = new Outbox(config, {
      saved: (cells) => this.take(cells),
      stale: (stale) => this.stale(stale),
      refused: (ids, text) => this.refused(ids, text),
      state: (count, text) => this.unsaved(count, text),
    });
    this.acts = new Acts(this);
    this.views = new Views(this);
    // The large view follows whatever the panel under the gallery shows.
    const { render } = Detail.prototype;
    this.detail.render = () => {
      render.call(this.detail);
      this.views.render();
    };
    this.hotkeys = new Hotkeys(this);
    this.comments = config.blinded ? null : new Comments(this);
    this.filter = new Filter(this);
  }

  /** Draw the case, put back what was not saved, and start to listen. */
  open(answer) {
    for (const cell of answer.cells) this.case.cells.set(cell.id, cell);
    this.restore();
    for (const id of this.case.cells.keys()) this.case.insert(id);
    this.gallery.build();
    this.stand(answer);
    this.counts.render();
    this.acts.goTo(this.case.flat()[0]);
    new Keys({ ...this, sign: () => this.sign() });
    new Pointer(get("groups"), this);
    this.buttons();
    this.outbox.flush();
    if (!this.config.blinded) this.poll(answer);
    root.dataset.ready = String(Math.round(performance.now()));
  }

  poll(answer) {
    const reload = async () => this.more(await load(this.config.urls.cells));
    new Poll(this.config, answer, { news: (newer) => this.news(newer), reload });
  }

  restore() {
    for (const { cell: id, label, revision, tried } of this.outbox.restored()) {
      const cell = this.case.cell(id);
      if (!cell || cell.label === label) continue;
      cell.wanted = label;
      this.outbox.put(id, label, revision, tried);
    }
  }

  /** How the case stands: whose it is, whether it may be changed, what is still missing. */
  stand(answer) {
    this.case.comments = answer.comments;
    this.comments?.count();
    if (!this.config.blinded) get("assigned").textContent = answer.assigned || "Nobody’s case";
    this.case.editable = answer.editable;
    this.case.whyNot = answer.editable ? "" : `This case is ${(answer.state ?? "finished").replace("_", " ")}: its cells can be looked at, not changed.`;
    if (answer.editable) this.notes.answer("closed");
    else this.notes.ask("closed", this.case.whyNot, []);
    const waiting = answer.unfinished ? `${answer.unfinished} images are still being classified.` : "";
    if (waiting) this.notes.ask("unfinished", waiting, [], "");
    else this.notes.answer("unfinished");
    if (answer.failed) this.notes.ask("failed", `${answer.failed} images failed and are not shown here.`, [["Open the specimen", () => get("bench").querySelector("h1 a").click()]]);
  }

  /** Changes of others; the cursor stays where it is. */
  news(answer) {
    this.take(answer.cells);
    const state = `${answer.state} ${answer.assigned} ${answer.unfinished} ${answer.comments.length}`;
    if (state !== this.lastState) this.stand({ ...answer, failed: 0 });
    this.lastState = state;
  }

  /** Cells as the server has them now. What is older than known, or unchanged, is left alone. */
  take(cells) {
    const changed = new Set();
    for (const fresh of cells) {
      const cell = this.case.cell(fresh.id);
      if (!cell || fresh.revision < cell.revision) continue;
      Object.assign(cell, fresh);
      cell.wanted = this.outbox.entries.get(cell.id)?.label;
      if (cell.standsIn === this.case.group(cell.id)) this.gallery.paint(cell.id);
      else this.gallery.place(cell.id);
      this.gallery.head(cell.standsIn);
      changed.add(cell.id);
    }
    if (changed.size) this.counts.render();
    if (changed.has(this.case.cursor) || this.views.pair) this.detail.render();
  }

  /** Images came in, or were classified anew. */
  more(answer) {
    this.take(answer.cells);
    for (const cell of answer.cells) {
      if (this.case.cells.has(cell.id)) continue;
      this.case.cells.set(cell.id, cell);
      this.gallery.place(cell.id);
    }
    this.stand(answer);
    this.counts.render();
  }

  /** Somebody was faster: theirs is shown, and the choice is the reviewer's. */
  stale(stale) {
    this.take(stale.map((one) => one.cell));
    const name = (key) => (key ? this.case.byKey.get(key).name : "unreviewed");
    for (const { cell, mine } of stale) {
      this.case.cell(cell.id).conflict = true;
      this.gallery.paint(cell.id);
      const who = cell.by?.name ?? "Somebody";
      const text = `${who} set ${cell.file} to ${name(cell.label).toLowerCase()} while you set ${name(mine).toLowerCase()}. Theirs stands.`;
      this.notes.ask(`cell-${cell.id}`, text, [
        ["Take theirs", () => this.settle(cell.id)],
        [`Set ${name(mine).toLowerCase()} again`, () => this.again(cell.id, mine)],
        ["Show the cell", () => { this.acts.goTo(cell.id); this.stale([{ cell, mine }]); }],
      ]);
    }
  }

  settle(id) {
    this.case.cell(id).conflict = false;
    this.gallery.paint(id);
    this.acts.goTo(this.case.cursor);
  }

  again(id, label) {
    this.acts.change([{ id, to: label }], { revision: this.case.cell(id).revision });
    this.acts.shown(id);
  }

  refused(ids, text) {
    for (const id of ids) {
      delete this.case.cell(id).wanted;
      this.gallery.place(id);
    }
    this.counts.render();
    this.detail.render();
    const noun = ids.length === 1 ? "1 decision was" : `${ids.length} decisions were`;
    this.notes.ask("refused", `${noun} not taken and put back: ${text}`, [["Understood", () => this.acts.goTo(this.case.cursor)]], "error");
  }

  /** Said only when it lasts: a confirmation within half a second needs no words. */
  unsaved(count, text) {
    const tag = get("unsaved");
    root.dataset.unsaved = String(count);
    tag.textContent = count ? `${count} not saved yet${text ? `: ${text}` : ""}` : "";
    if (!count) {
      clearTimeout(this.unsavedTimer);
      this.unsavedTimer = null;
      tag.hidden = true;
    } else if (text) tag.hidden = false;
    else this.unsavedTimer ??= setTimeout(() => { tag.hidden = !tag.textContent; }, 500);
  }

  /** Ctrl+Enter: first everything is saved, then the sheet. */
  async sign() {
    const [link, form] = [get("sign"), get("finish")];
    if (!link && !form) {
      this.notes.say("A pathologist signs this case out.");
      return;
    }
    if (!(await this.outbox.empty(5000))) {
      this.notes.say("Some decisions are not saved yet; they must be before the case is signed.");
      return;
    }
    if (link) window.location.assign(link.href);
    else form.submit();
  }

  buttons() {
    const acts = {
      map: () => this.acts.toggleMap(),
      large: () => this.views.large(),
      comment: () => this.comments.openCell(),
      "case-comments": () => this.comments.open(null),
      hotkeys: () => this.hotkeys.open(),
      "hotkeys-default": () => this.hotkeys.defaults(),
    };
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-act]");
      if (button) acts[button.dataset.act]();
      if (event.target.closest("#sign, #finish button")) {
        event.preventDefault();
        this.sign();
      }
    });
  }
}

async function load(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (!response.ok || response.redirected) throw new Error(`${response.status}`);
  return response.json();
}

async function start() {
  const config = JSON.parse(root.dataset.bench);
  try {
    new Bench(config).open(await load(config.urls.cells));
  } catch (error) {
    get("groups").textContent = "The cells could not be loaded. Reload the page; nothing that was saved is lost.";
    throw error;
  }
}

if (root) start();
