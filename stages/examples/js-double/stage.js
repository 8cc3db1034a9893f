// Reads one float64 column and computes its double: plain JavaScript over typed arrays, no SDK.
// `config` is `{"column": "latency_ms"}`; the new column is `<column>_doubled`.

/** A typed array over a buffer; a copy where it is not aligned. */
function float64(bytes) {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return new Float64Array(aligned.buffer, aligned.byteOffset, bytes.byteLength / 8);
}

export const transform = {
  describe() {
    return {
      name: "js-double",
      version: "0.1.0",
      summary: "Doubles a float64 column",
      configSchema:
        '{"type":"object","properties":{"column":{"description":"The float64 column.","type":"string"}},"required":["column"],"additionalProperties":false}',
      sdk: "componentize-js, no SDK",
    };
  },

  bind(input, config) {
    const { column } = JSON.parse(config);
    // Top-level columns are the fields that are nobody's child.
    const columns = [];
    let pending = 0;
    for (const field of input.fields) {
      if (pending > 0) pending -= 1;
      else columns.push(field);
      pending += field.children;
    }
    const index = columns.findIndex((field) => field.name === column);
    if (index < 0) throw `there is no column \`${column}\`; the input has ${columns.map((f) => f.name).join(", ")}`;
    if (columns[index].dataType.tag !== "float64") throw `column \`${column}\` is ${columns[index].dataType.tag}, not float64`;
    const passed = columns.map((_, index) => ({ tag: "passed", val: { index, name: undefined } }));
    const doubled = {
      name: `${column}_doubled`,
      dataType: { tag: "float64" },
      nullable: columns[index].nullable,
      children: 0,
      metadata: [],
    };
    return {
      reads: Uint32Array.of(index),
      outputs: [{ name: "out", columns: [...passed, { tag: "computed", val: [doubled] }] }],
    };
  },

  process(batch) {
    const { length, nullCount, buffers } = batch.arrays[0];
    const values = float64(buffers[1]);
    const doubled = new Float64Array(values.length);
    for (let row = 0; row < values.length; row++) doubled[row] = values[row] * 2;
    const array = { length, nullCount, buffers: [buffers[0], new Uint8Array(doubled.buffer)] };
    return { emissions: [{ output: 0, rows: { tag: "every-row" }, computed: [array] }], rejections: [] };
  },
};
