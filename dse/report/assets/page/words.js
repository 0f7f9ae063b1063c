// Words and numbers.
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
  if (c.name === "mapping_gap") return Number.isNaN(v) ? "" : `${(100 * v).toPrecision(2)} %`;
  if (Number.isInteger(v) && (!c.prefixed || Math.abs(v) < 10000)) return `${v}${c.prefixed ? ` ${c.unit}` : ""}`;
  return c.prefixed ? people(v, c.unit, true, 4) : tidy(v, 4);
};
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

const option = (value, text) => { const o = document.createElement("option"); o.value = value; o.textContent = text; return o; };
