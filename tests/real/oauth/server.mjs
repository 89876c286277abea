// A real authorization server (oidc-provider) and an MCP server that it protects
// (the official SDK's middleware), on two ports of this machine.
//
// usage: node server.mjs OPTIONS
//
// OPTIONS is an object: `log`, the file for what was asked of the authorization
// server, one JSON object a line; `ttl`, how long tokens live, in seconds;
// `issuer`: "other", to name a server that says of itself what this one says;
// `revocation` and `refresh`: false, to offer neither.
//
// The modules are looked up in AGENTGATE_REAL, where tests/run installs them.
// Prints one line when it is ready: {"url", "issuer"}. Ends with its standard input.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.env.AGENTGATE_REAL, 'package.json'));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const sdk = (name) => load(`@modelcontextprotocol/sdk/server/${name}.js`);

const { default: express } = await load('express');
const { default: Provider } = await load('oidc-provider');
const { McpServer } = await sdk('mcp');
const { StreamableHTTPServerTransport } = await sdk('streamableHttp');
const { requireBearerAuth } = await sdk('auth/middleware/bearerAuth');
const { InvalidTokenError } = await sdk('auth/errors');
const { getOAuthProtectedResourceMetadataUrl, mcpAuthMetadataRouter } = await sdk('auth/router');

const options = JSON.parse(process.argv[2]);
const note = (entry) => appendFileSync(options.log, JSON.stringify(entry) + '\n');

const listen = (server) =>
  new Promise((ready) => server.listen(0, '127.0.0.1', () => ready(server.address().port)));

const authorization = createServer();
const issuer = `http://127.0.0.1:${await listen(authorization)}`;
const app = express();
const resources = createServer(app);
const url = new URL(`http://127.0.0.1:${await listen(resources)}/mcp`);

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'by-hand',
      client_secret: 'a-secret-made-by-hand',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
    },
  ],
  scopes: ['openid', 'offline_access', 'read', 'write'],
  cookies: { keys: ['only for tests'] },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: options.revocation !== false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => {
        note({ resource });
        return { scope: 'read write', audience: resource, accessTokenTTL: options.ttl ?? 3600 };
      },
      useGrantedResource: () => true,
    },
  },
  issueRefreshToken: () => options.refresh !== false,
  rotateRefreshToken: true,
});
provider.use(async (context, next) => {
  await next();
  const route = context.oidc?.route;
  const grant = context.oidc?.params?.grant_type;
  if (route) note({ route, grant, status: context.status });
});
authorization.on('request', provider.callback());

// Another server that says of itself what the first says.
let named = issuer;
if (options.issuer === 'other') {
  const other = express();
  const server = createServer(other);
  named = `http://127.0.0.1:${await listen(server)}`;
  other.use(async (request, response) => {
    note({ other: request.path });
    const document = await fetch(`${issuer}/.well-known/openid-configuration`);
    response.status(document.status).json(await document.json());
  });
}

const metadata = {
  issuer: named,
  authorization_endpoint: `${issuer}/auth`,
  token_endpoint: `${issuer}/token`,
  response_types_supported: ['code'],
};
app.use(
  mcpAuthMetadataRouter({ oauthMetadata: metadata, resourceServerUrl: url, scopesSupported: ['read'] }),
);

const verifier = {
  async verifyAccessToken(text) {
    const token = await provider.AccessToken.find(text);
    if (!token || token.isExpired) throw new InvalidTokenError('not a token, or no longer');
    return {
      token: text,
      clientId: token.clientId,
      scopes: [...token.scopes],
      expiresAt: token.exp,
      resource: new URL(token.aud),
    };
  },
};
const guard = (scope) =>
  requireBearerAuth({
    verifier,
    requiredScopes: [scope],
    resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(url),
    expectedResource: url,
  });

app.use('/mcp', express.json(), (request, response, next) => {
  const name = request.body?.params?.name;
  guard(name === 'write' ? 'write' : 'read')(request, response, next);
});
app.post('/mcp', async (request, response) => {
  const server = new McpServer({ name: 'protected', version: '1' });
  for (const name of ['read', 'write']) {
    server.registerTool(name, { annotations: { readOnlyHint: true } }, async () => ({
      content: [{ type: 'text', text: `${name} done` }],
    }));
  }
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on('close', () => transport.close());
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
});
app.all('/mcp', (_request, response) => response.status(405).end());

console.log(JSON.stringify({ url: url.href, issuer }));
process.stdin.resume().on('end', () => process.exit());
