/**
 * A chat over raw TCP. It shows how to keep state for a parked connection, and how to write to parked connections.
 *
 *     PORT=3000 node examples/chat.mjs
 *     nc 127.0.0.1 3000
 *
 * The first line that you send is your name. Each line after it goes to everybody else. `/who` prints how many people
 * are connected, and how many of their connections are parked.
 *
 * People in a chat are silent most of the time. A silent connection costs only its descriptor in the kernel and its
 * attachment: the name and an unfinished line, serialized.
 */
import { createServer } from 'ebb/net'

/** Maximum length of a line in bytes. It keeps the attachment below its limit of 16 KB. */
const MAX_LINE = 4096
const NEWLINE = 10

// Called when the first byte of a connection arrives, and again each time that the connection wakes after a second of
// silence. Each call gets a new socket. Variables of this function are lost when the connection is parked; the
// attachment is kept.
const server = createServer({ idle: '1s' }, (socket, connection) => {
  let { name, rest } = connection.attachment ?? { name: undefined, rest: Buffer.alloc(0) }

  socket.on('data', function onData(chunk) {
    // A chunk may contain several lines, and may begin or end in the middle of a line or of a character.
    let bytes = Buffer.concat([rest, chunk])
    let end = bytes.indexOf(NEWLINE)
    while (end !== -1 && end <= MAX_LINE) {
      onLine(bytes.toString('utf8', 0, end).trim())
      bytes = bytes.subarray(end + 1)
      end = bytes.indexOf(NEWLINE)
    }
    const tooLong = bytes.length > MAX_LINE
    rest = tooLong ? Buffer.alloc(0) : bytes
    connection.attachment = { name, rest }
    // `resume()` reads and drops the rest. A close with unread bytes would reset the connection.
    if (tooLong) socket.off('data', onData).resume().end('* that line is too long\n')
  })

  // 'disconnect' follows after an error too.
  socket.on('error', () => {})

  function onLine(line) {
    if (line === '') return
    if (name === undefined) {
      name = line.slice(0, 32)
      others(`* ${name} joined\n`)
    } else if (line === '/who') {
      const { awake, parked } = server.stats()
      socket.write(`* ${awake + parked} are here, ${parked} of them parked\n`)
    } else {
      others(`${name}: ${line}\n`)
    }
  }

  /** Writes to all other connections. Parked connections stay parked, because the kernel takes the bytes. */
  function others(text) {
    void server.broadcast(text, (id) => id !== connection.id)
  }
})

// Emitted once for each connection that has sent something, when the connection is gone, parked or not. The event
// 'close' of a socket is emitted at every parking.
server.on('disconnect', (connection) => {
  const name = connection.attachment?.name
  if (name !== undefined) void server.broadcast(`* ${name} left\n`)
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on 127.0.0.1:${server.address().port}`)
})

// `close()` alone would wait until all connections have ended, parked ones included.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    server.close()
    await server.broadcast('* the chat is over\n')
    server.closeAllConnections()
  })
}
