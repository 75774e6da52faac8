// Drives the TypeScript SDK 2.x client: one target and a list of steps in, what the client made of each out, as JSON.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { transcript } from "./steps.mjs";

const [target, steps] = process.argv.slice(2).map((text) => JSON.parse(text));

const modes = { legacy: "legacy", auto: "auto" };
const client = new Client(
    { name: "interlock-e2e", version: "2" },
    { versionNegotiation: { mode: modes[target.mode] ?? { pin: target.mode } } },
);
const transport = target.url
    ? new StreamableHTTPClientTransport(new URL(target.url))
    : new StdioClientTransport({ command: target.command[0], args: target.command.slice(1), env: target.env });
await client.connect(transport);
const done = await transcript(client, steps);
const revision = client.getNegotiatedProtocolVersion();
await transport.terminateSession?.();
await client.close();
console.log(JSON.stringify({ revision, steps: done }));
