// The front.
function hover(i) {
  const lines = columns.slice(0, 14).map((c) => `${safe(c.label)}: ${safe(cell(c, i))}${c.prefixed || c.words || !c.unit ? "" : ` ${safe(c.unit)}`}`);
  return `<b>${safe(data.designs[i])}</b>${infeasible.has(i) ? ` (infeasible${data.limits[i] ? `: ${safe(data.limits[i])}` : ""})` : ""}<br>${lines.join("<br>")}`;
}
const coordinate = (c, i) => (c.words ? c.words[c.values[i]] : c.values[i]);
function drawScatter() {
  const x = column[state.x], y = column[state.y], c = column[state.c];
  const rows = drawn();
  const keep = picky() ? new Set(marked()) : null;
  const type = rows.length > 3000 ? "scattergl" : "scatter";
  const points = (list, name, marker) => ({
    type, mode: "markers", name, x: list.map((i) => coordinate(x, i)), y: list.map((i) => coordinate(y, i)), customdata: list,
    text: list.length <= 4000 ? list.map(hover) : list.map((i) => safe(data.designs[i])), hovertemplate: "%{text}<extra></extra>", marker,
    selectedpoints: keep === null ? undefined : list.flatMap((i, n) => (keep.has(i) ? [n] : [])),
    selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 0.12 } },
  });
  const behind = rows.filter((i) => !front.has(i));
  const edge = rows.filter((i) => front.has(i));
  const traces = [];
  if (behind.length)
    traces.push(points(behind, "kept", {
      color: css("--dim"), size: 5, symbol: behind.map((i) => (infeasible.has(i) ? "x" : "circle")), opacity: 0.6,
    }));
  if (edge.length) {
    const marker = { color: PALETTE[0], size: edge.length > 400 ? 6 : 9, line: { width: 0.7, color: css("--ground") } };
    if (c && !c.words)
      Object.assign(marker, {
        color: edge.map((i) => c.values[i]), colorscale: ramp(), showscale: true,
        colorbar: { title: { text: titled(c), side: narrow() ? "top" : "right" }, orientation: narrow() ? "h" : "v",
          ...(narrow() ? { y: -0.28, yanchor: "top", thickness: 10 } : { thickness: 12 }), outlinewidth: 0, ...scaled(c) },
      });
    else if (c) marker.color = edge.map((i) => PALETTE[c.values[i] % PALETTE.length]);
    traces.push(points(edge, "front", marker));
  }
  const known = (v) => v !== null && v !== undefined;
  const mine = baselines.filter((b) => known(b[state.x]) && known(b[state.y]));
  const called = (b) => `${b.name}${b.beyond ? ", beyond limit" : ""}`;
  const names = [...new Set(mine.map(called))];
  names.forEach((name, n) => {
    const list = mine.filter((b) => called(b) === name);
    traces.push({
      type: "scatter", mode: "markers", name, x: list.map((b) => b[state.x]), y: list.map((b) => b[state.y]),
      text: list.map((b) => `<b>${safe(called(b))}</b>${b.feasible ? "" : " (infeasible)"}<br>${safe(b.note || "")}`),
      hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>",
      marker: {
        symbol: ["square", "diamond", "triangle-up", "cross", "pentagon", "triangle-down", "hexagon", "hourglass"][n % 8] + (list[0].beyond ? "-open" : ""),
        size: 11, color: PALETTE[[5, 1, 3, 2, 4, 6, 7, 0][n % 8]], line: list[0].beyond ? { width: 2 } : { width: 1, color: css("--ink") },
      },
    });
  });
  const ring = (i, name, marker) => ({
    type: "scatter", mode: "markers", name, x: [coordinate(x, i)], y: [coordinate(y, i)], customdata: [i], hoverinfo: "skip", marker,
  });
  if (data.knee !== null && rows.includes(data.knee))
    traces.push(ring(data.knee, "knee", { symbol: "star-open", size: 21, color: css("--ink"), line: { width: 1.8 } }));
  if (rows.includes(state.chosen))
    traces.push(ring(state.chosen, "shown below", { symbol: "circle-open", size: 17, color: PALETTE[5], line: { width: 2.5 } }));
  const log = (on, c1) => (on && !c1.words ? logTicks([...rows.map((i) => c1.values[i]), ...mine.map((b) => b[c1.name])], c1.prefixed ? c1.unit : null) : {});
  draw("scatter", traces, layout({
    xaxis: axis(titled(x), { ...scaled(x), ...log(state.xlog, x) }), yaxis: axis(titled(y), { ...scaled(y), ...log(state.ylog, y) }),
    dragmode: state.drag, hovermode: "closest", uirevision: [state.x, state.y, state.xlog, state.ylog, state.all].join(),
    selectionrevision: state.lasso === null ? Math.random() : "kept", selections: state.lasso === null ? [] : undefined,
    newselection: { line: { color: css("--ink"), width: 1.5 } },
  }));
  el("scatter-text").textContent =
    `${x.label} against ${y.label.toLowerCase()} per ${data.per}: ${edge.length} non-dominated of ${count} designs kept` +
    `${hasFront ? "" : "; none is feasible"}. ${mine.length ? `Baselines: ${names.join(", ")}. ` : ""}` +
    `${data.knee === null ? "" : `The star marks the knee, ${data.designs[data.knee]}.`} The same figures are in the table of designs.`;
}
function span(c, rows) {
  let low = Infinity, high = -Infinity;
  for (const i of rows) { const v = c.values[i]; if (v > 0) { low = Math.min(low, v); high = Math.max(high, v); } }
  return high / low;
}
