// The table.
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
