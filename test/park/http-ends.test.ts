/** How connections end behind `park()`, from either side and at every stage: as with plain Node. */
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { expect, test } from 'vitest'
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

const POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n'

/** Answers when the body has come. */
function afterBody(server: http.Server): void {
  server.on('request', (request, response) => {
    request.resume().on('end', () => response.end(`[${request.url}]`))
  })
}

/** Answers to `/slow` after a silence. */
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

for (const from of ['fresh', 'slept', 'awake'] as const) {
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
    // Nobody is told of one that sleeps: there is no socket to tell it of.
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

    for (const from of ['fresh', 'slept', 'awake'] as const) {
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
        // Empty lines are no request: it has gone to sleep again by then.
        ...(bytes === '\r\n\r\n' && from !== 'fresh' && { design: withoutClientErrors })
      })
    }
  }
}

parityFromEach('the client ends with its request, in one packet', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.fin(GET('/1'))
    expect((await client.response()).body).toBe('[/1]')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('the client ends with three pipelined requests, in one packet', {
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

parityFromEach('the client breaks with its request, in one instant', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.have(1)
    void client.send(GET('/1'))
    client.rst()
    await stage.have(0)
  },
  // A socket made of a descriptor that has been reset has no peer any more: its events are nobody's.
  compared: ofNobody
})

parityFromEach('the client breaks while it waits', {
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

parityFromEach('the client breaks while it receives', {
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
  // How much came until then is chance.
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
  parity(`the application keeps the socket of a request and calls ${what} when the connection sleeps`, {
    serve: (server) => {
      server.on('request', (request, response) => {
        response.end(`[${request.url}]`)
        if (request.url === '/keep') kept.set(server, request.socket)
      })
    },
    play: async (stage) => {
      const client = await stage.connect()
      await client.get('/keep')
      await stage.asleep()
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

parity('the application keeps the socket of a request and writes when the connection sleeps', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(`[${request.url}]`)
      if (request.url === '/keep') kept.set(server, request.socket)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    await client.get('/keep')
    await stage.asleep()
    kept.get(stage.server)?.write('late')
    await silence()
    expect(client.received).toMatch(/late$/)
    expect((await client.get('/1')).body).toBe('[/1]')
  }
})

const SILENT_GO = await closesSilent()

/** Five clients: one that has said nothing, one that sleeps, one that is awake, one that waits for a response, one with half a head. */
async function five(stage: Stage): Promise<[Client, Client, Client, Client, Client]> {
  const silent = await stage.open()
  const slept = await stage.open()
  await slept.get('/1')
  await stage.asleep(2)
  const waiting = await stage.open()
  void waiting.send(GET('/1') + GET('/never'))
  await waiting.reads('[/1]')
  const half = await stage.open()
  void half.send(GET('/1') + GET('/2').slice(0, 10))
  await half.reads('[/1]')
  const awake = await stage.open()
  await awake.get('/1')
  return [silent, slept, awake, waiting, half]
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
    const [silent, slept, awake] = await five(stage)
    expect(await stage.connections()).toBe(5)
    slept.fin()
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
    const [silent, slept, awake, waiting, half] = await five(stage)
    stage.server.closeIdleConnections()
    expect(await slept.over()).toBe('FIN')
    expect(await awake.over()).toBe('FIN')
    await stage.have(SILENT_GO ? 2 : 3)
    await silence()
    expect([silent.ended, waiting.ended, half.ended]).toEqual([SILENT_GO ? 'FIN' : undefined, undefined, undefined])
    if (!SILENT_GO) expect((await silent.get('/first')).body).toBe('[/first]')
    void half.send(GET('/2').slice(10))
    expect((await half.response()).body).toBe('[/2]')
    // It goes on.
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

parity('close() ends those who are idle, and waits for the others', {
  serve: (server, see) => {
    neverly(server)
    let answer: (() => void) | undefined
    server.on('request', (request, response) => {
      if (request.url === '/never') answer = () => response.end('[/never]')
      if (request.url === '/answer') answer?.()
    })
    server.on('close', () => see('closed'))
  },
  play: async (stage) => {
    const [silent, slept, awake, waiting, half] = await five(stage)
    let called = false
    stage.server.close((error) => {
      called = true
      expect(error).toBeUndefined()
    })
    expect(stage.server.listening).toBe(false)
    expect(stage.server.address()).toBe(null)
    expect(await slept.over()).toBe('FIN')
    expect(await awake.over()).toBe('FIN')
    await stage.have(SILENT_GO ? 2 : 3)
    await expect(stage.open()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await silence()
    expect(called).toBe(false)
    // One that had said nothing may still ask, if it is left.
    if (!SILENT_GO) {
      void silent.send(GET('/answer'))
      expect((await silent.response()).body).toBe('[/answer]')
      expect((await waiting.response()).body).toBe('[/never]')
      await silence()
      silent.fin()
    }
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

parity('close(): silent connections go with the others, or let it end when they do', {
  serve: echoPath,
  play: async (stage) => {
    const [one, two] = [await stage.open(), await stage.open()]
    await stage.have(2)
    const closed = new Promise((resolve) => stage.server.close(resolve))
    await silence()
    const ended = SILENT_GO ? 'FIN' : undefined
    expect([one.ended, two.ended]).toEqual([ended, ended])
    one.fin()
    two.rst()
    await closed
  }
})

parity('close(): those who ask after it are closed when their time is over', {
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
  from: 'slept',
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

parity('close() twice, and of a server that never listened', {
  serve: echoPath,
  play: async (stage) => {
    await stage.connect('slept')
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
      await stage.asleep()
      expect((await client.get('/2')).body).toBe('[/2]')
      await stage.asleep()
      await new Promise((resolve) => stage.server.close(resolve))
      expect(await client.over()).toBe('FIN')
      await stage.listen()
    }
  }
})

parity('listen() again while connections of before are there', {
  serve: neverly,
  play: async (stage) => {
    const [silent, slept, awake, waiting, half] = await five(stage)
    stage.server.close()
    expect(await slept.over()).toBe('FIN')
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
    const client = await stage.connect('slept')
    await stage.server[Symbol.asyncDispose]()
    expect(await client.over()).toBe('FIN')
    expect(stage.server.listening).toBe(false)
  }
})

parity("maxConnections: 'drop' tells who, and those who sleep are counted", {
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
    const [one, two] = [await stage.connect('slept'), await stage.open()]
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
  test(`close() in a storm of connects: all of them end, park ${parked}`, async () => {
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
      // Those who have said nothing are not ended by close().
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
    for (const from of ['fresh', 'slept']) {
      const client = new Client(net.connect({ port: child.port, host: '127.0.0.1', allowHalfOpen: true }))
      await client.connected
      if (from === 'slept') {
        await client.get('/warm')
        await pause(200)
      }
      void client.send(bytes)
      await child.said(/(uncaught|unhandled) .*\n/)
      await pause(200)
      void client.send(GET('/after'))
      // Answered, ended or neither: as plain Node has it.
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

/** A server in a process of its own; `app` has `server`, before it is parked. `/close` and `/closeAll` close it, after which it listens again. */
async function serverIn(parked: boolean, app: string, idle = 25): ReturnType<typeof program> {
  return await program(`
    import http from 'node:http'
    import { readdirSync } from 'node:fs'
    import { park as parkIt, release } from 'ebb'
    const park = ${parked ? 'parkIt' : '(server) => server'}
    // It takes a descriptor for good, as the first listen() may.
    await release()
    const descriptors = () => readdirSync('/proc/self/fd').length
    const server = http.createServer()
    ${app}
    server.on('request', (request) => {
      if (!request.url.startsWith('/close')) return
      console.log('closing')
      server.close(() => {
        server.getConnections((_, count) => {
          // What closed it closes its socket after this.
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

/** What was told of a client's errors is left out. */
function withoutClientErrors(seen: Seen): Seen {
  return {
    ...seen,
    connections: seen.connections.map((log) => log.filter((event) => !event.startsWith('clientError')))
  }
}

/** The events of all connections become the server's. */
function ofNobody({ clients, server, connections }: Seen): Seen {
  return { clients, server: [...connections.flat(), ...server], connections: [] }
}
