// A three-layer BERT classifier and its WordPiece tokenizer in plain JavaScript.
// tools/laboratory.py writes the models; tests/site/test_laboratory.py compares this file's
// answers with those of the library.
"use strict";

const bedkdModel = (() => {
  const SPECIAL = /(\[(?:PAD|UNK|CLS|SEP|MASK)\])/;
  const CHINESE = /([\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}])/gu;
  const PUNCTUATION = /([\p{P}$+<=>^`|~])/gu;

  // Bytes of a base64 text.
  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found;
  }

  // The words of a text as BERT's uncased tokenizer sees them.
  function words(text) {
    return text
      .replace(/[\t\n\r]/g, " ")
      .replace(/[\p{C}\ufffd]/gu, "")
      .replace(CHINESE, " $1 ")
      .normalize("NFD")
      .replace(/\p{Mn}/gu, "")
      .replace(/\p{Lu}/gu, (letter) => letter.toLowerCase()) // Greek sigmas: letter by letter
      .replace(PUNCTUATION, " $1 ")
      .split(/\s+/u)
      .filter(Boolean);
  }

  // The longest known piece first; a word with an unknown rest is unknown as a whole.
  function pieces(word, ids) {
    const letters = Array.from(word);
    const found = [];
    if (letters.length > 100) return [ids.get("[UNK]")];
    for (let start = 0; start < letters.length; ) {
      let end = letters.length;
      let id;
      for (; end > start; end--) {
        id = ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [ids.get("[UNK]")];
      found.push(id);
      start = end;
    }
    return found;
  }

  // Row numbers of the embedding table, with [CLS] and [SEP].
  function tokenize(text, vocabulary) {
    const { ids, maxLength } = vocabulary;
    const found = [];
    for (const part of text.split(SPECIAL)) {
      if (SPECIAL.test(part)) found.push(ids.get(part));
      else for (const word of words(part)) found.push(...pieces(word, ids));
    }
    return [ids.get("[CLS]"), ...found.slice(0, maxLength - 2), ids.get("[SEP]")];
  }

  // A file's matrices: signed bytes, four bits more of some, and a scale for each group of a row.
  function matrices(file) {
    const blob = bytes(file.blob);
    const found = {};
    for (const { name, rows, columns, group, at, fineAt, scalesAt } of file.matrices) {
      const size = rows * columns;
      const halves = new Uint16Array(blob.slice(scalesAt, scalesAt + (2 * size) / group).buffer);
      const scales = new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
      const fine = fineAt === undefined ? null : blob.subarray(fineAt, fineAt + size / 2);
      found[name] = { rows, columns, group, scales, fine, bytes: new Int8Array(blob.buffer, at, size) };
    }
    for (const { name, size, at } of file.vectors)
      found[name] = new Float32Array(blob.slice(at, at + 4 * size).buffer);
    return found;
  }

  // Add a row of a matrix to what stands in `target`.
  function row({ columns, group, scales, fine, bytes }, number, target, offset) {
    for (let done = 0; done < columns; done += group) {
      const start = number * columns + done;
      const scale = scales[start / group];
      for (let i = 0; i < group; i++) {
        const at = start + i;
        const value = fine ? 16 * bytes[at] + ((fine[at >> 1] >> (4 * (at & 1))) & 15) : bytes[at];
        target[offset + done + i] += value * scale;
      }
    }
  }

  function whole(matrix) {
    const found = new Float32Array(matrix.rows * matrix.columns);
    for (let i = 0; i < matrix.rows; i++) row(matrix, i, found, i * matrix.columns);
    return found;
  }

  function vocabulary(file) {
    const ids = new Map(file.tokens.map((token, number) => [token, number]));
    return { ids, maxLength: file.maxLength, table: matrices(file).words };
  }

  function model(file, words) {
    const stored = matrices(file);
    const { changed, positions, ...others } = stored;
    const weights = { changed, positions };
    for (const [name, value] of Object.entries(others))
      weights[name] = value.bytes ? whole(value) : value;
    return { weights, words, settings: file.settings, own: new Map(file.changedRows.map((r, i) => [r, i])) };
  }

  // y = x W' + b for `count` rows of x. Four rows and two outputs at a time, so that what is read is
  // used several times; the number of outputs is even.
  function linear(x, count, inputs, weight, bias) {
    const outputs = bias.length;
    const y = new Float32Array(count * outputs);
    let i = 0;
    for (; i + 3 < count; i += 4) {
      const a = i * inputs, b = a + inputs, c = b + inputs, d = c + inputs;
      for (let j = 0; j < outputs; j += 2) {
        const first = j * inputs, second = first + inputs;
        let a0 = 0, b0 = 0, c0 = 0, d0 = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0;
        for (let k = 0; k < inputs; k++) {
          const v = weight[first + k], w = weight[second + k];
          const xa = x[a + k], xb = x[b + k], xc = x[c + k], xd = x[d + k];
          a0 += v * xa; b0 += v * xb; c0 += v * xc; d0 += v * xd;
          a1 += w * xa; b1 += w * xb; c1 += w * xc; d1 += w * xd;
        }
        const sums = [a0, a1, b0, b1, c0, c1, d0, d1];
        for (let row = 0; row < 4; row++) {
          const at = (i + row) * outputs + j;
          y[at] = sums[2 * row] + bias[j];
          y[at + 1] = sums[2 * row + 1] + bias[j + 1];
        }
      }
    }
    for (; i < count; i++) {
      for (let j = 0, w = 0; j < outputs; j++) {
        let p = 0;
        for (let k = 0; k < inputs; k++, w++) p += weight[w] * x[i * inputs + k];
        y[i * outputs + j] = p + bias[j];
      }
    }
    return y;
  }

  function normalise(x, count, size, scale, shift, epsilon) {
    for (let i = 0; i < count; i++) {
      let mean = 0, variance = 0;
      for (let k = 0; k < size; k++) mean += x[i * size + k];
      mean /= size;
      for (let k = 0; k < size; k++) variance += (x[i * size + k] - mean) ** 2;
      const factor = 1 / Math.sqrt(variance / size + epsilon);
      for (let k = 0; k < size; k++) {
        const at = i * size + k;
        x[at] = (x[at] - mean) * factor * scale[k] + shift[k];
      }
    }
  }

  // Abramowitz and Stegun, 7.1.26: wrong by less than 1.5e-7.
  function gelu(x) {
    for (let i = 0; i < x.length; i++) {
      const z = Math.abs(x[i]) / Math.SQRT2;
      const t = 1 / (1 + 0.3275911 * z);
      const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
      const erf = 1 - tail * Math.exp(-z * z);
      x[i] *= 0.5 * (1 + Math.sign(x[i]) * erf);
    }
  }

  function softmax(x) {
    let top = -Infinity, sum = 0;
    for (const value of x) top = Math.max(top, value);
    for (let i = 0; i < x.length; i++) sum += x[i] = Math.exp(x[i] - top);
    for (let i = 0; i < x.length; i++) x[i] /= sum;
    return x;
  }

  // What the first `asking` tokens take over from all of them.
  function attention(q, k, v, asking, length, heads, size) {
    const width = size / heads;
    const mixed = new Float32Array(asking * size);
    const share = new Float32Array(length);
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < asking; i++) {
        const from = i * size + head * width;
        for (let j = 0; j < length; j++) {
          let dot = 0;
          for (let d = 0; d < width; d++) dot += q[from + d] * k[j * size + head * width + d];
          share[j] = dot / Math.sqrt(width);
        }
        softmax(share);
        for (let j = 0; j < length; j++)
          for (let d = 0; d < width; d++) mixed[from + d] += share[j] * v[j * size + head * width + d];
      }
    }
    return mixed;
  }

  function add(x, y) {
    for (let i = 0; i < x.length; i++) x[i] += y[i];
    return x;
  }

  // One layer; `asking` says how many of the first tokens are wanted of it.
  function layer(x, length, asking, at, { weights: w, settings }) {
    const { size, inner, heads, epsilon } = settings;
    const part = (name) => [w[`${at}.${name}.weight`], w[`${at}.${name}.bias`]];
    const first = x.subarray(0, asking * size);
    const q = linear(first, asking, size, ...part("query"));
    const k = linear(x, length, size, ...part("key"));
    const v = linear(x, length, size, ...part("value"));
    const mixed = attention(q, k, v, asking, length, heads, size);
    const y = add(linear(mixed, asking, size, ...part("mixed")), first);
    normalise(y, asking, size, ...part("mixed_norm"), epsilon);
    const wide = linear(y, asking, size, ...part("wide"));
    gelu(wide);
    const out = add(linear(wide, asking, inner, ...part("narrow")), y);
    normalise(out, asking, size, ...part("narrow_norm"), epsilon);
    return out;
  }

  // Probabilities of the classes.
  function predict(net, text) {
    const { weights: w, settings, words, own } = net;
    const { size, layers, epsilon } = settings;
    const ids = tokenize(text, words);
    let x = new Float32Array(ids.length * size);
    ids.forEach((id, i) => {
      if (own.has(id)) row(w.changed, own.get(id), x, i * size);
      else row(words.table, id, x, i * size);
      row(w.positions, i, x, i * size);
    });
    normalise(x, ids.length, size, w["norm.weight"], w["norm.bias"], epsilon);
    for (let at = 0; at < layers; at++) {
      const asking = at + 1 < layers ? ids.length : 1; // the answer is read from [CLS] alone
      x = layer(x, ids.length, asking, at, net);
    }
    const pooled = linear(x, 1, size, w["pooler.weight"], w["pooler.bias"]).map(Math.tanh);
    return Array.from(softmax(linear(pooled, 1, size, w["classifier.weight"], w["classifier.bias"])));
  }

  return { vocabulary, model, tokenize, predict };
})();
