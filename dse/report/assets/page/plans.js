// Plans.
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
