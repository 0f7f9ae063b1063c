// Parallel coordinates.
let axes = [];
// Name over unit; ticks are plain numbers in that unit, with one prefix for the whole axis.
const axisLabel = (c, unit) => {
  const lines = [];
  for (const word of c.label.replace("Predicted accuracy", "Accuracy").split(" "))
    if (lines.length && `${lines.at(-1)} ${word}`.length <= 17) lines.push(`${lines.pop()} ${word}`); else lines.push(word);
  return [...lines.slice(0, 3).map((line) => short(line, 20)), ...(unit ? [`(${unit})`] : [])].join("<br>");
};
function axisTicks(c, low, high) {
  const power = c.prefixed && high > 0 ? Math.min(18, Math.max(-15, 3 * Math.floor(Math.log10(high) / 3))) : 0;
  const unit = `${PREFIX[power]}${c.unit}`, size = 10 ** Math.floor(Math.log10((high - low) / 5 || 1));
  const step = [1, 2, 5, 10].map((m) => m * size).find((m) => (high - low) / m <= 7);
  const tickvals = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) tickvals.push(k * step);
  return { unit, tickvals, ticktext: tickvals.map((v) => String(Number((v / 10 ** power).toPrecision(6)))) };
}
function drawParallel() {
  const every = drawn(), all = shown();
  // More lines than pixels tell nothing and take seconds: an even choice of them, with the front; marks count all designs.
  const step = Math.ceil(all.length / MOST_LINES);
  const rows = step > 1 ? all.filter((i, n) => n % step === 0 || (front.has(i) && front.size <= MOST_LINES)) : all;
  el("lines").textContent = step > 1 ? `${rows.length} of ${all.length} designs are drawn as lines; marks count all.` : "";
  axes = columns.filter((c) => {
    const first = c.values[every[0]];
    return c.name !== "certificate_gap" && c.name !== "mapping_gap" && every.some((i) => c.values[i] !== first && !Number.isNaN(c.values[i]));
  });
  const by = column[state.c] && !column[state.c].words ? column[state.c] : column[state.y];
  const box = el("parallel");
  box.style.minWidth = `${Math.max(axes.length, 3) * 132}px`;
  if (!rows.length || !axes.length) {
    Plotly.purge(box);
    box.textContent = rows.length ? "All designs are equal in every column." : "No design is selected.";
    return;
  }
  if (!box.classList.contains("js-plotly-plot")) box.textContent = "";
  const dimensions = axes.map((c) => {
    const values = rows.map((i) => place(c, i)), kept = state.brush[c.name];
    let low = Infinity, high = -Infinity;
    for (const i of every) { const v = place(c, i); if (v < low) low = v; if (v > high) high = v; }
    const dimension = { label: axisLabel(c, ""), values, range: [low, high], constraintrange: kept ? (kept.length === 1 ? kept[0] : kept) : undefined };
    const words = c.words || (c.levels && c.levels.map((v) => (Number.isInteger(v) && Math.abs(v) < 10000 ? `${v} ${c.unit}`.trim() : c.prefixed ? people(v, c.unit) : tidy(v))));
    if (words) return { ...dimension, tickvals: words.map((_, n) => n), ticktext: words };
    const { unit, ...ticks } = axisTicks(c, low, high);
    return { ...dimension, ...ticks, label: axisLabel(c, unit) };
  });
  draw(box, [{
    type: "parcoords", dimensions, labelangle: 0, labelfont: { color: css("--ink"), size: 11 }, tickfont: { color: css("--ink"), size: 10 },
    rangefont: { color: "rgba(0,0,0,0)", size: 1 },
    line: { color: rows.map((i) => by.values[i]), colorscale: ramp() }, unselected: { line: { color: css("--dim"), opacity: 0.15 } },
  }], layout({ margin: { l: 60, r: 80, t: 84, b: 22 } }));
  if (!box.dataset.wired) {
    box.dataset.wired = "1";
    box.on("plotly_restyle", (change) => {
      const keys = Object.keys(change[0] || {}).filter((key) => key.includes("constraintrange"));
      if (!keys.length) return;
      state.brush = {};
      box.data[0].dimensions.forEach((d, n) => {
        const range = d.constraintrange;
        if (range && range.length) state.brush[axes[n].name] = Array.isArray(range[0]) ? range : [range];
      });
      drawScatter(); drawTable(); tell();
    });
  }
}
