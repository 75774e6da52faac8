// The steps that both TypeScript clients do: `Client` has the same methods in either line of the SDK.

async function step(client, [verb, ...rest]) {
    if (verb === "list") {
        const { tools } = await client.listTools();
        return { tools: tools.map((tool) => tool.name) };
    }
    if (verb === "call") {
        const result = await client.callTool({ name: rest[0], arguments: rest[1] });
        return {
            is_error: result.isError ?? false,
            text: result.content.map((block) => block.text ?? "").join(""),
            content: result.content,
            meta: result._meta ?? {},
            structured: result.structuredContent ?? null,
        };
    }
    if (verb === "read") {
        const { contents } = await client.readResource({ uri: rest[0] });
        return { text: contents.map((block) => block.text ?? "").join("") };
    }
    throw new TypeError(verb);
}

/** Does every step over the one connection; an answer that the client throws as a protocol error is a result too. */
export async function transcript(client, steps) {
    const done = [];
    for (const each of steps) {
        try {
            done.push(await step(client, each));
        } catch (error) {
            if (typeof error.code !== "number") throw error;
            done.push({ error: { code: error.code, message: error.message, data: error.data } });
        }
    }
    return done;
}
