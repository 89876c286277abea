// Clients in Node that send large bodies which the gate refuses before it has read them:
// what each of them sees, as lines of JSON.

import http from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';

const [base, key] = process.argv.slice(2);
const BODY = Buffer.alloc(8 << 20, 'x');
const PIECE = 64 << 10;

const CASES = [
  ['wrong key', '/proxy/github/user', 'wrong', 401],
  ['denied', '/proxy/google/upload/drive/v3/files?uploadType=media', key, 403],
  ['over the cap', '/proxy/github/repos/a/b/issues', key, 413],
  ['elsewhere', '/elsewhere', key, 404],
];

const headers = (key) => ({ 'X-Agent-Key': key, 'Content-Type': 'application/json' });

async function* slowly() {
  for (let start = 0; start < BODY.length; start += PIECE) {
    yield BODY.subarray(start, start + PIECE);
    await setTimeout(2);
  }
}

async function withFetch(url, key, body) {
  const answer = await fetch(url, {
    method: 'POST', body, duplex: 'half', headers: headers(key),
  });
  return [answer.status, await answer.text()];
}

function withHttp(url, key, body) {
  return new Promise((resolve, reject) => {
    const sized = { ...headers(key), 'Content-Length': BODY.length };
    const request = http.request(url, { method: 'POST', headers: sized }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('error', reject);
      answer.on('end', () => resolve([answer.statusCode, Buffer.concat(pieces).toString()]));
    });
    request.on('error', reject);
    Readable.from(body).pipe(request);
  });
}

for (const [name, path, key, expected] of CASES) {
  const url = base + path;
  for (const [client, send] of [
    ['fetch', () => withFetch(url, key, BODY)],
    ['fetch slowly', () => withFetch(url, key, Readable.toWeb(Readable.from(slowly())))],
    ['http', () => withHttp(url, key, [BODY])],
    ['http slowly', () => withHttp(url, key, slowly())],
  ]) {
    let status = null;
    let reason;
    try {
      [status, reason] = await send();
    } catch (error) {
      reason = `${error} ${error.cause ?? ''}`;
    }
    console.log(JSON.stringify({ client, case: name, expected, status, reason }));
  }
}
process.exit(0);
