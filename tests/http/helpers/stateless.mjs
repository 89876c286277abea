// A server of the stateless era alone (2026-07-28), made with the TypeScript SDK.
//
// usage: stateless.mjs CALLS PORT_FILE   over Streamable HTTP
//        stateless.mjs CALLS stdio       over pipes
//
// Appends a line to CALLS for each tool call that arrives, and for each that is
// cancelled. The modules are looked up in AGENTGATE_REAL, where tests/run
// installs them.

import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [calls, where] = process.argv.slice(2);
const require = createRequire(join(process.env.AGENTGATE_REAL, 'package.json'));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { McpServer, createMcpHandler, fromJsonSchema, inputRequired } = await load(
  '@modelcontextprotocol/server',
);

const text = (said) => ({ content: [{ type: 'text', text: said }] });
const schema = (properties) => fromJsonSchema({ type: 'object', properties });
const note = (line) => appendFileSync(calls, `${line}\n`);

function made() {
  const options = { capabilities: { logging: {} }, instructions: 'Ask before you remove.' };
  const server = new McpServer({ name: 'stateless', version: '2.0' }, options);
  const tool = (name, properties, run, annotations = {}) =>
    server.registerTool(name, { inputSchema: schema(properties), annotations }, (args, context) => {
      note(`${name} ${JSON.stringify(args)}`);
      return run(args, context);
    });
  const string = { type: 'string' };
  tool('echo', { text: string }, ({ text: said }) => text(`echo: ${said}`), { readOnlyHint: true });
  tool('region', { where: { ...string, 'x-mcp-header': 'Region' } }, (args) => text(args.where));
  tool('remove', { path: string }, () => text('removed'), { destructiveHint: true });
  tool('fail', {}, () => {
    throw new Error('this tool fails');
  });
  tool('steps', {}, async (_args, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [1, 2]) {
      const params = { progressToken, progress, total: 2 };
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: 'notifications/progress', params });
      }
      await mcpReq.log('info', `step ${progress}`);
    }
    return text('stepped');
  });
  tool('asks', {}, () =>
    inputRequired({
      inputRequests: { sure: inputRequired.listRoots() },
    }),
  );
  tool('wait', { seconds: { type: 'number' } }, async ({ seconds }, { mcpReq }) => {
    try {
      await sleep(seconds * 1000, undefined, { signal: mcpReq.signal });
    } catch {
      note('wait was cancelled');
    }
    return text('waited');
  });
  server.registerResource('note', 'note://one', {}, (uri) => ({
    contents: [{ uri: uri.href, text: 'a note' }],
  }));
  server.registerPrompt('greet', {}, () => ({
    messages: [{ role: 'user', content: { type: 'text', text: 'Say hello.' } }],
  }));
  return server;
}

if (where === 'stdio') {
  const { serveStdio } = await load('@modelcontextprotocol/server/stdio');
  serveStdio(made, { legacy: 'reject' });
} else {
  const handler = createMcpHandler(made, { legacy: 'reject' });
  const listener = createServer(async (incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.on('close', () => gone.abort());
    const hasBody = incoming.method === 'POST';
    const request = new Request(`http://127.0.0.1${incoming.url}`, {
      method: incoming.method,
      headers: incoming.headers,
      body: hasBody ? Readable.toWeb(incoming) : undefined,
      duplex: 'half',
      signal: gone.signal,
    });
    const response = await handler.fetch(request);
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    if (!response.body) return outgoing.end();
    Readable.fromWeb(response.body).on('error', () => outgoing.destroy()).pipe(outgoing);
  });
  listener.listen(0, '127.0.0.1', () => {
    writeFileSync(`${where}.new`, String(listener.address().port));
    renameSync(`${where}.new`, where);
  });
}
