// Wiring.
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
// On paper: what is short is open; tables of many pages are named, and stand in the file beside the page.
window.addEventListener("beforeprint", () => { onPaper = true; drawAll(); document.querySelectorAll("details").forEach((d) => { d.open = !d.classList.contains("long"); }); });
window.addEventListener("afterprint", () => { onPaper = false; drawAll(); });
document.documentElement.dataset.ready = "1";
