// Look.
const narrow = () => window.innerWidth < 560;
const axis = (title, more = {}) => ({
  title: { text: title, standoff: 8 }, gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false, automargin: true, ...more,
});
// On paper a plot is as wide as the page, or as half of it: A4 without its margins has some 700 pixels.
let onPaper = false;
const WIDE = new Set(["scatter", "parallel"]);
const paper = (id) => (onPaper ? { autosize: false, width: WIDE.has(id) ? 690 : 335, height: el(id).clientHeight || 400 } : { autosize: true });
const draw = (id, traces, look) => Plotly.react(id, traces, { ...look, ...paper(id) }, CONFIG);
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
