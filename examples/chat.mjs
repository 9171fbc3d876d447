/**
 * A chat over raw TCP: the first line that you send is your name, each line after it goes to everybody else. `/who`
 * asks how many are there.
 *
 *     PORT=3000 node examples/chat.mjs
 *     nc 127.0.0.1 3000
 *
 * People in a chat are silent most of the time. Here each of them is then a descriptor in the kernel, and their name
 * and half a line, serialised.
 */
import { createServer } from 'ebb/net'

/** Bytes. Whoever sends more in a line is no chat client. This also keeps the attachment below its limit, 16 KB. */
const LONGEST_LINE = 4096
const NEWLINE = 10

// Called when the first byte of a connection has come, and again each time that it wakes after a second of silence. The
// socket is a new one each time, so variables of this function do not outlive a sleep: the attachment does.
const server = createServer({ idle: '1s' }, (socket, connection) => {
  let { name, rest } = connection.attachment ?? { name: undefined, rest: Buffer.alloc(0) }

  socket.on('data', function heard(chunk) {
    // A packet is not a line: it may hold several, and begin or end within one, or within a character of one.
    let bytes = Buffer.concat([rest, chunk])
    let end = bytes.indexOf(NEWLINE)
    while (end !== -1 && end <= LONGEST_LINE) {
      said(bytes.toString('utf8', 0, end).trim())
      bytes = bytes.subarray(end + 1)
      end = bytes.indexOf(NEWLINE)
    }
    const tooLong = bytes.length > LONGEST_LINE
    rest = tooLong ? Buffer.alloc(0) : bytes
    connection.attachment = { name, rest }
    // What else it sends is read and dropped: closing with bytes unread would be a reset.
    if (tooLong) socket.off('data', heard).resume().end('* that line is too long\n')
  })

  // A broken connection is a connection that left: 'disconnect' follows.
  socket.on('error', () => {})

  function said(line) {
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

  /** Writes to all but this one. Those who are parked stay so: the kernel takes the bytes. */
  function others(text) {
    void server.broadcast(text, (id) => id !== connection.id)
  }
})

// Once for each that ever spoke, when it is gone for good, asleep or awake. A socket's 'close' is not that: it comes at
// every parking.
server.on('disconnect', (connection) => {
  const name = connection.attachment?.name
  if (name !== undefined) void server.broadcast(`* ${name} left\n`)
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on 127.0.0.1:${server.address().port}`)
})

// `close()` alone would wait until all have left, the sleeping ones too.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    server.close()
    await server.broadcast('* the chat is over\n')
    server.closeAllConnections()
  })
}
