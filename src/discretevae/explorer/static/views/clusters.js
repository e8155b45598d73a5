// Groups of rows whose codes belong together.

import { get, Latest } from "../api.js";
import { show } from "../draw.js";
import { attempt, button, count, el, plural, roving, say } from "../dom.js";
import { current, fitting, rowName } from "../store.js";
import { tiles } from "../tiles.js";

export function mount(body, app) {
  const { labels } = current.model.data;
  const page = fitting(48);
  const members = new Latest();
  const trouble = el("div");
  const list = el("div", { class: "clusters", id: "clusters", role: "group", "aria-label": "Clusters" });
  const settle = roving(list);
  const how = el("p", { class: "muted" });
  const key = el("p", { class: "labelkey" });
  const title = el("h3");
  const where = el("span", { class: "muted" });
  const below = el("div");
  const rows = tiles("Members of the cluster", { id: "members" });
  let [loaded, chosen, start, total] = [false, null, 0, 0];
  const back = button("Previous", () => open(chosen, Math.max(0, start - page)));
  const forth = button("Next", () => open(chosen, start + page));

  const hue = (label) => `var(--label-${Math.max(0, labels.indexOf(label)) % 10})`;

  const open = (cluster, from = 0) => attempt(below, async () => {
    const answer = await members.run((signal) => get(`/api/clusters/${cluster}?start=${from}&count=${page}`, signal));
    [chosen, start, total] = [cluster, answer.start, answer.total];
    for (const node of list.children) {
      if (Number(node.dataset.cluster) === cluster) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
    title.textContent = `Cluster ${cluster}`;
    where.textContent = total === 0 ? "no rows" : `${count(start + 1)}–${count(start + answer.rows.length)} of ${count(total)}, the most typical first`;
    back.disabled = start === 0;
    forth.disabled = start + page >= total;
    panel.hidden = false;
    rows.draw(answer.rows.map((row) => ({
      picture: row.picture, label: rowName(row), title: rowName(row), data: { row: row.row }, choose: () => app.open(row.row),
    })));
    say(`Cluster ${cluster}, ${plural(total, "row")}.`);
  });

  const card = (one, largest) => {
    const holder = el("span", { class: "frame" });
    show(holder, one.picture, "");
    const counts = Object.entries(one.label_counts ?? {}).sort((a, b) => b[1] - a[1]);
    const said = counts.slice(0, 3).map(([label, n]) => `${label}: ${count(n)}`).join(", ");
    return el("button", {
      type: "button", class: "card cluster", tabindex: "-1", "data-cluster": one.cluster, onclick: () => open(one.cluster),
      "aria-label": `Cluster ${one.cluster}, ${plural(one.size, "row")}${said ? `, labels ${said}` : ""}`,
    },
    holder,
    el("span", { class: "facts" },
      el("span", { class: "caption" }, el("span", { text: `Cluster ${one.cluster}` }), el("span", { text: plural(one.size, "row") })),
      el("span", { class: "stack", "aria-hidden": "true", style: { width: `${(100 * one.size) / largest}%` } },
        counts.length === 0 ? el("i", { style: { "flex-grow": 1 } })
          : counts.map(([label, n]) => el("i", { title: `${label}: ${count(n)}`, style: { "flex-grow": n, background: hue(label) } }))),
      said ? el("span", { class: "caption said", text: said }) : null));
  };

  const load = () => attempt(trouble, async () => {
    const answer = await get("/api/clusters");
    const largest = Math.max(1, ...answer.clusters.map((one) => one.size));
    how.textContent = `${plural(answer.clusters.length, "cluster")}, by ${answer.by}. The bar is as long as the cluster is large.`;
    if (answer.clusters.some((one) => one.label_counts)) {
      key.replaceChildren(el("span", { text: "Labels: " }), ...labels.slice(0, 30).map((label) => el("span", { class: "sample" }, el("i", { style: { background: hue(label) } }), el("span", { text: label }))));
    }
    list.replaceChildren(...answer.clusters.map((one) => card(one, largest)));
    settle();
    loaded = true;
    const first = answer.clusters.find((one) => one.size > 0);
    if (first) await open(first.cluster);
  });

  const panel = el("div", { class: "panel", hidden: true }, el("div", { class: "bar" }, title, el("span", { class: "spacer" }), where, back, forth), rows.grid);
  body.append(how, key, trouble, list, below, panel);
  return { enter: () => (loaded ? undefined : load()) };
}
