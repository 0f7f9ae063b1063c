"use strict";
// One state, drawn again in full after every change; nothing is asked of any server.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const el = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const count = data.designs.length;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const CONFIG = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtonsToRemove: ["autoScale2d", "sendChartToCloud", "sendDataToCloud"] };
  if (data.figures) return overlay();
  if (!count) return;

  // Okabe and Ito's palette: told apart with every common colour blindness.
  const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];
  const columns = data.columns.map((c) => ({ ...c, values: floats(c.numbers) }));
  const column = Object.fromEntries(columns.map((c) => [c.name, c]));
  const front = new Set(data.front);
  const infeasible = new Set(data.infeasible);
  const hasFront = front.size > 0;
  const baselines = data.baselines;
  const detail = data.detail && { ...data.detail, cube: floats(data.detail.numbers), bound: bytes(data.detail.bound) };
  const bits = data.bits && { ...data.bits, codes: bytes(data.bits.codes) };
  const memory = data.memory && { ...data.memory, cube: floats(data.memory.numbers) };
  const area = data.area && { ...data.area, cube: floats(data.area.numbers) };

  const MOST_LINES = 3000;
  const state = {
    x: "latency_s", y: "energy_j", c: "", xlog: false, ylog: false, all: !hasFront,
    lasso: null, brush: {}, chosen: data.knee ?? (hasFront ? data.front[0] : 0), pass: -1,
    sort: "latency_s", down: false, rows: 25, drag: "zoom", phase: 0,
  };

  // ---------- the page of several runs
  function overlay() {
    const draw = () => data.figures.forEach(({ x, y, figure }) => {
      const id = `pair-${x}-${y}`;
      if (!el(id)) {
        const box = document.createElement("div");
        Object.assign(box, { id, className: "plot", role: "img" });
        box.setAttribute("aria-label", `Fronts of the runs: ${x} against ${y}; front.csv of each run holds the figures.`);
        el("figures").append(box);
      }
      const colours = { gridcolor: css("--grid"), linecolor: css("--line"), automargin: true };
      const { xaxis, yaxis, ...rest } = figure.layout;
      Plotly.react(id, figure.data, {
        ...rest, font: { color: css("--ink") }, margin: { l: 60, r: 14, t: 60, b: 50 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent") }, showlegend: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        xaxis: { ...xaxis, ...colours }, yaxis: { ...yaxis, ...colours },
      }, CONFIG);
    });
    draw();
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
    document.documentElement.dataset.ready = "1";
  }

  // ---------- words and numbers
  const PREFIX = { "-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E" };
  const tidy = (v, digits = 3) => {
    if (v === null || v === undefined || Number.isNaN(v)) return "unknown";
    if (v === 0) return "0";
    const size = Math.floor(Math.log10(Math.abs(v)));
    if (size < -5 || size >= 15) return v.toExponential(digits - 1);
    return size >= digits - 1 ? v.toFixed(0) : v.toFixed(digits - 1 - size);
  };
  const people = (v, unit, prefixed = true, digits = 3) => {
    if (v === null || v === undefined || Number.isNaN(v)) return "unknown";
    if (!prefixed || v === 0) return `${tidy(v, digits)} ${unit}`.trim();
    const power = Math.min(18, Math.max(-15, 3 * Math.floor(Math.log10(Math.abs(Number(v.toPrecision(digits)))) / 3)));
    return `${tidy(v / 10 ** power, digits)} ${PREFIX[power]}${unit}`;
  };
  const cell = (c, i) => {
    const v = c.values[i];
    if (c.words) return c.words[v] ?? "";
    if (c.name === "certificate_gap") return Number.isNaN(v) ? "none" : v <= 1e-12 ? "0 (proven)" : `${(100 * v).toPrecision(2)} %`;
    if (Number.isInteger(v) && (!c.prefixed || Math.abs(v) < 10000)) return `${v}${c.prefixed ? ` ${c.unit}` : ""}`;
    return c.prefixed ? people(v, c.unit, true, 4) : tidy(v, 4);
  };
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
  const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

  const option = (value, text) => { const o = document.createElement("option"); o.value = value; o.textContent = text; return o; };

  // ---------- look
  const narrow = () => window.innerWidth < 560;
  const axis = (title, more = {}) => ({
    title: { text: title, standoff: 8 }, gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false, automargin: true, ...more,
  });
  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("--ink"), size: narrow() ? 11 : 12.5 },
    margin: { l: 60, r: 14, t: narrow() ? 108 : 66, b: 50 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent") }, hoverlabel: { align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" }, ...more,
  });
  // Viridis begins nearly black: on a dark ground its lower end is lifted.
  const ramp = () => (css("--ground").startsWith("#1") ? [[0, "#7d8cff"], [0.35, "#3fb8c9"], [0.7, "#7ad151"], [1, "#fde725"]] : "Viridis");
  // Beyond the palette's colours, stripes tell apart.
  const fill = (k) => ({ color: PALETTE[k % PALETTE.length], ...(k >= PALETTE.length ? { pattern: { shape: "/", fgcolor: css("--ground"), size: 6 } } : {}) });
  // Ticks of a prefixed quantity carry its unit; a title says what latency and energy are of.
  const OF = new Set(["latency_s", "energy_j"]);
  const titled = (c) => (OF.has(c.name) && !narrow() ? `${c.label} per ${data.per}` : c.prefixed ? c.label : c.title);
  const scaled = (c) => (c.words ? {} : c.prefixed ? { tickformat: "~s", ticksuffix: c.unit } : { tickformat: "~g" });

  // Written out, since plotly gives the digits between powers of ten no prefix.
  function logTicks(values, unit) {
    const some = values.filter((v) => v > 0);
    const low = some.reduce((a, v) => Math.min(a, v), Infinity), high = some.reduce((a, v) => Math.max(a, v), 0);
    if (!some.length) return { type: "log" };
    const ratio = high / low;
    const steps = ratio > 1000 ? [1] : ratio > (narrow() ? 8 : 30) ? [1, 3] : ratio > 3 ? [1, 2, 5] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
    const tickvals = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.log10(high) + 1; power++) tickvals.push(...steps.map((m) => Number(`${m}e${power}`)));
    return { type: "log", tickmode: "array", tickvals, ticktext: tickvals.map((v) => (unit === null ? String(Number(v.toPrecision(2))) : people(v, unit, true, 2).replace(/\.0(?= )/, ""))), tickformat: "", ticksuffix: "" };
  }

  // ---------- which designs
  // On an axis, a column of few values (powers of two, say) stands by rank; any other by value.
  for (const c of columns) {
    const levels = [...new Set(c.values)].sort((a, b) => a - b);
    c.levels = levels.length <= 8 && !levels.some(Number.isNaN) && !c.words ? levels : null;
  }
  const place = (c, i) => (c.levels ? c.levels.indexOf(c.values[i]) : c.values[i]);
  const inBrush = (i) =>
    Object.entries(state.brush).every(([name, ranges]) => {
      const v = place(column[name], i);
      return ranges.some(([low, high]) => v >= low && v <= high);
    });
  const drawn = () => [...Array(count).keys()].filter((i) => state.all || front.has(i));
  const shown = () => drawn().filter((i) => state.lasso === null || state.lasso.has(i));
  const marked = () => shown().filter(inBrush);
  const picky = () => state.lasso !== null || Object.keys(state.brush).length > 0;

  // ---------- the front
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
    Plotly.react("scatter", traces, layout({
      xaxis: axis(titled(x), { ...scaled(x), ...log(state.xlog, x) }), yaxis: axis(titled(y), { ...scaled(y), ...log(state.ylog, y) }),
      dragmode: state.drag, hovermode: "closest", uirevision: [state.x, state.y, state.xlog, state.ylog, state.all].join(),
      selectionrevision: state.lasso === null ? Math.random() : "kept", selections: state.lasso === null ? [] : undefined,
      newselection: { line: { color: css("--ink"), width: 1.5 } },
    }), CONFIG);
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

  // ---------- parallel coordinates
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
      return c.name !== "certificate_gap" && every.some((i) => c.values[i] !== first && !Number.isNaN(c.values[i]));
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
    Plotly.react(box, [{
      type: "parcoords", dimensions, labelangle: 0, labelfont: { color: css("--ink"), size: 11 }, tickfont: { color: css("--ink"), size: 10 },
      rangefont: { color: "rgba(0,0,0,0)", size: 1 },
      line: { color: rows.map((i) => by.values[i]), colorscale: ramp() }, unselected: { line: { color: css("--dim"), opacity: 0.15 } },
    }], layout({ margin: { l: 60, r: 80, t: 84, b: 22 } }), CONFIG);
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

  // ---------- one design
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
    Plotly.react("heat", [{
      type: "heatmap", x: bits.operands, y: bits.layers, z, zmin: 0, zmax: Math.max(8, ...widths), colorscale: "Cividis", xgap: 2, ygap: 1,
      text: formats, texttemplate: "%{text}", textfont: { size: 10.5 }, hovertemplate: "%{y}, %{x}: %{text} (%{z} bits)<extra></extra>",
      colorbar: { title: { text: "bits", side: "top" }, thickness: 10, outlinewidth: 0 },
    }], layout({ margin: { l: 110, r: 10, t: 34, b: 45 }, xaxis: axis("", { showgrid: false }), yaxis: axis("", { autorange: "reversed", dtick: 1, showgrid: false }) }), CONFIG);
    const said = bits.operands.map((name, o) => {
      const found = {};
      bits.layers.forEach((_, l) => { const f = formats[l][o]; if (f) found[f] = (found[f] || 0) + 1; });
      return `${name}: ${Object.entries(found).map(([f, n]) => `${f} in ${n} layers`).join(", ")}`;
    });
    el("heat-text").textContent = `Number formats of ${data.designs[state.chosen]} by layer and operand${phases.length > 1 ? `, ${phases[state.phase]}` : ""}. ${said.join("; ")}.`;
  }
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
      Plotly.react(id, traces, layout({
        barmode: "stack", bargap: 0.25, margin: { l: 110, r: 14, t: 46 + 22 * Math.ceil(traces.length / (narrow() ? 1.3 : 3)), b: 50 }, showlegend: true,
        xaxis: axis(title, { tickformat: "~s", ticksuffix: unit, nticks: 6 }), yaxis: axis("", { autorange: "reversed", dtick: 1 }),
      }), CONFIG);
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
    Plotly.react("roof", traces, layout({
      margin: { l: 70, r: 14, t: narrow() ? 108 : 66, b: 50 },
      xaxis: axis("MACs per bit of DRAM traffic (MAC/bit)", logTicks(traces.flatMap((t) => t.x), "")),
      yaxis: axis("Throughput (MAC/s)", logTicks(traces.flatMap((t) => t.y), "")),
    }), CONFIG);
    el("roof-text").textContent = `Each mark is a layer in a pass. The dashed roof is the highest throughput (${people(peak, "MAC/s")}) and the highest DRAM rate (${people(rate, "bits/s")}) that any of them reaches.`;
  }
  function drawArea() {
    const row = area ? area.designs.indexOf(state.chosen) : -1;
    if (row < 0) return hide("area", area ? "Area is kept for the designs of the front only." : "This run folder holds no area.csv.");
    const values = area.parts.map((_, p) => area.cube[row * area.parts.length + p]);
    const total = values.reduce((a, b) => a + b, 0);
    tall("area", 430);
    Plotly.react("area", [{
      type: "treemap", labels: area.parts, parents: area.parts.map(() => ""), values, marker: { colors: values.map((_, n) => PALETTE[n % PALETTE.length]), line: { color: css("--ground"), width: 2 } },
      texttemplate: "%{label}<br>%{value:.3~g} mm²", hovertemplate: "%{label}: %{value:.3~g} mm², %{percentRoot:.0%}<extra></extra>", textfont: { size: 13 }, sort: true,
    }], layout({ margin: { l: 4, r: 4, t: 34, b: 4 } }), CONFIG);
    el("area-text").textContent = `Drawn to scale, ${tidy(total)} mm²: ${area.parts.map((name, p) => [values[p], name]).filter(([v]) => v > 0).sort((a, b) => b[0] - a[0]).map(([v, name]) => `${name} ${tidy(v)} mm²`).join(", ")}.`;
  }
  function drawMemory() {
    const row = memory ? memory.designs.indexOf(state.chosen) : -1;
    if (row < 0) return hide("memory", memory ? "Memory is kept for the designs of the front only." : "This run folder holds no memory.csv.");
    const values = memory.parts.map((_, p) => memory.cube[row * memory.parts.length + p]);
    const total = values.reduce((a, b) => a + b, 0);
    const used = memory.parts.map((name, p) => [name, values[p], p]).filter(([, v]) => v > 0);
    tall("memory", narrow() ? 260 : 230);
    Plotly.react("memory", used.map(([name, v, p]) => ({
      type: "bar", orientation: "h", name, y: ["peak"], x: [v], marker: fill(p), text: [v / total > (narrow() ? 0.2 : 0.1) ? people(v, "bits", true, 3) : ""],
      textposition: "inside", insidetextanchor: "middle", hovertemplate: `${safe(name)}: ${people(v, "bits")}<extra></extra>`,
    })), layout({
      barmode: "stack", margin: { l: 12, r: 14, t: 46 + 22 * Math.ceil(used.length / (narrow() ? 2 : 5)), b: 50 }, showlegend: true,
      xaxis: axis("Bits held at the peak of a step", { tickformat: "~s", ticksuffix: "bits", nticks: 6 }), yaxis: axis("", { showticklabels: false }),
    }), CONFIG);
    el("memory-text").textContent = `${people(total, "bits", true, 4)} at the peak of a step: ${used.sort((a, b) => b[1] - a[1]).map(([n, v]) => `${n} ${people(v, "bits")}`).join(", ")}.`;
  }
  function drawParameters() {
    el("parameters").innerHTML = `<dl>${columns.map((c) => `<div><dt>${safe(c.label)}</dt><dd>${safe(cell(c, state.chosen))}${c.prefixed || c.words || !c.unit ? "" : ` ${safe(c.unit)}`}</dd></div>`).join("")}</dl>`;
    el("chosen").value = String(state.chosen);
  }

  // ---------- the table
  function tableColumns() {
    const every = drawn();
    return columns.filter((c, n) => n < 4 || every.some((i) => c.values[i] !== c.values[every[0]]));
  }
  function drawTable() {
    const list = marked(), by = column[state.sort];
    list.sort((a, b) => {
      const order = by ? by.values[a] - by.values[b] : data.designs[a] < data.designs[b] ? -1 : 1;
      return (Number.isNaN(order) ? 0 : order) * (state.down ? -1 : 1) || a - b;
    });
    const heads = [{ name: "design", title: "Design" }, ...tableColumns()];
    const table = el("table");
    table.tHead.innerHTML = `<tr>${heads.map((c, n) => `<th scope="col" class="${n ? "number" : ""}" aria-sort="${c.name === state.sort ? (state.down ? "descending" : "ascending") : "none"}"><button type="button" data-sort="${safe(c.name)}">${safe(c.title)}${c.name === state.sort ? (state.down ? " ▼" : " ▲") : ""}</button></th>`).join("")}<th scope="col">YAML</th></tr>`;
    table.tBodies[0].innerHTML = list.slice(0, state.rows).map((i) =>
      `<tr class="${i === state.chosen ? "chosen" : ""}"><td><button type="button" data-open="${i}">${safe(data.designs[i])}</button></td>${heads.slice(1).map((c) => `<td class="number">${safe(cell(c, i))}</td>`).join("")}<td>${front.has(i) && data.plans ? `<button type="button" data-copy="${i}">Copy</button> <button type="button" data-save="${i}">Download</button>` : ""}</td></tr>`).join("");
    el("more").hidden = list.length <= state.rows;
    el("more").textContent = `Show more (${list.length - state.rows} left)`;
  }
  function tell() {
    const n = marked().length;
    el("status").textContent = picky() ? `${n} of ${drawn().length} designs selected.` : `${drawn().length} designs shown; click one to open it, or draw a lasso to filter.`;
  }

  // ---------- plans
  let plans = null;
  async function plan(i) {
    if (!data.plans) throw new Error("This run folder holds no plan files.");
    if (!plans) {
      if (typeof DecompressionStream === "undefined") throw new Error("This browser cannot unpack the plans; they are in the run folder's plans/.");
      const stream = new Blob([bytes(data.plans)]).stream().pipeThrough(new DecompressionStream("gzip"));
      plans = JSON.parse(await new Response(stream).text());
    }
    const text = plans.texts[data.designs[i]];
    if (text === undefined) throw new Error(`There is no plan file of ${data.designs[i]}.`);
    return text.replace(plans.placeholder, () => plans.hardware);
  }
  async function save(i) {
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([await plan(i)], { type: "application/yaml" }));
      link.download = `${data.designs[i]}.yaml`;
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      el("said").textContent = `${data.designs[i]}.yaml is downloaded.`;
    } catch (error) { el("said").textContent = error.message; }
  }
  async function copy(i) {
    try {
      const text = await plan(i);
      try { await navigator.clipboard.writeText(text); } catch {
        // Pages opened from a file may not use the clipboard interface everywhere.
        const box = document.createElement("textarea");
        box.value = text;
        document.body.append(box);
        box.select();
        document.execCommand("copy");
        box.remove();
      }
      el("said").textContent = `The YAML of ${data.designs[i]} is copied.`;
    } catch (error) { el("said").textContent = error.message; }
  }

  // ---------- wiring
  function choose(i, scroll) {
    state.chosen = i;
    drawScatter(); drawDesign(); drawTable();
    if (scroll) el("design").scrollIntoView({ behavior: "smooth" });
  }
  function drawDesign() { drawParameters(); drawHeat(); drawLayers(); drawMemory(); drawArea(); }
  function drawAll() { drawScatter(); drawParallel(); drawDesign(); drawTable(); tell(); }
  for (const c of columns) { el("x").append(option(c.name, c.title)); el("y").append(option(c.name, c.title)); }
  el("c").append(option("", "none"));
  for (const c of columns) el("c").append(option(c.name, c.title));
  const listed = hasFront ? data.front : [...Array(Math.min(count, 2000)).keys()];
  for (const i of listed) el("chosen").append(option(String(i), data.designs[i] + (i === data.knee ? " (knee)" : "")));
  if (detail && detail.passes.length > 1) {
    el("pass").append(option("-1", "all passes"));
    detail.passes.forEach((name, p) => el("pass").append(option(String(p), name)));
  } else el("passpick").hidden = true;
  const varies = (name) => column[name] && columnVaries(column[name]);
  function columnVaries(c) { const first = c.values[data.front[0] ?? 0]; return listed.some((i) => c.values[i] !== first); }
  state.c = ["area_mm2", "accuracy_drop_pp"].find((name) => varies(name) && (name !== "area_mm2" || data.objectives.includes(name) || !data.objectives.length)) || "";
  const wide = (name) => {
    const list = [...drawn().map((i) => column[name].values[i]), ...baselines.map((b) => b[name])].filter((v) => v > 0);
    return list.reduce((a, v) => Math.max(a, v), 0) / list.reduce((a, v) => Math.min(a, v), Infinity) > 8;
  };
  state.xlog = wide(state.x); state.ylog = wide(state.y);
  el("x").value = state.x; el("y").value = state.y; el("c").value = state.c;
  el("xlog").checked = state.xlog; el("ylog").checked = state.ylog; el("all").checked = state.all; el("all").disabled = !hasFront;
  if (front.size === count) el("all").parentElement.hidden = true;
  if (!data.plans) { el("copy").hidden = true; el("download").hidden = true; }
  for (const id of ["x", "y", "c"]) el(id).addEventListener("change", () => { state[id] = el(id).value; if (id !== "c") state.lasso = null; drawAll(); });
  for (const id of ["xlog", "ylog"]) el(id).addEventListener("change", () => { state[id] = el(id).checked; drawScatter(); });
  el("all").addEventListener("change", () => { state.all = el("all").checked; state.lasso = null; state.brush = {}; drawAll(); });
  el("chosen").addEventListener("change", () => choose(Number(el("chosen").value)));
  el("phase").addEventListener("change", () => { state.phase = Number(el("phase").value); drawHeat(); });
  el("pass").addEventListener("change", () => { state.pass = Number(el("pass").value); drawLayers(); });
  el("lasso").addEventListener("click", () => {
    state.drag = state.drag === "lasso" ? "zoom" : "lasso";
    el("lasso").setAttribute("aria-pressed", String(state.drag === "lasso"));
    Plotly.relayout("scatter", { dragmode: state.drag });
  });
  el("lasso").setAttribute("aria-pressed", "false");
  el("clear").addEventListener("click", () => { state.lasso = null; state.brush = {}; drawAll(); });
  el("copy").addEventListener("click", () => copy(state.chosen));
  el("download").addEventListener("click", () => save(state.chosen));
  el("more").addEventListener("click", () => { state.rows += 100; drawTable(); });
  el("table").addEventListener("click", (event) => {
    const d = event.target.dataset;
    if (d.sort) { state.down = state.sort === d.sort ? !state.down : false; state.sort = d.sort; drawTable(); }
    if (d.open) choose(Number(d.open), true);
    if (d.copy) copy(Number(d.copy));
    if (d.save) save(Number(d.save));
  });
  drawAll();
  const box = el("scatter");
  const select = (event) => {
    if (!event || !event.points) return;
    if (!event.lassoPoints && !event.range && !(event.selections || []).length) return;
    state.lasso = new Set(event.points.filter((p) => p.customdata !== undefined).map((p) => p.customdata));
    drawParallel(); drawTable(); tell();
    if (Object.keys(state.brush).length) drawScatter();
  };
  const wire = () => {
    box.on("plotly_click", (event) => { const p = event.points.find((q) => q.customdata !== undefined); if (p) choose(p.customdata); });
    box.on("plotly_selected", select);
    box.on("plotly_deselect", () => { if (state.lasso !== null) { state.lasso = null; drawAll(); } });
  };
  wire();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  // plotly keeps room for a colour bar that stood elsewhere: a plot that changes its form starts anew.
  matchMedia("(max-width: 559px)").addEventListener("change", () => { Plotly.purge(box); drawAll(); wire(); });
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  document.documentElement.dataset.ready = "1";
})();
