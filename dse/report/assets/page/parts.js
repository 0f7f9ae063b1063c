// Area, memory and parameters of one design.
function drawArea() {
  const row = area ? area.designs.indexOf(state.chosen) : -1;
  if (row < 0) return hide("area", area ? "Area is kept for the designs of the front only." : "This run folder holds no area.csv.");
  const values = area.parts.map((_, p) => area.cube[row * area.parts.length + p]);
  const total = values.reduce((a, b) => a + b, 0);
  tall("area", 430);
  draw("area", [{
    type: "treemap", labels: area.parts, parents: area.parts.map(() => ""), values, marker: { colors: values.map((_, n) => PALETTE[n % PALETTE.length]), line: { color: css("--ground"), width: 2 } },
    texttemplate: "%{label}<br>%{value:.3~g} mm²", hovertemplate: "%{label}: %{value:.3~g} mm², %{percentRoot:.0%}<extra></extra>", textfont: { size: 13 }, sort: true,
  }], layout({ margin: { l: 4, r: 4, t: 34, b: 4 } }));
  el("area-text").textContent = `Drawn to scale, ${tidy(total)} mm²: ${area.parts.map((name, p) => [values[p], name]).filter(([v]) => v > 0).sort((a, b) => b[0] - a[0]).map(([v, name]) => `${name} ${tidy(v)} mm²`).join(", ")}.`;
}
function drawMemory() {
  const row = memory ? memory.designs.indexOf(state.chosen) : -1;
  if (row < 0) return hide("memory", memory ? "Memory is kept for the designs of the front only." : "This run folder holds no memory.csv.");
  const values = memory.parts.map((_, p) => memory.cube[row * memory.parts.length + p]);
  const total = values.reduce((a, b) => a + b, 0);
  const used = memory.parts.map((name, p) => [name, values[p], p]).filter(([, v]) => v > 0);
  tall("memory", narrow() ? 260 : 230);
  draw("memory", used.map(([name, v, p]) => ({
    type: "bar", orientation: "h", name, y: ["peak"], x: [v], marker: fill(p), text: [v / total > (narrow() ? 0.2 : 0.1) ? people(v, "bits", true, 3) : ""],
    textposition: "inside", insidetextanchor: "middle", hovertemplate: `${safe(name)}: ${people(v, "bits")}<extra></extra>`,
  })), layout({
    barmode: "stack", margin: { l: 12, r: 14, t: 46 + 22 * Math.ceil(used.length / (narrow() ? 2 : 5)), b: 50 }, showlegend: true,
    xaxis: axis("Bits held at the peak of a step", { tickformat: "~s", ticksuffix: "bits", nticks: 6 }), yaxis: axis("", { showticklabels: false }),
  }));
  el("memory-text").textContent = `${people(total, "bits", true, 4)} at the peak of a step: ${used.sort((a, b) => b[1] - a[1]).map(([n, v]) => `${n} ${people(v, "bits")}`).join(", ")}.`;
}
function drawParameters() {
  el("parameters").innerHTML = `<dl>${columns.map((c) => `<div><dt>${safe(c.label)}</dt><dd>${safe(cell(c, state.chosen))}${c.prefixed || c.words || !c.unit ? "" : ` ${safe(c.unit)}`}</dd></div>`).join("")}</dl>`;
  el("chosen").value = String(state.chosen);
}
