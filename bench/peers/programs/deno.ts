/** Listens with `Deno.listen` and runs a loop for each connection, as the manual of Deno shows. */
const listener = Deno.listen({ hostname: '127.0.0.1', port: Number(Deno.args[0]), tcpBacklog: 4096 })

for await (const connection of listener) void drop(connection)

async function drop(connection: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(512)
  try {
    while ((await connection.read(buffer)) !== null);
  } catch {
    // Reset by the client.
  } finally {
    connection.close()
  }
}
