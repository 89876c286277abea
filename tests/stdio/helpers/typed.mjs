// A server on the TypeScript SDK that says which of its calls do what a policy forbids.
//
// usage: typed.mjs RECORD
//
// The same as typed.py, with the habits of JavaScript: `coerce` of zod, `Number()`,
// `parseInt`, truthiness and strict comparison, one for a list, `URL`. Forbidden beside
// what is forbidden there: dry_run false.
//
// The modules are looked up in AGENTGATE_REAL, where tests/run installs them.

import { appendFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, normalize, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.env.AGENTGATE_REAL, 'package.json'));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { StdioServerTransport } = await load('@modelcontextprotocol/sdk/server/stdio.js');
const { z } = await load('zod');

// As server-filesystem does.
const real = (path) => resolve('/', path.trim().replace(/^["']|["']$/g, ''));

// The same for `~`.
const expanded = (path) => normalize(path.replace(/^~(?=\/|$)/, '/home/me'));

const recipients = (mail) => mail.split(/[,;]/).map((part) => (/<(.*)>/.exec(part)?.[1] ?? part).trim());

const pathOf = (uri) => {
  try {
    return decodeURIComponent(new URL(uri).pathname);
  } catch {
    return '';
  }
};

const server = new McpServer({ name: 'typed', version: '1.0.0' });
const inputSchema = {
  branch: z.coerce.string().optional(),
  owner: z.string().optional(),
  count: z.coerce.number().optional(),
  loose: z.any().optional(),
  force: z.coerce.boolean().optional(),
  dry_run: z.any().optional(),
  tags: z.any().optional(),
  to: z.any().optional(),
  uri: z.string().optional(),
  path: z.string().optional(),
  file: z.string().optional(),
  rel: z.string().optional(),
  home: z.string().optional(),
  mail: z.string().optional(),
  labels: z.any().optional(),
  name: z.string().trim().optional(),
  limit: z.number().optional(),
};
server.registerTool('act', { inputSchema }, async (args) => {
  const { branch, owner, count, loose, force, dry_run: dry, tags, to, uri, path, file } = args;
  const { rel, home, mail, labels, name, limit } = args;
  const given = (value) => value !== undefined;
  const forbidden = {
    branch: branch?.trim().normalize('NFC') === 'main',
    owner: owner?.toLowerCase() === 'acme',
    count: count === 22,
    loose: given(loose) && [Number(loose), parseInt(loose, 10), Math.trunc(Number(loose))].includes(22),
    force: force === true,
    dry_run: given(dry) && dry !== null && dry !== true,
    tags: [tags].flat().includes('prod'),
    to: [to].flat().includes('evil'),
    uri: given(uri) && pathOf(uri).startsWith('/etc/'),
    path: given(path) && real(path).startsWith('/etc/'),
    rel: given(rel) && normalize(rel.trim()).startsWith('secrets/'),
    home: given(home) && expanded(home).startsWith('/home/me/.ssh/'),
    mail: given(mail) && recipients(mail).includes('evil@x.org'),
    labels: [labels].flat().some((label) => String(label).toLowerCase() === 'prod'),
    name: name === 'main',
    limit: given(limit) && (limit | 0) === 22,
    file: given(file) && real(file).startsWith('/etc/'),
  };
  const names = Object.keys(forbidden).filter((name) => forbidden[name]);
  appendFileSync(process.argv[2], `${names.join(' ')}\n`);
  return { content: [{ type: 'text', text: 'done' }] };
});
await server.connect(new StdioServerTransport());
