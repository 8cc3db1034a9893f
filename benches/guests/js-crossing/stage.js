// The guest of the crossing benchmark in JavaScript. `config` is `{"mode": ".."}`, with the meanings of
// tests/guests/crossing: `nothing` reads no column, `in` reads all, `out` gives all back, `filter` keeps the rows with
// `status >= 500` or `latency > 100` over an `int64` and a `float64` column; `rows` does so in the plain way.

/** A typed array over a buffer; a copy where it is not aligned. */
function view(Type, bytes) {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Type(aligned.buffer, aligned.byteOffset, bytes.byteLength / Type.BYTES_PER_ELEMENT);
}

let mode;

/** The rows that the filter keeps, as one writes it. An `int64` is two halves: big integers would be made for each. */
function byRows(batch) {
  const halves = view(Int32Array, batch.arrays[0].buffers[1]);
  const latency = view(Float64Array, batch.arrays[1].buffers[1]);
  const rows = latency.length;
  const kept = [];
  for (let row = 0; row < rows; row++) {
    const high = halves[2 * row + 1];
    if (latency[row] > 100 || high > 0 || (high === 0 && halves[2 * row] >>> 0 >= 500)) kept.push(row);
  }
  return { tag: "take", val: Uint32Array.from(kept) };
}

// Integers from 0 on are ordered as the doubles of the same bits; this is the double of the bits of 500.
const LIMIT = new Float64Array(BigInt64Array.of(500n).buffer)[0];

/**
 * The same with fewer steps of the interpreter: eight rows a round, and one look at an `int64`. Of its bits as a double
 * those below 0 are below every limit or no number; what is no number is looked at again.
 */
function byEight(batch) {
  const status = view(Float64Array, batch.arrays[0].buffers[1]);
  const exact = view(BigInt64Array, batch.arrays[0].buffers[1]);
  const latency = view(Float64Array, batch.arrays[1].buffers[1]);
  const limit = LIMIT;
  const rows = latency.length;
  const mask = new Uint8Array((rows + 7) >> 3);
  const failed = (row) => status[row] >= limit || (status[row] !== status[row] && exact[row] >= 500n);
  const whole = rows - (rows % 8);
  let at = 0;
  for (let row = 0; row < whole; row += 8) {
    let byte = 0;
    if (latency[row] > 100 || (!(status[row] < limit) && failed(row))) byte = 1;
    if (latency[row + 1] > 100 || (!(status[row + 1] < limit) && failed(row + 1))) byte |= 2;
    if (latency[row + 2] > 100 || (!(status[row + 2] < limit) && failed(row + 2))) byte |= 4;
    if (latency[row + 3] > 100 || (!(status[row + 3] < limit) && failed(row + 3))) byte |= 8;
    if (latency[row + 4] > 100 || (!(status[row + 4] < limit) && failed(row + 4))) byte |= 16;
    if (latency[row + 5] > 100 || (!(status[row + 5] < limit) && failed(row + 5))) byte |= 32;
    if (latency[row + 6] > 100 || (!(status[row + 6] < limit) && failed(row + 6))) byte |= 64;
    if (latency[row + 7] > 100 || (!(status[row + 7] < limit) && failed(row + 7))) byte |= 128;
    mask[at++] = byte;
  }
  for (let row = whole; row < rows; row++) if (latency[row] > 100 || failed(row)) mask[at] |= 1 << row % 8;
  return { tag: "mask", val: mask };
}

const FILTERS = { filter: byEight, rows: byRows };

export const transform = {
  describe() {
    return {
      name: "js-crossing",
      version: "0.1.0",
      summary: "Does nothing, reads, gives back or filters",
      configSchema:
        '{"type":"object","properties":{"mode":{"enum":["nothing","in","out","filter","rows"]}},"required":["mode"],"additionalProperties":false}',
      sdk: "componentize-js, no SDK",
    };
  },

  bind(input, config) {
    mode = JSON.parse(config).mode;
    const every = input.fields.map((_, index) => index);
    const reads = { nothing: [], in: every, out: every, filter: [0, 1], rows: [0, 1] }[mode];
    const columns = input.fields.map((field, index) =>
      mode === "out" ? { tag: "computed", val: [field] } : { tag: "passed", val: { index, name: undefined } },
    );
    return { reads: Uint32Array.from(reads), outputs: [{ name: "out", columns }] };
  },

  process(batch) {
    const rows = mode in FILTERS ? FILTERS[mode](batch) : { tag: "every-row" };
    const computed = mode === "out" ? batch.arrays : [];
    return { emissions: [{ output: 0, rows, computed }], rejections: [] };
  },
};
