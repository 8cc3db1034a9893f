// The guest of the crossing benchmark in JavaScript. `config` is `{"mode": ".."}`, with the meanings of
// tests/guests/crossing: `nothing` reads no column, `in` reads all, `out` gives all back, `filter` keeps the rows with
// `status >= 500` or `latency > 100` over an `int64` and a `float64` column.

/** A typed array over a buffer; a copy where it is not aligned. */
function view(Type, bytes) {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Type(aligned.buffer, aligned.byteOffset, bytes.byteLength / Type.BYTES_PER_ELEMENT);
}

let mode;

/** The rows that the filter keeps. An `int64` is two halves: big integers would be made for each row. */
function kept(batch) {
  const halves = view(Int32Array, batch.arrays[0].buffers[1]);
  const latency = view(Float64Array, batch.arrays[1].buffers[1]);
  const rows = latency.length;
  const kept = [];
  for (let row = 0; row < rows; row++) {
    if (latency[row] > 100) {
      kept.push(row);
      continue;
    }
    const high = halves[2 * row + 1];
    if (high > 0 || (high === 0 && halves[2 * row] >>> 0 >= 500)) kept.push(row);
  }
  return Uint32Array.from(kept);
}

export const transform = {
  describe() {
    return {
      name: "js-crossing",
      version: "0.1.0",
      summary: "Does nothing, reads, gives back or filters",
      configSchema:
        '{"type":"object","properties":{"mode":{"enum":["nothing","in","out","filter"]}},"required":["mode"],"additionalProperties":false}',
      sdk: "componentize-js, no SDK",
    };
  },

  bind(input, config) {
    mode = JSON.parse(config).mode;
    const every = input.fields.map((_, index) => index);
    const reads = { nothing: [], in: every, out: every, filter: [0, 1] }[mode];
    const columns = input.fields.map((field, index) =>
      mode === "out" ? { tag: "computed", val: [field] } : { tag: "passed", val: { index, name: undefined } },
    );
    return { reads: Uint32Array.from(reads), outputs: [{ name: "out", columns }] };
  },

  process(batch) {
    const rows = mode === "filter" ? { tag: "take", val: kept(batch) } : { tag: "every-row" };
    const computed = mode === "out" ? batch.arrays : [];
    return { emissions: [{ output: 0, rows, computed }], rejections: [] };
  },
};
