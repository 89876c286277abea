// Real SDKs, pointed at a base URL: a read, then a write.
//
// usage: sdks.mjs MODULES SDK BASE KEY
//
// MODULES is where the packages are; BASE stands for the provider's host; KEY is
// sent in the credential's place. Prints `read: ok` and `write: ok` or
// `write: NAME OF THE EXCEPTION: STATUS: MESSAGE`. Retries are the SDK's own, or none
// where ONCE is in the environment; Slack's would try what was refused for half an hour.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, sdk, base, key] = process.argv.slice(2);
const require = createRequire(modules + "/x.js");
const load = async (name) => {
  try {
    return require(name);
  } catch {
    return import(pathToFileURL(require.resolve(name)).href);
  }
};

const sdks = {
  async octokit() {
    const { Octokit } = await import(pathToFileURL(`${modules}/@octokit/rest/dist-src/index.js`).href);
    const client = new Octokit({ auth: key, baseUrl: base, log: { debug() {}, info() {}, warn() {}, error() {} } });
    const where = { owner: "a", repo: "b" };
    return [
      async () => {
        const issues = await client.paginate(client.rest.issues.listForRepo, { ...where, per_page: 1 });
        if (issues.length !== 3) throw new Error(`${issues.length} pages`);
      },
      () => client.rest.issues.create({ ...where, title: "x" }),
    ];
  },
  async "slack-web"() {
    const { WebClient } = await load("@slack/web-api");
    const client = new WebClient(key, { slackApiUrl: base + "/api/", retryConfig: { retries: 0 }, rejectRateLimitedCalls: true, logLevel: "error" });
    return [
      () => client.conversations.list({ limit: 2 }),
      () => client.chat.postMessage({ channel: "C1", text: "hello" }),
    ];
  },
  async "slack-web-upload"() {
    const { WebClient } = await load("@slack/web-api");
    const client = new WebClient(key, { slackApiUrl: base + "/api/", retryConfig: { retries: 0 }, logLevel: "error" });
    return [
      () => client.conversations.list({ limit: 2 }),
      () => client.files.uploadV2({ channel_id: "C1", content: "hello", filename: "a.txt" }),
    ];
  },
  async "notion-js"() {
    const { Client, LogLevel } = await load("@notionhq/client");
    const client = new Client({ auth: key, baseUrl: base, logLevel: LogLevel?.ERROR, retry: process.env.ONCE ? false : undefined });
    return [
      () => client.search({ query: "roadmap" }),
      () => client.pages.create({ parent: { page_id: "p" }, properties: {} }),
    ];
  },
  // A log is behind a redirect, which the SDK follows.
  async "octokit-logs"() {
    const { Octokit } = await import(pathToFileURL(`${modules}/@octokit/rest/dist-src/index.js`).href);
    const client = new Octokit({ auth: key, baseUrl: base });
    const job = { owner: "a", repo: "b", job_id: 1 };
    return [
      () => client.rest.actions.downloadJobLogsForWorkflowRun(job),
      async () => {
        const { data } = await client.rest.actions.downloadJobLogsForWorkflowRun(job);
        if (!JSON.stringify(data).includes("api.github.com")) throw new Error(JSON.stringify(data));
      },
    ];
  },
  // As Linear's guide has it: the file goes to where the answer says.
  async "linear-upload"() {
    const { LinearClient } = await load("@linear/sdk");
    const client = new LinearClient({ accessToken: key, apiUrl: base + "/graphql" });
    const upload = async () => {
      const { uploadFile } = await client.fileUpload("text/plain", "a.txt", 5);
      const put = await fetch(uploadFile.uploadUrl, { method: "PUT", body: "hello" });
      if (!put.ok) throw new Error(`${put.status} ${await put.text()}`);
      const got = await fetch(uploadFile.assetUrl, { headers: { authorization: key } });
      if (!got.ok) throw new Error(`${got.status} ${await got.text()}`);
    };
    return [() => client.viewer, upload];
  },
  // Where the SDK reads more than it needs.
  async "linear-issues"() {
    const { LinearClient } = await load("@linear/sdk");
    const client = new LinearClient({ accessToken: key, apiUrl: base + "/graphql" });
    return [
      async () => {
        const issues = await client.issues({ first: 2 });
        const assignee = await issues.nodes[0].assignee;
        const projects = await client.projects();
        if (!assignee.name || !projects.nodes[0].name) throw new Error("nothing");
      },
      async () => {
        const made = await client.createIssue({ teamId: "t", title: "x" });
        if (!made.success || !(await made.issue).title) throw new Error("nothing");
      },
    ];
  },
  async linear() {
    const { LinearClient } = await load("@linear/sdk");
    const client = new LinearClient({ accessToken: key, apiUrl: base + "/graphql" });
    return [
      () => client.viewer,
      () => client.createIssue({ teamId: "t", title: "x" }),
    ];
  },
};

const [read, write] = await sdks[sdk]();
await read();
console.log("read: ok");
try {
  await write();
  console.log("write: ok");
} catch (error) {
  const status = error.status ?? error.statusCode ?? error.raw?.response?.status ?? "";
  const said = `${error.message} ${error.statusMessage ?? ""}`;
  console.log(`write: ${error.constructor.name}: ${status}: ${said.slice(0, 900)}`);
}
