// Drives the TypeScript SDK 1.x client: one target and a list of steps in, what the client made of each out, as JSON.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { transcript } from "./steps.mjs";

const [target, steps] = process.argv.slice(2).map((text) => JSON.parse(text));

const client = new Client({ name: "interlock-e2e", version: "1" });
const transport = target.url
    ? new StreamableHTTPClientTransport(new URL(target.url))
    : new StdioClientTransport({ command: target.command[0], args: target.command.slice(1), env: target.env });
// The client keeps the revision to itself and tells the transport, which only the HTTP one shows.
let revision = null;
const told = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
    revision = version;
    told?.(version);
};
await client.connect(transport);
const done = await transcript(client, steps);
await transport.terminateSession?.();
await client.close();
console.log(JSON.stringify({ revision, steps: done }));
