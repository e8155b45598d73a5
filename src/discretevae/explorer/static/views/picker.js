// Where a code comes from: the rows of the data, page by page, or a drawing.

import { Latest, get } from "../api.js";
import { attempt, button, count, el, field, option } from "../dom.js";
import { current, fitting, on, rowName } from "../store.js";
import { tiles } from "../tiles.js";

/** The grid of rows; `open(row)` is called with the index of the one that was chosen. */
export function picker(open) {
  const model = current.model;
  const page = fitting(48);
  const asking = new Latest();
  let [start, total, label] = [0, model.data.n_rows, ""];
  const rows = tiles("Rows of the data", { id: "rows" });
  const where = el("span", { class: "muted", id: "page" });
  const trouble = el("div");

  const load = (from) =>
    attempt(trouble, async () => {
      const filter = label === "" ? "" : `&label=${encodeURIComponent(label)}`;
      const answer = await asking.run((signal) => get(`/api/rows?start=${from}&count=${page}${filter}`, signal));
      start = answer.start;
      total = answer.total;
      rows.draw(answer.rows.map((row) => ({
        picture: row.picture,
        label: rowName(row),
        title: rowName(row),
        data: { row: row.row },
        choose: () => open(row.row),
      })));
      mark();
      where.textContent = total === 0 ? "no rows" : `${count(start + 1)}–${count(start + answer.rows.length)} of ${count(total)}`;
      back.disabled = start === 0;
      forth.disabled = start + page >= total;
    });
  const mark = () => rows.mark((node) => current.source === "row" && Number(node.dataset.row) === current.row);

  const filter = el("select", { id: "label", onchange: (event) => {
    label = event.target.value;
    load(0);
  } }, option("", "all"), model.data.labels.map((name) => option(name, name)));
  const back = button("Previous", () => load(Math.max(0, start - page)), { id: "previous", class: "button small" });
  const forth = button("Next", () => load(start + page), { id: "next", class: "button small" });
  const number = el("input", { type: "number", id: "row", min: 0, max: model.data.n_rows - 1, step: 1, inputmode: "numeric" });
  const go = el("form", { class: "inline", onsubmit: (event) => {
    event.preventDefault();
    if (number.value !== "" && number.reportValidity()) open(Number(number.value));
  } }, field("Row", number), el("button", { class: "button", type: "submit", text: "Open" }));
  on("source", () => {
    if (current.row !== null) number.value = current.row;
    mark();
  });
  load(0);
  return el("div", { class: "picker" },
    el("div", { class: "bar" }, model.data.has_labels ? field("Label", filter) : null, go,
      el("span", { class: "spacer" }), where, back, forth),
    trouble, rows.grid);
}

/** A row by chance, among all that are loaded. */
export const randomRow = () => Math.floor(Math.random() * current.model.data.n_rows);
