/**
 * Invalid requests, server options, and what applications do with sockets of a parked server: the same as with plain
 * Node.
 */
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect } from 'vitest'
import { echoBody, echoPath, GET, parity, parityFromEach, pattern, type Stage, silence } from '../support/parity.js'
import { until } from '../support/sockets.js'

const BROKEN: [string, string][] = [
  ['no method', 'garbage\r\n\r\n'],
  ['a first byte that is not HTTP', '\x16\x03\x01\x02'],
  ['no version', 'GET / FTP/1.1\r\n\r\n'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
  ['a bad header', `GET / HTTP/1.1\r\nHost: x\r\nbad header\x01: 1\r\n\r\n`],
  ['a head too large', `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`],
  ['a bad chunk', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']
]

for (const [what, bytes] of BROKEN) {
  parityFromEach(`malformed: ${what}`, {
    serve: echoBody,
    play: async (stage) => {
      const client = await stage.connect()
      void client.send(bytes)
      await client.over()
      // The server still works.
      await stage.untilParked(0)
      expect((await (await stage.open()).get('/')).status).toBe(200)
    }
  })

  parityFromEach(`malformed, with 'clientError': ${what}`, {
    serve: (server, see) => {
      echoBody(server, see)
      server.on(
        'clientError',
        (error: NodeJS.ErrnoException & { bytesParsed?: number; rawPacket?: Buffer }, socket) => {
          const { code, message, bytesParsed, rawPacket } = error
          see(`clientError ${code} ${message} ${bytesParsed} ${rawPacket?.length}`, socket as Socket)
          expect((socket as Socket & { server: unknown }).server).toBe(server)
          if (socket.writable) socket.end('HTTP/1.1 418 Tea\r\n\r\n')
          else socket.destroy()
        }
      )
    },
    play: async (stage) => {
      const client = await stage.connect()
      void client.send(bytes)
      await client.over()
    }
  })
}

parityFromEach("malformed: the second of two in one packet, with 'clientError'", {
  serve: (server, see) => {
    echoPath(server)
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      see(`clientError ${error.code}`, socket as Socket)
      socket.end('HTTP/1.1 400 No\r\n\r\n')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(`${GET('/1')}garbage\r\n\r\n`)
    expect((await client.response()).body).toBe('[/1]')
    await client.reads('400 No')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('server options: maxHeaderSize, maxHeadersCount, insecureHTTPParser, requireHostHeader', {
  options: { maxHeaderSize: 200, insecureHTTPParser: true, requireHostHeader: false, joinDuplicateHeaders: true },
  serve: (server) => {
    server.maxHeadersCount = 3
    server.on('request', (request, response) => response.end(JSON.stringify(request.headers)))
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('GET / HTTP/1.1\r\nA: \x01\r\nB: 2\r\nC: 3\r\n\r\n')
    expect(JSON.parse((await client.response()).body)).toEqual({ a: '\x01', b: '2', c: '3' })
    await stage.untilParked()
    void client.send(GET('/', `X: ${'x'.repeat(300)}\r\n`))
    expect((await client.response()).status).toBe(431)
    await client.over()
  }
})

parityFromEach('server options: one header more than maxHeadersCount', {
  options: { requireHostHeader: false },
  serve: (server) => {
    server.maxHeadersCount = 3
    server.on('request', (request, response) => response.end(JSON.stringify(request.headers)))
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n')
    const { status, body } = await client.response()
    // Node 20 ignores the header, later versions refuse the request.
    if (status === 200) expect(JSON.parse(body)).toEqual({ a: '1', b: '2', c: '3' })
    else expect(status).toBe(431)
  }
})

class Asking extends http.IncomingMessage {
  asked = true
}
class Answering extends http.ServerResponse<Asking> {
  answered = true
}

parityFromEach('server options: classes of its own', {
  options: { IncomingMessage: Asking, ServerResponse: Answering } as unknown as http.ServerOptions,
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(`${(request as Asking).asked} ${(response as unknown as Answering).answered}`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/')).body).toBe('true true')
  }
})

parityFromEach('server options: noDelay, keepAlive', {
  options: { noDelay: false, keepAlive: true, keepAliveInitialDelay: 20_000 },
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await keptAlive(stage.port, client.port)
    await client.get('/')
    await stage.untilParked()
    // TCP keep-alive also works for parked connections.
    await keptAlive(stage.port, client.port)
  }
})

parityFromEach('the application can turn off TCP keep-alive', {
  options: { keepAlive: true, keepAliveInitialDelay: 20_000 },
  serve: (server) => {
    server.on('request', ({ socket, url }, response) => {
      if (url === '/off') socket.setKeepAlive(false)
      response.end()
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    await keptAlive(stage.port, client.port)
    await client.get('/off')
    await stage.untilParked()
    await keptAlive(stage.port, client.port, '00')
    await client.get('/')
    await stage.untilParked()
    await keptAlive(stage.port, client.port, '00')
  }
})

parity("a listener of 'connection' gets sockets that it may listen to", {
  serve: (server, see) => {
    server.on('connection', (socket: Socket) => {
      expect(socket).toBeInstanceOf(net.Socket)
      let first = ''
      socket.on('data', (chunk: Buffer) => {
        first ||= chunk.toString().slice(0, 8)
        if (first.startsWith('GET /now')) see(`data ${first}`, socket)
      })
    })
    echoPath(server)
  },
  play: async (stage) => {
    const client = await stage.connect('parked')
    expect((await client.get('/now')).body).toBe('[/now]')
  },
  // Without park(), the request has the socket of the warm-up.
  check: ({ connections: [log] }) => expect(log).not.toContain('data GET /now'),
  design: (seen) => ({
    ...seen,
    connections: seen.connections.map((log) => log.flatMap((event) => withData(event)))
  })
})

function withData(event: string): string[] {
  return event.startsWith('GET /now: HTTP') ? [event, 'data GET /now'] : [event]
}

parity('a handler that keeps writing to the socket of a request: the connection is not parked meanwhile', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(`[${request.url}]`)
      if (request.url !== '/1') return
      // Not HTTP, but the application may use the socket as it likes.
      setTimeout(() => request.socket.write(pattern(20_000_000)), 5)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    await client.get('/1')
    client.socket.pause()
    await silence()
    client.socket.resume()
    expect((await client.take(20_000_000)) === pattern(20_000_000).toString('latin1')).toBe(true)
    await stage.untilParked()
    expect((await client.get('/2')).body).toBe('[/2]')
  }
})

parity("sockets that the application brings itself, with emit('connection')", {
  serve: echoPath,
  play: async (stage) => {
    const front = net.createServer((socket) => {
      stage.server.emit('connection', socket)
    })
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
    const own = net.connect((front.address() as net.AddressInfo).port, '127.0.0.1')
    const received: string[] = []
    own.setEncoding('latin1').on('data', (text: string) => received.push(text))
    for (const path of ['/1', '/2']) {
      own.write(GET(path))
      await silence()
      expect(received.join('')).toContain(`[${path}]`)
    }
    own.end()
    await new Promise((resolve) => front.close(resolve))
  }
})

parity("a stream without a descriptor, with emit('connection')", {
  serve: echoPath,
  play: async (stage) => {
    for (const path of ['/1', '/2']) expect(await overStream(stage, path)).toContain(`[${path}]`)
  }
})

/** Waits until TCP's keep-alive timer (02), or no timer (00), runs on the server's side of a connection. */
async function keptAlive(serverPort: number, clientPort: number, timer = '02'): Promise<void> {
  const hex = (port: number): string => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  // Columns: number, local, remote, state (01: established), queues, timer and its end.
  const row = new RegExp(`^ *\\d+: ${hex(serverPort)} ${hex(clientPort)} 01 \\S+ ${timer}:`, 'm')
  await until(() => row.test(readFileSync('/proc/self/net/tcp', 'latin1')))
}

/** One request over a Duplex that is not a socket. */
function overStream(stage: Stage, path: string): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const stream = new Duplex({
      read() {},
      write(chunk, _, done) {
        received += chunk
        if (received.includes(path)) setImmediate(() => stream.destroy())
        done()
      }
    })
    stream.on('close', () => resolve(received))
    stage.server.emit('connection', stream as unknown as Socket)
    stream.push(GET(path))
  })
}
