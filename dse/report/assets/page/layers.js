// Energy, time and roofline of one design's layers.
function layerSums(row) {
  // [layer][value], summed over the passes shown
  const [nl, np, nv] = [detail.layers.length, detail.passes.length, detail.values.length];
  return detail.layers.map((_, l) => {
    const sums = new Array(nv).fill(0);
    for (let p = 0; p < np; p++) if (state.pass < 0 || state.pass === p) for (let v = 0; v < nv; v++) sums[v] += detail.cube[((row * nl + l) * np + p) * nv + v];
    return sums;
  });
}
const largest = (list, n) => list.map((v, i) => [v, i]).sort((a, b) => b[0] - a[0]).slice(0, n).filter(([v]) => v > 0);
function drawLayers() {
  const row = detail ? detail.designs.indexOf(state.chosen) : -1;
  if (row < 0) {
    const why = !detail ? "This run folder holds no layers.csv."
      : front.has(state.chosen) ? `The page holds the layers of ${detail.designs.length} of the ${detail.of} designs of the front; layers.csv has them all.`
        : "Costs of the layers are kept for the designs of the front only.";
    ["energy", "time", "roof"].forEach((id) => hide(id, why));
    return;
  }
  const sums = layerSums(row);
  const which = state.pass < 0 ? "all passes" : detail.passes[state.pass];
  const height = Math.max(300, 120 + 19 * detail.layers.length);
  const bars = (id, traces, unit, title) => {
    tall(id, height);
    draw(id, traces, layout({
      barmode: "stack", bargap: 0.25, margin: { l: 110, r: 14, t: 46 + 22 * Math.ceil(traces.length / (narrow() ? 1.3 : 3)), b: 50 }, showlegend: true,
      xaxis: axis(title, { tickformat: "~s", ticksuffix: unit, nticks: 6 }), yaxis: axis("", { autorange: "reversed", dtick: 1 }),
    }));
  };
  const each = detail.parts.map((name, k) => [name, sums.map((s) => s[1 + k]), k]).filter(([, v]) => v.some((x) => x > 0));
  const sum = (v) => v.reduce((a, b) => a + b, 0);
  // Parts below 1 % are one: more colours than the palette has could not be told apart.
  const most = each.reduce((a, [, v]) => a + sum(v), 0), parts = each.filter(([, v]) => sum(v) >= 0.01 * most);
  const rest = each.filter(([, v]) => sum(v) < 0.01 * most);
  if (rest.length) parts.push([rest.length === 1 ? rest[0][0] : "other", detail.layers.map((_, l) => rest.reduce((a, [, v]) => a + v[l], 0)), 7]);
  bars("energy", parts.map(([name, v, k]) => ({
    type: "bar", orientation: "h", name: short(name.replaceAll("_", " "), 34), y: detail.layers, x: v, marker: fill(k),
    hovertemplate: `%{y}, ${safe(name.replaceAll("_", " "))}: %{x:.3~s}J<extra></extra>`,
  })), "J", narrow() ? "Energy" : `Energy per ${data.per}`);
  const totals = parts.map(([name, v]) => [name, v.reduce((a, b) => a + b, 0)]);
  const all = totals.reduce((a, [, v]) => a + v, 0);
  const topLayers = largest(sums.map((s) => s.slice(1, 1 + detail.parts.length).reduce((a, b) => a + b, 0)), 3);
  el("energy-text").textContent = `${people(all, "J")} in ${which}: ${totals.sort((a, b) => b[1] - a[1]).map(([n, v]) => `${n.replaceAll("_", " ")} ${tidy((100 * v) / all, 2)} %`).join(", ")}. ` +
    `${rest.length > 1 ? `Other: ${rest.map(([name]) => name.replaceAll("_", " ")).join(", ")}. ` : ""}Most in ${topLayers.map(([v, l]) => `${detail.layers[l]} (${people(v, "J")})`).join(", ")}.`;
  const [nl, np, nv] = [detail.layers.length, detail.passes.length, detail.values.length];
  const by = detail.bounds.map(() => new Array(nl).fill(0));
  for (let l = 0; l < nl; l++)
    for (let p = 0; p < np; p++)
      if (state.pass < 0 || state.pass === p) by[detail.bound[(row * nl + l) * np + p]][l] += detail.cube[((row * nl + l) * np + p) * nv];
  const used = detail.bounds.map((name, b) => [name, by[b], b]).filter(([, v]) => v.some((x) => x > 0));
  bars("time", used.map(([name, v, b]) => ({
    type: "bar", orientation: "h", name: name.replaceAll("_", " "), y: detail.layers, x: v, marker: fill(b),
    hovertemplate: `%{y}, bound by ${safe(name)}: %{x:.3~s}s<extra></extra>`,
  })), "s", narrow() ? "Time" : `Time per ${data.per}`);
  const time = used.map(([name, v]) => [name, v.reduce((a, b) => a + b, 0)]);
  const whole = time.reduce((a, [, v]) => a + v, 0);
  el("time-text").textContent = `${people(whole, "s")} in ${which}: ${time.sort((a, b) => b[1] - a[1]).map(([n, v]) => `${tidy((100 * v) / whole, 2)} % bound by ${n.replaceAll("_", " ")}`).join(", ")}.`;
  drawRoof(row);
}
function drawRoof(row) {
  const m = detail.values.indexOf("macs"), d = detail.values.indexOf("dram_bits");
  if (m < 0 || d < 0) return hide("roof", "This run's layers.csv holds no MACs and DRAM traffic to draw a roofline from.");
  const [nl, np, nv] = [detail.layers.length, detail.passes.length, detail.values.length];
  const at = (l, p, v) => detail.cube[((row * nl + l) * np + p) * nv + v];
  let peak = 0, rate = 0, low = Infinity, high = 0;
  const traces = detail.passes.map((name, p) => {
    const list = [...Array(nl).keys()].filter((l) => at(l, p, m) > 0 && at(l, p, d) > 0 && at(l, p, 0) > 0);
    const x = list.map((l) => at(l, p, m) / at(l, p, d)), y = list.map((l) => at(l, p, m) / at(l, p, 0));
    list.forEach((l, n) => { peak = Math.max(peak, y[n]); rate = Math.max(rate, at(l, p, d) / at(l, p, 0)); low = Math.min(low, x[n]); high = Math.max(high, x[n]); });
    return {
      type: "scatter", mode: "markers", name, x, y, text: list.map((l) => `${safe(detail.layers[l])}, ${safe(name)}, bound by ${safe(detail.bounds[detail.bound[(row * nl + l) * np + p]])}`),
      marker: { size: 9, color: PALETTE[p % PALETTE.length], symbol: ["circle", "square", "diamond", "triangle-up"][p % 4], line: { width: 0.6, color: css("--ground") } },
      hovertemplate: "%{text}<br>%{x:.3~s}MAC/bit, %{y:.3~s}MAC/s<extra></extra>",
    };
  }).filter((t) => t.x.length);
  if (!traces.length) return hide("roof", "No layer moves data to DRAM.");
  const ridge = peak / rate, left = Math.min(low, ridge) / 2, right = Math.max(high, ridge) * 2;
  traces.push({
    type: "scatter", mode: "lines", name: "highest reached", x: [left, ridge, right], y: [left * rate, peak, peak], hoverinfo: "skip",
    line: { dash: "dash", width: 1.5, color: css("--quiet") },
  });
  tall("roof", 430);
  draw("roof", traces, layout({
    margin: { l: 70, r: 14, t: narrow() ? 108 : 66, b: 50 },
    xaxis: axis("MACs per bit of DRAM traffic (MAC/bit)", logTicks(traces.flatMap((t) => t.x), "")),
    yaxis: axis("Throughput (MAC/s)", logTicks(traces.flatMap((t) => t.y), "")),
  }));
  el("roof-text").textContent = `Each mark is a layer in a pass. The dashed roof is the highest throughput (${people(peak, "MAC/s")}) and the highest DRAM rate (${people(rate, "bits/s")}) that any of them reaches.`;
}
