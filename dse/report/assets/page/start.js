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
