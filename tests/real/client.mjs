// A scripted session with a TypeScript SDK.
//
// usage: client.mjs SDK PLAN COMMAND [ARGUMENT]...
//        client.mjs SDK PLAN URL
//
// SDK is `v1` (@modelcontextprotocol/sdk), `v2` (@modelcontextprotocol/client,
// handshake era), `v2-auto` (both eras) or `v2-2026` (pinned to the 2026-07-28
// revision). PLAN is that of client.py. Prints what the server answered, one JSON value a line.
//
// The modules are looked up in AGENTGATE_REAL, where tests/run installs them.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [sdk, planText, command, ...args] = process.argv.slice(2);
const plan = JSON.parse(planText);
const url = command.startsWith('http') ? new URL(command) : undefined;
const require = createRequire(join(process.env.AGENTGATE_REAL, 'package.json'));
const load = async (name) => import(pathToFileURL(require.resolve(name)));

const info = { name: `agentgate-tests-${sdk}`, version: '1.0.0' };
const capabilities = { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } };
const answers = {
  'sampling/createMessage': {
    role: 'assistant',
    content: { type: 'text', text: 'sampled' },
    model: 'none',
  },
  'elicitation/create': { action: 'accept', content: { name: 'Ada', check: true } },
  'roots/list': { roots: [{ uri: 'file:///srv/project', name: 'project' }] },
};

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** Prints the answer to one question; an error is an answer too. */
async function say(question, ask) {
  try {
    print([question, await ask()]);
  } catch (error) {
    print([question, { error: String(error?.message ?? error) }]);
  }
}

async function v1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StdioClientTransport } = await load('@modelcontextprotocol/sdk/client/stdio.js');
  const { StreamableHTTPClientTransport } = await load(
    '@modelcontextprotocol/sdk/client/streamableHttp.js',
  );
  const types = await load('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities });
  const schemas = {
    'sampling/createMessage': types.CreateMessageRequestSchema,
    'elicitation/create': types.ElicitRequestSchema,
    'roots/list': types.ListRootsRequestSchema,
  };
  for (const [method, schema] of Object.entries(schemas)) {
    client.setRequestHandler(schema, () => answers[method]);
  }
  const call = (name, args, options) =>
    client.callTool({ name, arguments: args }, undefined, options);
  const transport = url
    ? new StreamableHTTPClientTransport(url)
    : new StdioClientTransport({ command, args });
  return { client, call, transport };
}

async function v2(mode) {
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  for (const [method, answer] of Object.entries(answers)) {
    client.setRequestHandler(method, () => answer);
  }
  // A subclass is probed on its own pipe; the base class would start a second server for that.
  class Transport extends StdioClientTransport {}
  const call = (name, args, options) => client.callTool({ name, arguments: args }, options);
  const transport = url
    ? new StreamableHTTPClientTransport(url)
    : new Transport({ command, args });
  return { client, call, transport };
}

const made = {
  v1,
  v2: () => v2('legacy'),
  'v2-auto': () => v2('auto'),
  'v2-2026': () => v2({ pin: '2026-07-28' }),
};
const { client, call, transport } = await made[sdk]();
await client.connect(transport);
const offers = client.getServerCapabilities() ?? {};
if (offers.tools) await say('tools', () => client.listTools());
if (offers.prompts) await say('prompts', () => client.listPrompts());
if (offers.resources) {
  await say('resources', () => client.listResources());
  await say('templates', () => client.listResourceTemplates());
}
// Asked for, so that it passes the wire; when it is delivered is the SDK's affair.
const onprogress = () => {};
for (const [name, args] of plan.calls ?? []) {
  await say(name, () => call(name, args, { onprogress }));
}
for (const [name, args] of plan.prompts ?? []) {
  await say(name, () => client.getPrompt({ name, arguments: args }));
}
for (const uri of plan.resources ?? []) {
  await say(uri, () => client.readResource({ uri }));
}
await client.close();
