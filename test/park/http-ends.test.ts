/** How connections of a parked server end, from either side and in every state: the same as with plain Node. */
import http from 'node:http'
import net, { type Socket } from 'node:net'
import compression from 'compression'
import { type Parked, park } from 'ebb'
import { expect, onTestFinished, test } from 'vitest'
import { program } from '../support/cli.js'
import {
  Client,
  closesSilent,
  echoPath,
  GET,
  parity,
  parityFromEach,
  pause,
  type See,
  type Seen,
  type Stage,
  silence
} from '../support/parity.js'

type Middleware = (request: http.IncomingMessage, response: http.ServerResponse, next: () => void) => void

const compress = (options?: compression.CompressionOptions): Middleware => compression(options) as unknown as Middleware

/** Calls `then` when the head of a response is made, as the package `on-headers` does. */
function onHead(response: http.ServerResponse, then: () => void): void {
  const { writeHead } = response
  response.writeHead = ((...args: Parameters<typeof writeHead>) => {
    response.writeHead = writeHead
    then()
    return writeHead.apply(response, args)
  }) as typeof writeHead
}

/** Middlewares under which a stream would be unreadable, or not seen. */
const MIDDLEWARES: [string, Middleware][] = [
  ['compression', (request, response, next) => compress()(request, response, next)],
  [
    'compression, after writeHead()',
    (request, response, next) => {
      compress({ threshold: 0 })(request, response, () => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        next()
      })
    }
  ],
  [
    'Content-Encoding',
    (_, response, next) => {
      response.setHeader('Content-Encoding', 'br')
      next()
    }
  ],
  [
    'a Content-Encoding from writeHead()',
    (_, response, next) => {
      response.writeHead(200, { 'content-encoding': 'x-own' })
      next()
    }
  ],
  [
    'a middleware that replaces write() and end()',
    (_, response, next) => {
      const { write, end } = response
      response.write = ((...args: Parameters<typeof write>) => write.apply(response, args)) as typeof write
      response.end = ((...args: Parameters<typeof end>) => end.apply(response, args)) as typeof end
      next()
    }
  ],
  [
    'a middleware that sets Content-Encoding when the head is made',
    (_, response, next) => {
      onHead(response, () => response.setHeader('Content-Encoding', 'x-own'))
      next()
    }
  ],
  [
    'a middleware that replaces write() when the head is made',
    (_, response, next) => {
      const { write } = response
      onHead(response, () => {
        response.write = ((...args: Parameters<typeof write>) => write.apply(response, args)) as typeof write
      })
      next()
    }
  ],
  [
    'a middleware that sets a digest of the body',
    (_, response, next) => {
      response.setHeader('Content-Digest', 'sha-256=:x:')
      next()
    }
  ],
  [
    'a middleware that replaces flushHeaders()',
    (_, response, next) => {
      response.flushHeaders = () => http.ServerResponse.prototype.flushHeaders.call(response)
      next()
    }
  ]
]

/** A parked server, and a function that returns the whole answer to one request. */
async function encoded(
  listener: http.RequestListener
): Promise<{ server: http.Server & Parked; get: (headers: http.OutgoingHttpHeaders) => Promise<string> }> {
  const server = park(http.createServer(listener), { idle: 25 })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as net.AddressInfo
  const get = (headers: http.OutgoingHttpHeaders): Promise<string> => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const socket = net.connect(port, '127.0.0.1')
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.join('')}\r\n`)
    return new Promise((resolve, reject) => {
      let answer = ''
      socket.on('data', (bytes) => {
        answer += bytes.toString('latin1')
      })
      socket.on('error', reject).on('close', () => resolve(answer))
    })
  }
  return { server, get }
}

const POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n'

/** Responds when the body is complete. */
function afterBody(server: http.Server): void {
  server.on('request', (request, response) => {
    request.resume().on('end', () => response.end(`[${request.url}]`))
  })
}

/** Responds to `/slow` after a pause. */
function slowly(server: http.Server): void {
  server.on('request', async (request, response) => {
    if (request.url === '/slow') await silence()
    response.end(`[${request.url}]`)
  })
}

function tellClientErrors(server: http.Server, see: See): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    see(`clientError ${error.code} ${error.message}, writable ${socket.writable}`, socket as Socket)
    if (socket.writable) socket.end('HTTP/1.1 418 Tea\r\n\r\n')
    else socket.destroy()
  })
}

parityFromEach('the client ends between requests', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.fin()
    expect(await client.over()).toBe('FIN')
    await stage.have(0)
  }
})

parityFromEach('the client ends between requests, of a server with httpAllowHalfOpen', {
  serve: (server) => {
    Object.assign(server, { httpAllowHalfOpen: true })
    echoPath(server)
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.fin()
    expect(await client.over()).toBe('FIN')
    await stage.have(0)
  }
})

for (const from of ['fresh', 'parked', 'awake'] as const) {
  parity(`the client breaks between requests (${from})`, {
    from,
    serve: (server, see) => {
      echoPath(server)
      tellClientErrors(server, see)
    },
    play: async (stage) => {
      const client = await stage.connect()
      await stage.have(1)
      client.rst()
      await stage.have(0)
    },
    check: ({ connections: [log] }) => expect(log).toContain('clientError ECONNRESET read ECONNRESET, writable false'),
    // A parked connection has no socket, so no event is emitted.
    ...(from !== 'awake' && { design: withoutClientErrors })
  })
}

for (const [what, bytes] of [
  ['in the middle of a head', 'GET / HT'],
  ['after one byte', 'G'],
  ['in the middle of a body', `${POST}hello`],
  ['before a body', POST],
  ['after empty lines', '\r\n\r\n'],
  ['in the middle of a chunk', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe']
] as const) {
  for (const listener of [false, true]) {
    const serve = (server: http.Server, see: See): void => {
      afterBody(server)
      if (listener) tellClientErrors(server, see)
    }
    const name = listener ? `${what}, with 'clientError'` : what

    parityFromEach(`the client ends ${name}, at once`, {
      serve,
      play: async (stage) => {
        const client = await stage.connect()
        client.fin(bytes)
        await client.over()
        await stage.have(0)
      }
    })

    parityFromEach(`the client ends ${name}, after a silence`, {
      serve,
      play: async (stage) => {
        const client = await stage.connect()
        void client.send(bytes)
        await silence()
        client.fin()
        await client.over()
        await stage.have(0)
      }
    })

    for (const from of ['fresh', 'parked', 'awake'] as const) {
      parity(`the client breaks ${name}, after a silence (${from})`, {
        from,
        serve,
        play: async (stage) => {
          const client = await stage.connect()
          void client.send(bytes)
          await silence()
          client.rst()
          await stage.have(0)
        },
        // Empty lines are not a request: the connection is parked again by then.
        ...(bytes === '\r\n\r\n' && from !== 'fresh' && { design: withoutClientErrors })
      })
    }
  }
}

parityFromEach('the client sends its request and FIN in one packet', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.fin(GET('/1'))
    expect((await client.response()).body).toBe('[/1]')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('the client sends three pipelined requests and FIN in one packet', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.fin(GET('/1') + GET('/2') + GET('/3'))
    for (const path of ['/1', '/2', '/3']) expect((await client.response()).body).toBe(`[${path}]`)
    expect(await client.over()).toBe('FIN')
  }
})

for (const httpAllowHalfOpen of [false, true]) {
  const serve = (server: http.Server): void => {
    Object.assign(server, { httpAllowHalfOpen })
    slowly(server)
  }
  parityFromEach(`the client ends before the response, httpAllowHalfOpen ${httpAllowHalfOpen}`, {
    serve,
    play: async (stage) => {
      const client = await stage.connect()
      client.fin(GET('/slow'))
      await client.over()
      expect(client.received.includes('[/slow]')).toBe(httpAllowHalfOpen)
    }
  })

  parityFromEach(`the client ends while it waits, httpAllowHalfOpen ${httpAllowHalfOpen}`, {
    serve,
    play: async (stage) => {
      const client = await stage.connect()
      void client.send(GET('/0') + GET('/slow') + GET('/2'))
      await client.reads('[/0]')
      client.fin()
      await client.over()
      expect(client.received.includes('[/2]')).toBe(httpAllowHalfOpen)
    }
  })
}

parityFromEach('the client ends after the response', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await client.get('/1')
    client.fin()
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('the client resets right after its request', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.have(1)
    void client.send(GET('/1'))
    client.rst()
    await stage.have(0)
  },
  // A socket that is made from a reset descriptor has no peer address, so its events cannot be assigned.
  compared: ofNobody
})

parityFromEach('the client resets while it waits', {
  serve: slowly,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(GET('/0') + GET('/slow'))
    await client.reads('[/0]')
    client.rst()
    await stage.have(0)
    await silence()
  }
})

parityFromEach('the client resets while it receives', {
  serve: (server, see) => {
    server.on('request', (request, response) => {
      response.end(request.url === '/large' ? Buffer.alloc(20_000_000) : 'small')
      if (request.url !== '/large') return
      request.socket.on('close', (hadError: boolean) => see(`socket close ${hadError}`, request.socket))
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(GET('/large'))
    await client.reads('200 OK')
    client.socket.pause()
    await silence()
    client.rst()
    await stage.have(0)
  },
  // How many bytes had arrived by then varies.
  compared: (seen) => ({ ...seen, clients: [] })
})

const ENDINGS: [string, (request: http.IncomingMessage, response: http.ServerResponse) => void][] = [
  ['response.socket.destroy()', (_, response) => response.socket?.destroy()],
  ['response.destroy()', (_, response) => response.destroy()],
  ['request.destroy()', (request) => request.destroy()],
  ['request.destroy(error)', (request) => request.destroy(new Error('no'))],
  ['socket.resetAndDestroy()', (request) => request.socket.resetAndDestroy()],
  ['socket.end()', (request) => request.socket.end()],
  ['socket.destroySoon()', (request) => request.socket.destroySoon()],
  ['write() and destroy()', (_, response) => response.write('begin', () => response.destroy())],
  ['end() and destroy()', (_, response) => response.end('all').destroy()],
  ['end() and socket.end()', (request, response) => response.end('all', () => request.socket.end())],
  ['end() and socket.destroy()', (request, response) => response.end('all', () => request.socket.destroy())],
  ['end() and socket.resetAndDestroy()', (q, response) => response.end('all', () => q.socket.resetAndDestroy())],
  ['end() with too much for its length', (_, response) => response.setHeader('Content-Length', 3).end('12345')],
  ['end() with too little for its length', (_, response) => response.setHeader('Content-Length', 9).end('12345')]
]

for (const [what, ending] of ENDINGS) {
  const serve = (server: http.Server, see: See): void => {
    server.on('request', (request, response) => {
      if (request.url !== '/end') {
        response.end(`[${request.url}]`)
        return
      }
      request.socket.on('error', (error) => see(`socket error ${error.message}`, request.socket))
      ending(request, response)
    })
  }
  parityFromEach(`the handler calls ${what}`, {
    serve,
    play: async (stage) => {
      const client = await stage.connect()
      void client.send(GET('/end'))
      if (!what.includes('length')) await client.over()
      else await client.reads('12345')
      await silence()
      expect((await (await stage.open()).get('/')).body).toBe('[/]')
    }
  })
}

const LATE: [string, (socket: Socket) => void][] = [
  ['destroy()', (socket) => socket.destroy()],
  ['end()', (socket) => socket.end()],
  ['end(bytes)', (socket) => socket.end('late')],
  ['destroySoon()', (socket) => socket.destroySoon()],
  ['resetAndDestroy()', (socket) => socket.resetAndDestroy()]
]
for (const [what, ending] of LATE) {
  parity(`the application keeps the socket of a request and calls ${what} when the connection is parked`, {
    serve: (server) => {
      server.on('request', (request, response) => {
        response.end(`[${request.url}]`)
        if (request.url === '/keep') kept.set(server, request.socket)
      })
    },
    play: async (stage) => {
      const client = await stage.connect()
      await client.get('/keep')
      await stage.untilParked()
      const socket = kept.get(stage.server)
      expect(socket).toBeDefined()
      if (socket !== undefined) ending(socket)
      await silence()
      expect(client.ended).toBeDefined()
      client.fin()
      await stage.have(0)
    }
  })
}
const kept = new WeakMap<http.Server, Socket>()

parity('the application keeps the socket of a request and writes when the connection is parked', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(`[${request.url}]`)
      if (request.url === '/keep') kept.set(server, request.socket)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    await client.get('/keep')
    await stage.untilParked()
    kept.get(stage.server)?.write('late')
    await silence()
    expect(client.received).toMatch(/late$/)
    expect((await client.get('/1')).body).toBe('[/1]')
  }
})

const SILENT_GO = await closesSilent()

/**
 * Five clients: one that has sent nothing, one parked, one awake, one that waits for a response, one with half a head.
 */
async function five(stage: Stage): Promise<[Client, Client, Client, Client, Client]> {
  const silent = await stage.open()
  const parkedOne = await stage.open()
  await parkedOne.get('/1')
  await stage.untilParked(2)
  const waiting = await stage.open()
  void waiting.send(GET('/1') + GET('/never'))
  await waiting.reads('[/1]')
  const half = await stage.open()
  void half.send(GET('/1') + GET('/2').slice(0, 10))
  await half.reads('[/1]')
  const awake = await stage.open()
  await awake.get('/1')
  return [silent, parkedOne, awake, waiting, half]
}

function neverly(server: http.Server): void {
  server.on('request', (request, response) => {
    if (request.url !== '/never') response.end(`[${request.url}]`)
  })
}

parity('getConnections() counts all', {
  serve: neverly,
  play: async (stage) => {
    expect(await stage.connections()).toBe(0)
    const [silent, parkedOne, awake] = await five(stage)
    expect(await stage.connections()).toBe(5)
    parkedOne.fin()
    await stage.have(4)
    silent.rst()
    await stage.have(3)
    awake.fin()
    await stage.have(2)
    await silence()
    expect(await stage.connections()).toBe(2)
  }
})

parity('closeIdleConnections()', {
  serve: neverly,
  play: async (stage) => {
    const [silent, parkedOne, awake, waiting, half] = await five(stage)
    stage.server.closeIdleConnections()
    expect(await parkedOne.over()).toBe('FIN')
    expect(await awake.over()).toBe('FIN')
    await stage.have(SILENT_GO ? 2 : 3)
    await silence()
    expect([silent.ended, waiting.ended, half.ended]).toEqual([SILENT_GO ? 'FIN' : undefined, undefined, undefined])
    if (!SILENT_GO) expect((await silent.get('/first')).body).toBe('[/first]')
    void half.send(GET('/2').slice(10))
    expect((await half.response()).body).toBe('[/2]')
    // The server goes on.
    const other = await stage.open()
    expect((await other.get('/3')).body).toBe('[/3]')
  }
})

parity('closeAllConnections()', {
  serve: neverly,
  play: async (stage) => {
    const clients = await five(stage)
    stage.server.closeAllConnections()
    for (const client of clients) expect(await client.over()).toBe('FIN')
    await stage.have(0)
    const other = await stage.open()
    expect((await other.get('/3')).body).toBe('[/3]')
  }
})

parity('closeAllConnections(), and close() with its callback', {
  serve: neverly,
  play: async (stage) => {
    const clients = await five(stage)
    const closed = new Promise((resolve) => stage.server.close(resolve))
    stage.server.closeAllConnections()
    expect(await closed).toBeUndefined()
    for (const client of clients) expect(await client.over()).toBe('FIN')
  }
})

parity('close() ends idle connections, and waits for the others', {
  serve: (server, see) => {
    neverly(server)
    server.on('close', () => see('closed'))
  },
  play: async (stage) => {
    const [silent, parkedOne, awake, waiting, half] = await five(stage)
    let called = false
    stage.server.close((error) => {
      called = true
      expect(error).toBeUndefined()
    })
    expect(stage.server.listening).toBe(false)
    expect(stage.server.address()).toBe(null)
    expect(await parkedOne.over()).toBe('FIN')
    expect(await awake.over()).toBe('FIN')
    // Older versions of Node wait for a silent connection. A parked server closes it, as newer versions do.
    if (!SILENT_GO && !stage.parked) silent.fin()
    expect(await silent.over()).toBe('FIN')
    await stage.have(2)
    await expect(stage.open()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await silence()
    expect(called).toBe(false)
    void half.send(GET('/2').slice(10))
    expect((await half.response()).body).toBe('[/2]')
    await silence()
    waiting.fin()
    expect(called).toBe(false)
    half.fin()
    await stage.closed
    expect(called).toBe(true)
  }
})

parity('close() of silent connections alone', {
  serve: echoPath,
  play: async (stage) => {
    const [one, two] = [await stage.open(), await stage.open()]
    await stage.have(2)
    await silence()
    const closed = new Promise((resolve) => stage.server.close(resolve))
    if (!SILENT_GO && !stage.parked) for (const client of [one, two]) client.fin()
    expect([await one.over(), await two.over()]).toEqual(['FIN', 'FIN'])
    await closed
  }
})

parity('close(): connections that send a request after it are closed at their timeout', {
  options: { keepAliveTimeout: 50 },
  serve: slowly,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(GET('/1') + GET('/slow'))
    await client.reads('[/1]')
    stage.server.close()
    await client.reads('[/slow]')
    expect(await client.over()).toBe('FIN')
    await stage.closed
  }
})

parity('close() in the handler', {
  serve: (server) => {
    server.on('request', (request, response) => {
      if (request.url === '/close') server.close()
      response.end(`[${request.url}]`)
    })
  },
  from: 'parked',
  play: async (stage) => {
    const client = await stage.connect()
    const other = await stage.connect()
    expect((await client.get('/close')).body).toBe('[/close]')
    expect(await other.over()).toBe('FIN')
    expect((await client.get('/again')).body).toBe('[/again]')
    client.fin()
    await stage.closed
  }
})

parity('close() twice, and close() of a server that never listened', {
  serve: echoPath,
  play: async (stage) => {
    await stage.connect('parked')
    const errors: unknown[] = []
    const close = (): Promise<void> =>
      new Promise((resolve) => {
        stage.server.close((error) => {
          errors.push((error as NodeJS.ErrnoException | undefined)?.code)
          resolve()
        })
      })
    await Promise.all([close(), close()])
    await close()
    expect(errors).toEqual([undefined, 'ERR_SERVER_NOT_RUNNING', 'ERR_SERVER_NOT_RUNNING'])
  }
})

parity('close(), and listen() again', {
  serve: echoPath,
  play: async (stage) => {
    for (let round = 0; round < 3; round++) {
      const client = await stage.open()
      expect((await client.get('/1')).body).toBe('[/1]')
      await stage.untilParked()
      expect((await client.get('/2')).body).toBe('[/2]')
      await stage.untilParked()
      await new Promise((resolve) => stage.server.close(resolve))
      expect(await client.over()).toBe('FIN')
      await stage.listen()
    }
  }
})

parity('listen() again while earlier connections are open', {
  serve: neverly,
  play: async (stage) => {
    const [silent, parkedOne, awake, waiting, half] = await five(stage)
    stage.server.close()
    expect(await parkedOne.over()).toBe('FIN')
    expect(await awake.over()).toBe('FIN')
    await stage.listen()
    if (SILENT_GO) await silent.over()
    else expect((await silent.get('/1')).body).toBe('[/1]')
    void half.send(GET('/2').slice(10))
    expect((await half.response()).body).toBe('[/2]')
    const other = await stage.open()
    expect((await other.get('/3')).body).toBe('[/3]')
    const left = SILENT_GO ? 3 : 4
    await stage.have(left)
    waiting.fin()
    await stage.have(left - 1)
  }
})

parity('asyncDispose', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect('parked')
    await stage.server[Symbol.asyncDispose]()
    expect(await client.over()).toBe('FIN')
    expect(stage.server.listening).toBe(false)
  }
})

parity("maxConnections: the data of 'drop', and parked connections count", {
  serve: (server, see) => {
    echoPath(server)
    server.maxConnections = 2
    server.on('drop', (data) => {
      expect(data?.localPort).toBe((server.address() as net.AddressInfo).port)
      expect(data?.remotePort).toBeGreaterThan(0)
      see(`drop ${JSON.stringify({ ...data, localPort: 0, remotePort: 0 })}`)
    })
  },
  play: async (stage) => {
    const [one, two] = [await stage.connect('parked'), await stage.open()]
    for (let i = 0; i < 3; i++) expect(await (await stage.open()).over()).toBe('FIN')
    await stage.have(2)
    one.fin()
    await stage.have(1)
    const next = await stage.open()
    expect((await next.get('/3')).body).toBe('[/3]')
    expect((await two.get('/4')).body).toBe('[/4]')
    expect(await (await stage.open()).over()).toBe('FIN')
    stage.server.maxConnections = 3
    expect((await (await stage.open()).get('/5')).body).toBe('[/5]')
  },
  check: ({ server }) => expect(server.filter((event) => event.startsWith('drop'))).toHaveLength(4)
})

for (const parked of [false, true]) {
  test(`close() during a connect storm: all connections end, park ${parked}`, async () => {
    const child = await serverIn(parked, "server.on('request', (_, response) => response.end('body'))", 200)
    for (const action of ['close', 'close', 'closeAll']) {
      const clients: net.Socket[] = []
      const ends: Promise<unknown>[] = []
      for (let i = 0; i < 300; i++) {
        const client = net.connect(child.port, '127.0.0.1')
        client.on('error', () => {})
        ends.push(new Promise((resolve) => client.on('close', resolve)))
        if (i % 3 !== 0) client.write(GET(`/${i}`))
        client.resume()
        clients.push(client)
        if (i === 150)
          client.on('connect', () =>
            http.get({ port: child.port, path: `/${action}`, agent: false }, (r) => r.resume()).on('error', () => {})
          )
      }
      // close() does not end connections that have sent nothing.
      await child.said(/closing/)
      await silence()
      for (const client of clients) client.end()
      await Promise.all(ends)
      const [, more] = await child.said(/closed, 0 connections, (.+) descriptors\n$/)
      expect(more).toBe('as many')
      child.stdout = ''
    }
  })
}

describeThrowing()

function describeThrowing(): void {
  const app = `
    process.on('uncaughtException', (error) => console.log('uncaught', error.message))
    process.on('unhandledRejection', (error) => console.log('unhandled', error.message))
    server.on('request', async (request, response) => {
      if (request.url === '/rejects') throw new Error(request.url)
      request.on('data', () => { if (request.url === '/data') throw new Error(request.url) })
      request.on('end', () => { if (request.url === '/end') throw new Error(request.url) })
      response.on('finish', () => { if (request.url === '/finish') throw new Error(request.url) })
      if (request.method === 'GET') response.end('[' + request.url + ']')
    })
    server.prependListener('request', (request, response) => {
      if (request.url === '/throws') throw new Error(request.url)
    })
    server.on('clientError', (error) => { throw error })
    server.on('connection', (socket) => socket.on('close', () => { if (die) throw new Error('close') }))
    server.on('upgrade', () => { throw new Error('upgrade') })
    let die = false
  `
  const cases: [string, string][] = [
    ['throws', GET('/throws')],
    ['throws, with another request behind', GET('/throws') + GET('/behind')],
    ['rejects', GET('/rejects')],
    ["throws in 'data'", 'POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello'],
    ["throws in 'end'", 'POST /end HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello'],
    ["throws in 'finish'", GET('/finish')],
    ["throws in 'clientError'", 'garbage\r\n\r\n'],
    ["throws in 'upgrade'", GET('/', 'Connection: Upgrade\r\nUpgrade: x\r\n')]
  ]
  test.each(cases)('a handler that %s: the server goes on as plain Node does', async (_, bytes) => {
    const [plain, parked] = await Promise.all([false, true].map((parked) => run(parked, bytes)))
    expect(parked).toEqual(plain)
  })

  async function run(parked: boolean, bytes: string): Promise<unknown> {
    const child = await serverIn(parked, app)
    child.stdout = ''
    const seen: unknown[] = []
    for (const from of ['fresh', 'parked']) {
      const client = new Client(net.connect({ port: child.port, host: '127.0.0.1', allowHalfOpen: true }))
      await client.connected
      if (from === 'parked') {
        await client.get('/warm')
        await pause(200)
      }
      void client.send(bytes)
      await child.said(/(uncaught|unhandled) .*\n/)
      await pause(200)
      void client.send(GET('/after'))
      // Answered, ended or neither: the same as plain Node.
      await Promise.race([client.reads('[/after]').catch(() => {}), pause(2000)])
      await pause(200)
      seen.push([from, client.received.replace(/^Date: .*$/gm, ''), client.ended, child.stdout])
      child.stdout = ''
      const other = new Client(net.connect({ port: child.port, host: '127.0.0.1', allowHalfOpen: true }))
      await other.connected
      seen.push((await other.get('/other')).body)
      await pause(200)
      seen.push((await other.get('/other')).body)
      client.socket.destroy()
      other.socket.destroy()
    }
    return seen
  }
}

/**
 * A server in its own process. `app` runs with `server` before it is parked. After `/close` and `/closeAll`, the server
 * listens again.
 */
async function serverIn(parked: boolean, app: string, idle = 25): ReturnType<typeof program> {
  return await program(`
    import http from 'node:http'
    import { readdirSync } from 'node:fs'
    import { park as parkIt, release } from 'ebb'
    const park = ${parked ? 'parkIt' : '(server) => server'}
    // This opens a descriptor that stays open, as the first listen() may.
    await release()
    const descriptors = () => readdirSync('/proc/self/fd').length
    const server = http.createServer()
    ${app}
    server.on('request', (request) => {
      if (!request.url.startsWith('/close')) return
      console.log('closing')
      server.close(() => {
        server.getConnections((_, count) => {
          // The socket of the closing request is closed after this.
          const look = (again) => {
            const more = descriptors() - before
            if (more !== 0 && again > 0) return setTimeout(look, 50, again - 1)
            const said = 'closed, ' + count + ' connections, ' + (more ? more + ' more' : 'as many') + ' descriptors'
            server.listen(port, '127.0.0.1', () => console.log(said))
          }
          look(100)
        })
      })
      if (request.url === '/closeAll') server.closeAllConnections()
    })
    park(server, { idle: ${idle} }).listen(0, '127.0.0.1')
    let port = 0, before = 0
    server.once('listening', () => {
      port = server.address().port
      server.close(() => setTimeout(() => {
        before = descriptors()
        server.listen(port, '127.0.0.1', () => console.log(port))
      }, 50))
    })
  `)
}

/** Leaves out the events of client errors. */
function withoutClientErrors(seen: Seen): Seen {
  return {
    ...seen,
    connections: seen.connections.map((log) => log.filter((event) => !event.startsWith('clientError')))
  }
}

/** Merges the events of all connections into the server's. */
function ofNobody({ clients, server, connections }: Seen): Seen {
  return { clients, server: [...connections.flat(), ...server], connections: [] }
}

for (const [what, middleware] of MIDDLEWARES) {
  test(`stream() under ${what} is an error, with which the application can still answer`, async () => {
    let outcome: unknown
    const { server, get } = await encoded((request, response) => {
      middleware(request, response, () => {
        if (!response.headersSent) response.setHeader('Content-Type', 'text/event-stream')
        try {
          outcome = server.stream(response)
        } catch (error) {
          outcome = error
          if (!response.headersSent) response.statusCode = 500
          response.end('sorry')
        }
      })
    })
    const answer = await get({ 'accept-encoding': 'gzip' })
    expect(outcome).toMatchObject({
      code: 'ERR_EBB_STREAM_ENCODED',
      message: expect.stringMatching(/ leave the middleware .* or set Cache-Control: no-transform before /)
    })
    expect(answer).toContain(what.includes('writeHead') ? 'HTTP/1.1 200' : 'HTTP/1.1 500')
    expect(server.stats().parked).toBeLessThanOrEqual(1)
  })
}

const UNENCODED: [string, Middleware][] = [
  [
    'compression, with no-transform',
    (request, response, next) => {
      response.setHeader('Cache-Control', 'no-cache, no-transform')
      compress()(request, response, next)
    }
  ],
  [
    'a middleware that replaces write(), with no-transform from writeHead()',
    (_, response, next) => {
      const { write } = response
      response.write = ((...args: Parameters<typeof write>) => write.apply(response, args)) as typeof write
      response.writeHead(200, { 'cache-control': 'no-transform' })
      next()
    }
  ],
  [
    'a middleware that replaces end() alone, later than the call',
    (_, response, next) => {
      const { end } = response
      response.end = ((...args: Parameters<typeof end>) => {
        setTimeout(() => end.apply(response, args), 5)
        return response
      }) as typeof end
      next()
    }
  ],
  [
    'Content-Encoding: identity',
    (_, response, next) => {
      response.setHeader('Content-Encoding', 'identity')
      next()
    }
  ],
  [
    'a middleware that sets a cookie and a length when the head is made',
    (_, response, next) => {
      onHead(response, () => {
        response.setHeader('Set-Cookie', 'a=b')
        response.setHeader('Content-Length', 5)
      })
      next()
    }
  ],
  ['no middleware', (_request, _response, next) => next()]
]
for (const [what, middleware] of UNENCODED) {
  test(`stream() under ${what} sends events as they are`, async () => {
    const { server, get } = await encoded((request, response) => {
      middleware(request, response, () => {
        const { id } = server.stream(response)
        setTimeout(() => {
          server.send(id, 'data: hello\n\n')
          server.closeConnection(id)
        }, 50)
      })
    })
    expect(await get({ 'accept-encoding': 'gzip' })).toMatch(/^HTTP\/1.1 200 .*\r\n\r\ndata: hello\n\n$/s)
  })
}
