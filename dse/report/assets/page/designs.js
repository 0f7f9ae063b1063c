// Which designs.
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
