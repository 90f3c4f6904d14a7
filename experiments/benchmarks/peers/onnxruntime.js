// ONNX Runtime as a peer (the protocol is in ../peers.h): MultiHeadAttention, and for causal
// problems GroupQueryAttention, which alone of its operators skips what the mask hides.
'use strict';
const fs = require('fs');
const ort = require(process.env.ORT_NODE);

// The few messages of onnx.proto that one node takes, as protobuf puts them on the wire: each field
// is its number and wire type, then the value; text and messages carry their length.
function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, value) => {
  const body = Array.isArray(value) ? Buffer.concat(value) : Buffer.from(value);
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
};
const float = (field, value) => {
  const body = Buffer.alloc(4);
  body.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), body]);
};
const FLOAT = 1, INT32 = 6;
const valueInfo = ([name, type, dims]) => [
  bytes(1, name),
  bytes(2, [bytes(1, [integer(1, type), bytes(2, dims.map(d => bytes(1, [integer(1, d)])))])]),
];
const attribute = ([name, value]) => [
  bytes(1, name),
  ...(Number.isInteger(value) ? [integer(3, value), integer(20, 2)] : [float(2, value), integer(20, 1)]),
];
function modelOf(operator, attributes, inputs, outputs) {
  const node = [
    ...inputs.map(i => bytes(1, i ? i[0] : '')), ...outputs.map(o => bytes(2, o[0])),
    bytes(4, operator), ...attributes.map(a => bytes(5, attribute(a))), bytes(7, 'com.microsoft'),
  ];
  const graph = [
    bytes(1, node), bytes(2, 'attention'), ...inputs.filter(i => i).map(i => bytes(11, valueInfo(i))),
    ...outputs.map(o => bytes(12, valueInfo(o))),
  ];
  const opset = (domain, version) => bytes(8, [bytes(1, domain), integer(2, version)]);
  return Buffer.concat([integer(1, 8), bytes(7, graph), opset('', 17), opset('com.microsoft', 1)]);
}

// [heads, len, dim] to [len, heads * dim] and back.
function swap(source, outer, inner, dim) {
  const target = new Float32Array(source.length);
  for (let i = 0; i < outer; ++i) {
    for (let j = 0; j < inner; ++j) {
      const from = (i * inner + j) * dim;
      target.set(source.subarray(from, from + dim), (j * outer + i) * dim);
    }
  }
  return target;
}

let held = null;

async function take(file, len, heads, dim, causal, threads) {
  if (held) {
    await held.session.release();
    fs.closeSync(held.descriptor);
  }
  const size = len * heads * dim, raw = new Float32Array(3 * size);
  const descriptor = fs.openSync(file, 'r+');
  fs.readSync(descriptor, raw, 0, raw.byteLength, 0);
  const packed = [1, len, heads * dim], cache = [1, heads, len, dim];
  const feeds = {};
  ['q', 'k', 'v'].forEach((name, n) => {
    feeds[name] = new ort.Tensor('float32', swap(raw.subarray(n * size, (n + 1) * size), heads, len, dim), packed);
  });
  const inputs = ['q', 'k', 'v'].map(name => [name, FLOAT, packed]);
  const attributes = [['num_heads', heads], ['scale', 1 / Math.sqrt(dim)]];
  let model;
  if (causal) {
    // No past keys: the fourth and fifth input are absent. The lengths count from zero and from one.
    feeds.last = new ort.Tensor('int32', Int32Array.of(len - 1), [1]);
    feeds.total = new ort.Tensor('int32', Int32Array.of(len), [1]);
    model = modelOf('GroupQueryAttention', [...attributes, ['kv_num_heads', heads]],
      [...inputs, null, null, ['last', INT32, [1]], ['total', INT32, [1]]],
      [['o', FLOAT, packed], ['keys', FLOAT, cache], ['values', FLOAT, cache]]);
  } else {
    model = modelOf('MultiHeadAttention', attributes, inputs, [['o', FLOAT, packed]]);
  }
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3,
    // Threads that spin after a run would spoil the next measurement of another program.
    extra: {session: {force_spinning_stop: '1'}},
  });
  // Written in place by every run, as our own outputs are.
  const results = {o: new ort.Tensor('float32', new Float32Array(size), packed)};
  held = {session, feeds, results, descriptor, size, len, heads, dim};
  await session.run(feeds, results);
  return `ONNX Runtime ${ort.env.versions.node} ${causal ? 'GroupQueryAttention' : 'MultiHeadAttention'}`;
}

async function answer(line) {
  const [word, file, ...rest] = line.split(' ');
  if (word === 'problem') return take(file, ...rest.slice(0, 5).map(Number));
  if (word === 'run') {
    const start = process.hrtime.bigint();
    await held.session.run(held.feeds, held.results);
    return String(Number(process.hrtime.bigint() - start) * 1e-9);
  }
  const rows = swap(held.results.o.data, held.len, held.heads, held.dim);
  fs.writeSync(held.descriptor, rows, 0, rows.byteLength, 12 * held.size);
  return 'done';
}

(async () => {
  for await (const line of require('readline').createInterface({input: process.stdin})) {
    let text;
    try {
      text = await answer(line);
    } catch (e) {
      text = 'error: ' + String(e.message || e).replace(/\s+/g, ' ');
    }
    gc();  // now, not while another program is measured
    process.stdout.write(text + '\n');
  }
})();
