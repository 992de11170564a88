// Remarks on a cell or on the case. They are added, never edited.

import { commentLine } from "./detail.js";
import { make } from "./make.js";
import { postJson } from "./outbox.js";

const get = (id) => document.getElementById(id);

export class Comments {
  constructor(bench) {
    Object.assign(this, bench); // case, gallery, detail
    this.sheet = get("comments");
    const form = this.sheet.querySelector("form");
    form.addEventListener("submit", (event) => this.save(event));
    this.sheet.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.ctrlKey) form.requestSubmit();
    });
    this.sheet.addEventListener("close", () => this.gallery.follow());
  }

  openCell() {
    if (this.case.cursor !== null) this.open(this.case.cursor);
  }

  open(id) {
    this.cell = id;
    get("comments-title").textContent = id === null ? "Comments on the case" : `Comments on ${this.case.cell(id).file}`;
    get("comment-text").value = "";
    get("comment-on-report").checked = false;
    this.complain("");
    this.list();
    this.sheet.showModal();
    get("comment-text").focus();
  }

  list() {
    const comments = this.cell === null ? this.case.comments : this.case.cell(this.cell).comments;
    get("comments-list").replaceChildren(...(comments.length ? comments.map(commentLine) : [make("li", { class: "muted" }, "No comment yet.")]));
  }

  complain(text) {
    get("comments-error").textContent = text;
    get("comments-error").hidden = !text;
  }

  async save(event) {
    event.preventDefault();
    const text = get("comment-text").value.trim();
    if (!text) {
      this.complain("Write the comment.");
      return;
    }
    const sent = { cell: this.cell, text, on_report: get("comment-on-report").checked };
    const answer = await postJson(this.case.config.urls.comment, sent).catch(() => null);
    if (answer?.status !== 201 || !answer.body) {
      this.complain(answer?.body?.message ?? "The comment was not saved: the server cannot be reached. It still stands here.");
      return;
    }
    this.add(answer.body);
    this.sheet.close();
  }

  add(comment) {
    const list = comment.cell === null ? this.case.comments : this.case.cell(comment.cell).comments;
    if (!list.some((one) => one.id === comment.id)) list.push(comment);
    if (comment.cell !== null) this.gallery.paint(comment.cell);
    this.detail.render();
    this.count();
  }

  count() {
    get("case-comments-count").textContent = this.case.comments.length || "";
  }
}
