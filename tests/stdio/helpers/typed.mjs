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

// As server-filesystem and browsers do.
const hostOf = (url) => {
  try {
    return new URL(url.includes('://') ? url : `https://${url}`).hostname.replace(/\.$/, '');
  } catch {
    return '';
  }
};
const opened = (path) => (path.startsWith('file:') ? pathOf(path) : expanded(path));

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
  size: z.number().optional(),
  uid: z.coerce.number().optional(),
  host: z.string().optional(),
  site: z.string().optional(),
  dot: z.string().optional(),
  keys: z.string().optional(),
};
server.registerTool('act', { inputSchema }, async (args) => {
  const { branch, owner, count, loose, force, dry_run: dry, tags, to, uri, path, file } = args;
  const { rel, home, mail, labels, name, limit, size, uid, host, site, dot, keys } = args;
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
    size: given(size) && (size | 0) > 100,
    uid: given(uid) && uid >>> 0 < 1000,
    host: given(host) && hostOf(host) === '127.0.0.1',
    site: given(site) && hostOf(site) === 'evil.example',
    dot: given(dot) && opened(dot) === '/home/me/.netrc',
    keys: given(keys) && `${opened(keys)}/`.startsWith('/home/me/.ssh/'),
    file: given(file) && real(file).startsWith('/etc/'),
  };
  const names = Object.keys(forbidden).filter((name) => forbidden[name]);
  appendFileSync(process.argv[2], `${names.join(' ')}\n`);
  return { content: [{ type: 'text', text: 'done' }] };
});
await server.connect(new StdioServerTransport());
