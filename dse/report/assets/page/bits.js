// One design.
const hide = (id, text) => { Plotly.purge(el(id)); el(id).textContent = ""; el(id).style.height = "auto"; el(`${id}-text`).textContent = text; };
const tall = (id, height) => { el(id).style.height = `${height}px`; };
function drawHeat() {
  const row = bits ? bits.designs.indexOf(state.chosen) : -1;
  if (row < 0) return hide("heat", bits ? "Bit maps are kept for the designs of the front only." : "This run folder holds no bits.csv.");
  const nl = bits.layers.length, no = bits.operands.length, phases = bits.phases[row] || [];
  if (state.phase >= Math.max(phases.length, 1)) state.phase = 0;
  el("phasepick").hidden = phases.length < 2;
  el("phase").replaceChildren(...phases.map((name, n) => option(String(n), name)));
  el("phase").value = String(state.phase);
  const code = (l, o) => bits.codes[((row * bits.most + state.phase) * nl + l) * no + o];
  const z = bits.layers.map((_, l) => bits.operands.map((_, o) => bits.widths[code(l, o)] ?? null));
  const formats = bits.layers.map((_, l) => bits.operands.map((_, o) => bits.formats[code(l, o)] ?? ""));
  const widths = bits.widths.filter((w) => w !== null);
  tall("heat", Math.max(260, 90 + 19 * nl));
  draw("heat", [{
    type: "heatmap", x: bits.operands, y: bits.layers, z, zmin: 0, zmax: Math.max(8, ...widths), colorscale: "Cividis", xgap: 2, ygap: 1,
    text: formats, texttemplate: "%{text}", textfont: { size: 10.5 }, hovertemplate: "%{y}, %{x}: %{text} (%{z} bits)<extra></extra>",
    colorbar: { title: { text: "bits", side: "top" }, thickness: 10, outlinewidth: 0 },
  }], layout({ margin: { l: 110, r: 10, t: 34, b: 45 }, xaxis: axis("", { showgrid: false }), yaxis: axis("", { autorange: "reversed", dtick: 1, showgrid: false }) }));
  const said = bits.operands.map((name, o) => {
    const found = {};
    bits.layers.forEach((_, l) => { const f = formats[l][o]; if (f) found[f] = (found[f] || 0) + 1; });
    return `${name}: ${Object.entries(found).map(([f, n]) => `${f} in ${n} layers`).join(", ")}`;
  });
  el("heat-text").textContent = `Number formats of ${data.designs[state.chosen]} by layer and operand${phases.length > 1 ? `, ${phases[state.phase]}` : ""}. ${said.join("; ")}.`;
}
