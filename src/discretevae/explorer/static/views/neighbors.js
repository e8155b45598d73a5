// The rows whose codes are nearest to the current one.

import { Latest, post } from "../api.js";
import { show } from "../draw.js";
import { attempt, button, el, figure, say } from "../dom.js";
import { changed, current, describe, fitting, keyOf, on, rowName, sourceText } from "../store.js";
import { tiles } from "../tiles.js";

export function mount(body, app) {
  const asking = new Latest();
  const trouble = el("div");
  const holder = el("div", { class: "frame big", id: "query" });
  const note = el("span", { class: "muted" });
  const how = el("p", { class: "muted", id: "distance" });
  const rows = tiles("Nearest rows", { id: "nearest", class: "tiles large" });
  let shown = "";
  let active = false;

  const load = () => {
    if (!active || !current.code || !current.picture) return undefined;
    const wanted = `${current.row}:${keyOf(current.code)}`;
    const isOriginal = current.input !== null && changed().length === 0;
    show(holder, isOriginal ? current.input : current.picture, isOriginal ? `Original, ${sourceText()}` : `Picture ${describe(current.code)}`);
    note.textContent = `${sourceText()}${changed().length ? ", changed by you" : ""}`;
    if (wanted === shown) return undefined;
    return attempt(trouble, async () => {
      const body_ = { code: current.code, k: fitting(24), ...(current.row === null ? {} : { row: current.row }) };
      const answer = await asking.run((signal) => post("/api/neighbors", body_, signal));
      shown = wanted;
      how.textContent = `Distance: ${answer.distance}. Press a row to look from there.`;
      rows.draw(answer.rows.map((row) => ({
        picture: row.picture,
        label: `${rowName(row)}, distance ${figure(row.distance)}`,
        caption: figure(row.distance),
        title: rowName(row),
        data: { row: row.row },
        choose: () => app.set({ row: String(row.row) }),
      })));
      say(`${answer.rows.length} neighbors of ${sourceText()}.`);
    });
  };
  on("picture", load);
  body.append(
    el("div", { class: "neighbors" },
      el("figure", null, el("figcaption", null, el("strong", { text: "Current" }), " ", note), holder,
        button("Open in Code", () => app.go("code"), { id: "neighbors-to-code" })),
      el("div", null, how, trouble, rows.grid)),
  );
  return {
    enter: () => {
      active = true;
      return load();
    },
    leave: () => (active = false),
  };
}
