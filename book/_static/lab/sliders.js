// Two sliders over stored runs: where to draw the line, and what each cycle of the repair changed.
"use strict";

(() => {
  const { element, file, share, table } = bedkdLab;
  const WIDTH = 360, HEIGHT = 200;

  function slider(label, attributes) {
    const range = element("input", { type: "range", ...attributes });
    return [element("label", { class: "bedkd-range" }, `${label} `, range), range];
  }

  // Precision, recall and counts of flagging rows at or above a threshold.
  function quality({ odds, fits, poisoned }, threshold) {
    let flagged = 0, right = 0, all = 0;
    odds.forEach((value, i) => {
      all += poisoned[i];
      if (!fits[i] || value < threshold) return;
      flagged += 1;
      right += poisoned[i];
    });
    return { flagged, right, all, precision: flagged ? right / flagged : NaN, recall: right / all };
  }

  function histogram({ odds, poisoned }, low, high, line) {
    const bins = 40;
    const counts = [Array(bins).fill(0), Array(bins).fill(0)];
    const bin = (value) => Math.max(0, Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins)));
    odds.forEach((value, i) => (counts[poisoned[i]][bin(value)] += 1));
    const top = Math.log1p(Math.max(...counts.flat()));
    const drawn = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    counts.forEach((list, kind) => list.forEach((count, i) => {
      const height = (Math.log1p(count) / top) * (HEIGHT - 10);
      drawn.append(element("rect", {
        class: kind ? "poisoned" : "clean",
        x: (i / bins) * WIDTH + (kind ? WIDTH / bins / 2 : 0), y: HEIGHT - height,
        width: WIDTH / bins / 2 - 1, height,
      }));
    }));
    drawn.append(line);
    return drawn;
  }

  // The twelve rows nearest to the line, the most suspicious first.
  function nearest({ odds, fits, poisoned, texts }, order, threshold) {
    const above = order.findIndex((i) => odds[i] < threshold);
    const middle = above < 0 ? order.length : above;
    const from = Math.max(0, Math.min(order.length - 12, middle - 6));
    return order.slice(from, from + 12).map((i) => [
      texts[i],
      fits[i] && odds[i] >= threshold ? "flagged" : "left alone",
      poisoned[i] ? "poisoned" : "clean",
    ]);
  }

  async function threshold(root) {
    const data = await file("threshold");
    const low = Math.min(...data.odds), high = Math.max(...data.odds);
    const order = data.odds.map((_, i) => i).sort((a, b) => data.odds[b] - data.odds[a]);
    const [label, range] = slider("Threshold on the log-odds", {
      min: low.toFixed(2), max: (high + 0.05).toFixed(2), step: 0.05, value: data.line.toFixed(2),
    });
    const back = element("button", { type: "button" }, "Back to the line that was drawn");
    const line = element("line", { y1: 0, y2: HEIGHT, class: "line" });
    const figures = element("p", { role: "status", "aria-live": "polite" });
    const rows = element("div");
    function show() {
      const at = Number(range.value);
      const { flagged, right, all, precision, recall } = quality(data, at);
      const x = ((at - low) / (high - low)) * WIDTH;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      const spoken = `${flagged} flagged, ${right} of ${all} poisoned rows among them. ` +
        `Precision ${flagged ? share(precision) : "undefined"}, recall ${share(recall)}.`;
      figures.textContent = `Threshold ${share(at)}: ${spoken}`;
      range.setAttribute("aria-valuetext", spoken);
      rows.replaceChildren(table("The twelve rows nearest to the line, the most suspicious first",
        ["row", "verdict", "in truth"], nearest(data, order, at)));
    }
    range.addEventListener("input", show);
    back.addEventListener("click", () => {
      range.value = data.line.toFixed(2);
      show();
    });
    const key = element("p", { class: "bedkd-key" },
      element("span", { class: "clean" }, "■"), " clean rows ",
      element("span", { class: "poisoned" }, "■"), " poisoned rows; heights on a logarithmic scale");
    root.replaceChildren(label, back, figures, histogram(data, low, high, line), key, rows);
    show();
  }

  const GROUPS = ["clean, other class", "clean, target class", "triggered, other class", "triggered, target class"];
  const SHAPES = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,9h-10z", "M0,-5l5,5l-5,5l-5,-5z"];

  function scatter({ points, groups }) {
    const all = points.flat();
    const bounds = [0, 1].map((axis) => {
      const values = all.map((point) => point[axis]);
      return [Math.min(...values), Math.max(...values)];
    });
    const scale = (value, axis, room) =>
      10 + ((value - bounds[axis][0]) / (bounds[axis][1] - bounds[axis][0])) * (room - 20);
    const drawn = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT * 1.3}`, "aria-hidden": "true" });
    const marks = groups.map((group) => element("path", { d: SHAPES[group], class: `group${group}` }));
    drawn.append(...marks);
    const move = (cycle) => points[cycle].forEach(([x, y], i) => marks[i].setAttribute(
      "transform", `translate(${scale(x, 0, WIDTH)} ${HEIGHT * 1.3 - scale(y, 1, HEIGHT * 1.3)})`));
    return [drawn, move];
  }

  // Of the triggered rows of the other class, how many lie nearer to the clean target class?
  function nearTarget({ points, groups }, cycle) {
    const centre = (group) => [0, 1].map((axis) => {
      const own = points[cycle].filter((_, i) => groups[i] === group);
      return own.reduce((sum, point) => sum + point[axis], 0) / own.length;
    });
    const far = ([x, y], [a, b]) => Math.hypot(x - a, y - b);
    const [other, target] = [centre(0), centre(1)];
    const own = points[cycle].filter((_, i) => groups[i] === 2);
    return [own.filter((point) => far(point, target) < far(point, other)).length, own.length];
  }

  async function cycles(root) {
    const data = await file("cycles");
    const last = data.shares.length - 1;
    const [label, range] = slider("Cycle", { min: 0, max: last, step: 1, value: 0 });
    const figures = element("div");
    const spoken = element("p", { role: "status", "aria-live": "polite" });
    const [drawn, move] = scatter(data);
    function show() {
      const at = Number(range.value);
      const [near, all] = nearTarget(data, at);
      const [cacc, asr, racc] = data.shares[at];
      const text = `${at ? `After cycle ${at}` : "The victim"}: CACC ${share(cacc)}, ASR ${share(asr)}, RACC ` +
        `${share(racc)}. In the picture ${near} of ${all} triggered rows of the other class lie nearer to the target class.`;
      spoken.textContent = text;
      range.setAttribute("aria-valuetext", text);
      figures.replaceChildren(table("Shares on test rows; the last column is the model without poison",
        ["measure", "victim", at ? `cycle ${at}` : "now", "floor or ceiling"],
        ["CACC", "ASR", "RACC"].map((name, i) =>
          [name, share(data.shares[0][i]), share(data.shares[at][i]), share(data.without[i])])));
      move(at);
    }
    range.addEventListener("input", show);
    const key = element("ul", { class: "bedkd-key" }, ...GROUPS.map((name, i) => element("li", {},
      element("svg", { viewBox: "-6 -6 12 12", "aria-hidden": "true" },
        element("path", { d: SHAPES[i], class: `group${i}` })), ` ${name}`)));
    root.replaceChildren(label, spoken, figures, drawn, key);
    show();
  }

  const PANELS = { models: bedkdLab.models, threshold, cycles };
  for (const root of document.querySelectorAll(".bedkd-live")) {
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", root.dataset.title);
    Promise.resolve(PANELS[root.dataset.panel](root)).catch((error) => {
      root.textContent = `${error.message}.`;
    });
  }
})();
