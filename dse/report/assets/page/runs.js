// The page of several runs.
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
