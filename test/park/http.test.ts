/** Requests and responses behind `park()`: byte for byte what plain Node does, wherever a sleep falls. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { release } from 'ebb'
import { expect } from 'vitest'
import { type Client, parity, parityFromEach, pause, type See, type Stage, silence, turn } from '../support/parity.js'
import { until } from '../support/sockets.js'

const GET = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`

/** Answers with the path. */
function echoPath(server: http.Server): void {
  server.on('request', (request, response) => response.end(`[${request.url}]`))
}

/** Answers with the body, and notes its trailers. */
function echoBody(server: http.Server, see: See): void {
  server.on('request', async (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      see(`end ${request.rawTrailers}`, request.socket)
      response.end(`[${Buffer.concat(chunks)}]`)
    })
  })
}

parityFromEach('GET', {
  serve: (server, see) => {
    server.on('request', (request, response) => {
      const { socket } = request
      expect(socket).toBeInstanceOf(net.Socket)
      expect((socket as Socket & { server: unknown }).server).toBe(server)
      expect(socket.localPort).toBe((server.address() as net.AddressInfo).port)
      const { remoteAddress, remoteFamily, localAddress, localFamily, readyState, allowHalfOpen } = socket
      see([remoteAddress, remoteFamily, localAddress, localFamily, readyState, allowHalfOpen].join(' '), socket)
      see(JSON.stringify({ ...socket.address(), port: 0 }), socket)
      response.setHeader('X-Header', ['a', 'b'])
      response.end('body')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/', 'Cookie: a=b\r\nX-UTF: \xe9\r\n')).body).toBe('body')
  },
  check: ({ connections: [log] }) => expect(log).toContain('127.0.0.1 IPv4 127.0.0.1 IPv4 open true')
})

parity('keep-alive: one request after the other', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    for (let i = 0; i < 20; i++) expect((await client.get(`/${i}`)).body).toBe(`[/${i}]`)
    await stage.stats(({ accepted }) => accepted === 1)
  }
})

parity('keep-alive: a sleep between any two requests', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.asleep()
    for (let i = 0; i < 5; i++) {
      expect((await client.get(`/${i}`)).body).toBe(`[/${i}]`)
      await stage.asleep()
      // The first wake is the first byte's.
      await stage.stats(({ woken, parkedAgain }) => woken === i + 1 && parkedAgain === i + 1)
    }
  }
})

parity('keep-alive: several connections, which sleep at different times', {
  serve: echoPath,
  play: async (stage) => {
    const clients = []
    for (let i = 0; i < 8; i++) clients.push(await stage.connect())
    for (let round = 0; round < 3; round++) {
      await stage.asleep(8)
      for (const [i, client] of clients.entries()) {
        if (i % 3 === round) continue
        expect((await client.get(`/${round}/${i}`)).body).toBe(`[/${round}/${i}]`)
        await pause(i)
      }
    }
  }
})

parityFromEach('pipelined: in one packet', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.send(GET('/1') + GET('/2') + GET('/3'))
    for (const path of ['/1', '/2', '/3']) expect((await client.response()).body).toBe(`[${path}]`)
    await stage.asleep()
    expect((await client.get('/4')).body).toBe('[/4]')
  }
})

parityFromEach('pipelined: answered in the order of the requests, whichever is ready first', {
  serve: (server) => {
    server.on('request', (request, response) => {
      const rank = Number(request.url?.slice(1))
      if (Number.isNaN(rank)) response.end('[/warm]')
      else setTimeout(() => response.end(`[${request.url}]`), (3 - rank) * 3 * 30)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send(GET('/1') + GET('/2') + GET('/3'))
    for (const path of ['/1', '/2', '/3']) expect((await client.response()).body).toBe(`[${path}]`)
  }
})

parityFromEach('pipelined: the second head is cut in half while the first response is being written', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      if (request.url !== '/1') {
        response.end(`[${request.url}]`)
        return
      }
      for (let i = 0; i < 5; i++) {
        response.write(`${i}`)
        await pause(5)
      }
      response.end('!')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    const second = GET('/2', 'X-Long: value\r\n')
    client.send(GET('/1') + second.slice(0, 20))
    await client.reads('0')
    client.send(second.slice(20, 30))
    expect((await client.response()).body).toMatch(/!/)
    // Nobody may think that it is idle now: half of a head is in the parser.
    await silence()
    client.send(second.slice(30))
    expect((await client.response()).body).toBe('[/2]')
  }
})

parityFromEach('pipelined: half of a head comes with the end of the one before, then silence, then the rest', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    const second = GET('/2')
    for (const cut of [1, 3, 5, 14, second.length - 3, second.length - 1]) {
      client.send(GET(`/${cut}`) + second.slice(0, cut))
      expect((await client.response()).body).toBe(`[/${cut}]`)
      await silence()
      client.send(second.slice(cut))
      expect((await client.response()).body).toBe('[/2]')
    }
  }
})

parityFromEach('a head byte by byte', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await client.dribble(GET('/slowly', 'X-A: b\r\n'))
    expect((await client.response()).body).toBe('[/slowly]')
  }
})

parityFromEach('a head in pieces with silences', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    for (const piece of ['G', 'ET', ' /sl', 'owly HTTP/1.1\r', '\nHost: x', '\r\n\r', '\n']) {
      await silence()
      client.send(piece)
    }
    expect((await client.response()).body).toBe('[/slowly]')
    await stage.asleep()
    expect((await client.get('/again')).body).toBe('[/again]')
  }
})

parityFromEach('a request begins with empty lines', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.send(`\r\n\r\n${GET('/1')}`)
    expect((await client.response()).body).toBe('[/1]')
    await stage.asleep()
    // The empty line that some old clients send after a body, which they do not count.
    client.send('\r\n')
    await silence()
    client.send(GET('/2'))
    expect((await client.response()).body).toBe('[/2]')
  }
})

parityFromEach('POST: a body in pieces, with silences', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n')
    for (const piece of ['hello', ' ', 'world', '....']) {
      await silence()
      client.send(piece)
    }
    expect((await client.response()).body).toBe('[hello world....]')
    await stage.asleep()
    client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc')
    expect((await client.response()).body).toBe('[abc]')
  }
})

parityFromEach('POST: a chunked body cut anywhere, with trailers', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    client.send('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n')
    const chunked = '5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n'
    for (let i = 0; i < chunked.length; i += 7) {
      await silence()
      client.send(chunked.slice(i, i + 7))
    }
    expect((await client.response()).body).toBe('[hello world]')
    await stage.asleep()
    await client.dribble(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`)
    expect((await client.response()).body).toBe('[hello world]')
  },
  check: ({ connections: [log] }) => expect(log?.filter((event) => event === 'end X-Sum,1')).toHaveLength(2)
})

parityFromEach('POST: answered before its body has come; the rest comes after a silence', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello')
    expect((await client.response()).body).toBe('[/1]')
    await silence()
    client.send(`world${GET('/2')}`)
    expect((await client.response()).body).toBe('[/2]')
    client.send('POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab')
    expect((await client.response()).body).toBe('[/3]')
    await silence()
    client.send('c\r\n')
    await silence()
    client.send(`0\r\n\r\n${GET('/4')}`)
    expect((await client.response()).body).toBe('[/4]')
  }
})

parityFromEach('POST: a body that nobody reads', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      await pause(request.url === '/warm' ? 0 : 50)
      response.end(`[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    const body = Buffer.alloc(500_000, 'x')
    client.send(`POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`)
    client.send(body)
    expect((await client.response()).body).toBe('[/1]')
    await stage.asleep()
    expect((await client.get('/2')).body).toBe('[/2]')
  }
})

parityFromEach('POST: a large body to a reader that pauses', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      const hash = createHash('sha1')
      let bytes = 0
      let paused = false
      for await (const chunk of request as AsyncIterable<Buffer>) {
        hash.update(chunk)
        bytes += chunk.length
        if (paused) continue
        paused = true
        await silence()
      }
      response.end(`${bytes} ${hash.digest('hex')}`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    const body = pattern(8_000_000)
    client.send(`PUT /1 HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`)
    client.send(body)
    const digest = createHash('sha1').update(body).digest('hex')
    expect((await client.response()).body).toBe(`${body.length} ${digest}`)
    await stage.asleep()
    expect((await client.get('/2')).status).toBe(200)
  }
})

parityFromEach('Expect: 100-continue', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(100)
    await silence()
    client.send('hello')
    expect((await client.response()).body).toBe('[hello]')
    await stage.asleep()
    expect((await client.get('/2')).body).toBe('[]')
  }
})

parityFromEach("Expect: 100-continue, with 'checkContinue'", {
  serve: (server, see) => {
    echoBody(server, see)
    server.on('checkContinue', async (request, response) => {
      see(`checkContinue ${request.url}`, request.socket)
      await silence()
      if (request.url === '/refused') {
        response.writeHead(403).end()
        return
      }
      response.writeContinue()
      server.emit('request', request, response)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(100)
    client.send('hello')
    expect((await client.response()).body).toBe('[hello]')
    await stage.asleep()
    client.send('POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(403)
    // Node closes it: nobody knows whether a body comes.
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('Expect: what nobody can do', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/1', 'Expect: tea\r\n')).status).toBe(417)
    expect((await client.get('/2')).body).toBe('[/2]')
  }
})

parityFromEach('103 and 102 before the response', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      if (request.url === '/warm') {
        response.end()
        return
      }
      response.writeEarlyHints({ link: '</a>; rel=preload' })
      await silence()
      response.writeProcessing()
      await silence()
      response.end('ready')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send(GET('/'))
    expect((await client.response()).status).toBe(103)
    expect((await client.response()).status).toBe(102)
    expect((await client.response()).body).toBe('ready')
  }
})

parityFromEach('HEAD, 204, 304', {
  serve: (server) => {
    server.on('request', (request, response) => {
      if (request.url === '/204' || request.url === '/304') response.statusCode = Number(request.url.slice(1))
      response.end('a body')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    for (const sleeping of [false, true]) {
      client.send('HEAD / HTTP/1.1\r\nHost: x\r\n\r\n')
      expect((await client.response({ bodiless: true })).status).toBe(200)
      if (sleeping) await stage.asleep()
      expect((await client.get('/204')).status).toBe(204)
      if (sleeping) await stage.asleep()
      expect((await client.get('/304')).status).toBe(304)
      if (sleeping) await stage.asleep()
      expect((await client.get('/200')).body).toBe('a body')
    }
  }
})

parityFromEach('trailers of a response', {
  serve: (server) => {
    server.on('request', (_, response) => {
      response.setHeader('Trailer', 'X-Sum')
      response.write('hello')
      response.addTrailers({ 'X-Sum': '1' })
      response.end()
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/')).body).toBe('5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n')
    await stage.asleep()
    expect((await client.get('/')).status).toBe(200)
  }
})

parityFromEach('HTTP/1.0', {
  serve: (server) => {
    server.on('request', (request, response) => {
      // Without it, what answers HTTP/1.0 ends with the connection.
      response.setHeader('Content-Length', 4)
      response.end(request.url === '/warm' ? 'warm' : `[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send('GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    const { head, body } = await client.response()
    expect(head).toMatch(/^Connection: keep-alive$/m)
    expect(body).toBe('[/1]')
    await stage.asleep()
    client.send('GET /2 HTTP/1.0\r\n\r\n')
    expect((await client.response()).body).toBe('[/2]')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('HTTP/1.0 without a length: the FIN ends the body', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      if (request.url === '/warm') {
        response.end()
        return
      }
      response.write('begin ')
      await silence()
      response.end('end')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send('GET / HTTP/1.0\r\n\r\n')
    expect((await client.response()).body).toBe('begin end')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('Connection: close, from the client and from the server', {
  serve: (server) => {
    server.on('request', (request, response) => {
      if (request.url === '/last') response.setHeader('Connection', 'close')
      response.end(`[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/1', 'Connection: close\r\n')).body).toBe('[/1]')
    expect(await client.over()).toBe('FIN')
    // The slept and the awake of this scenario are told by their number.
    const other = await stage.open()
    await other.get('/0')
    await silence()
    expect((await other.get('/last')).body).toBe('[/last]')
    expect(await other.over()).toBe('FIN')
  }
})

parityFromEach('a response larger than the buffers of the sockets, to a slow reader', {
  serve: (server, see) => {
    server.on('request', (request, response) => {
      if (request.url !== '/large') {
        response.end(`[${request.url}]`)
        return
      }
      see(`write ${response.write(pattern(20_000_000))}`, request.socket)
      response.once('drain', () => {
        see('drain', request.socket)
        response.end('the end')
      })
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send(GET('/large') + GET('/pipelined'))
    await client.reads('HTTP/1.1 200')
    for (let i = 0; i < 3; i++) {
      client.socket.pause()
      await silence()
      client.socket.resume()
      await turn()
    }
    expect((await client.response()).body).toMatch(/\r\nthe end\r\n0\r\n\r\n$/)
    expect((await client.response()).body).toBe('[/pipelined]')
    await stage.asleep()
    expect((await client.get('/after')).body).toBe('[/after]')
  },
  check: ({ connections: [log] }) => expect(log).toEqual(expect.arrayContaining(['write false', 'drain']))
})

parityFromEach('a slow reader that reads nothing for a long time: its connection waits awake', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(request.url === '/large' ? pattern(20_000_000) : `[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.socket.pause()
    client.send(GET('/large'))
    for (let i = 0; i < 5; i++) {
      await silence()
      await stage.stats(({ awake }) => awake === 1)
    }
    client.socket.resume()
    const { body } = await client.response()
    expect(body === pattern(20_000_000).toString('latin1')).toBe(true)
    await stage.asleep()
    expect((await client.get('/after')).body).toBe('[/after]')
  }
})

parityFromEach('a response that takes its time, and one that trickles', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      if (request.url === '/late') await silence()
      if (request.url === '/trickle') {
        for (let i = 0; i < 4; i++) {
          response.write(`${i}`)
          await silence()
        }
      }
      response.end(`[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/late')).body).toBe('[/late]')
    await stage.asleep()
    expect((await client.get('/trickle')).body).toContain('[/trickle]')
    await stage.asleep()
    expect((await client.get('/late')).body).toBe('[/late]')
  }
})

parityFromEach('100 requests in one packet to a server that answers slowly', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      await turn()
      response.end(request.url === '/warm' ? '' : Buffer.alloc(50_000, request.url))
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.socket.pause()
    client.send(Array.from({ length: 100 }, (_, i) => GET(`/${i},`)).join(''))
    await silence()
    client.socket.resume()
    for (let i = 0; i < 100; i++) {
      expect((await client.response()).body).toBe(Buffer.alloc(50_000, `/${i},`).toString())
    }
  }
})

for (const method of ['upgrade', 'connect'] as const) {
  parityFromEach(`${method}: the socket is the application's from then on, however long it is silent`, {
    serve: (server, see) => {
      echoPath(server)
      server.on(method, (request, socket, head) => {
        see(`${method} ${request.url} [${head}]`, request.socket)
        expect(socket).toBe(request.socket)
        let bytes = 0
        socket.write('HTTP/1.1 101 Go On\r\n\r\n')
        socket.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          socket.write(chunk)
        })
        socket.on('end', () => {
          see(`end after ${bytes}`, request.socket)
          socket.end('bye')
        })
        socket.on('close', (hadError: boolean) => see(`close ${hadError}`, request.socket))
      })
    },
    play: async (stage) => {
      const client = await stage.connect()
      const head =
        method === 'upgrade'
          ? GET('/ws', 'Connection: Upgrade\r\nUpgrade: echo\r\n')
          : 'CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n'
      client.send(`${head}early`)
      await client.reads('HTTP/1.1 101 Go On\r\n\r\n')
      for (const word of ['one', 'two', 'three']) {
        await silence()
        await stage.stats(({ awake, parked }) => awake === 1 && parked === 0)
        client.send(word)
        await client.reads(word)
      }
      await silence()
      client.fin()
      await client.reads('bye')
      expect(await client.over()).toBe('FIN')
    },
    check: ({ connections: [log] }) => expect(log).toEqual(expect.arrayContaining(['end after 11', 'close false']))
  })
}

parityFromEach('upgrade: refused by the application; asked for where nobody listens', {
  serve: (server) => {
    server.on('request', (request, response) => response.end(`[${request.url} ${request.headers.upgrade}]`))
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/ws', 'Connection: Upgrade\r\nUpgrade: x\r\n')).body).toBe('[/ws x]')
    await stage.asleep()
    expect((await client.get('/', '')).body).toBe('[/ undefined]')
    client.send('CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('upgrade: the peer breaks it', {
  serve: (server, see) => {
    echoPath(server)
    server.on('upgrade', ({ socket }) => {
      socket.write('HTTP/1.1 101 Go On\r\n\r\n')
      socket.on('error', (error: NodeJS.ErrnoException) => see(`error ${error.code}`, socket))
      socket.on('close', (hadError: boolean) => see(`close ${hadError}`, socket))
      socket.resume()
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send(GET('/ws', 'Connection: Upgrade\r\nUpgrade: echo\r\n'))
    await client.reads('\r\n\r\n')
    await silence()
    client.rst()
    await stage.have(0)
  },
  check: ({ connections: [log] }) => expect(log).toEqual(expect.arrayContaining(['error ECONNRESET', 'close true']))
})

const BROKEN: [string, string][] = [
  ['no method', 'garbage\r\n\r\n'],
  ['a first byte that is none', '\x16\x03\x01\x02'],
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
      client.send(bytes)
      await client.over()
      // The server is well.
      await stage.asleep(0)
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
      client.send(bytes)
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
    client.send(`${GET('/1')}garbage\r\n\r\n`)
    expect((await client.response()).body).toBe('[/1]')
    await client.reads('400 No')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('the options of the server: maxHeaderSize, maxHeadersCount, insecureHTTPParser, requireHostHeader', {
  options: { maxHeaderSize: 200, insecureHTTPParser: true, requireHostHeader: false, joinDuplicateHeaders: true },
  serve: (server) => {
    server.maxHeadersCount = 3
    server.on('request', (request, response) => response.end(JSON.stringify(request.headers)))
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.send('GET / HTTP/1.1\r\nA: \x01\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n')
    expect(JSON.parse((await client.response()).body)).toEqual({ a: '\x01', b: '2', c: '3' })
    await stage.asleep()
    client.send(GET('/', `X: ${'x'.repeat(300)}\r\n`))
    expect((await client.response()).status).toBe(431)
    await client.over()
  }
})

class Asking extends http.IncomingMessage {
  asked = true
}
class Answering extends http.ServerResponse<Asking> {
  answered = true
}

parityFromEach('the options of the server: classes of its own', {
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

parityFromEach('the options of the server: noDelay, keepAlive', {
  options: { noDelay: false, keepAlive: true, keepAliveInitialDelay: 20_000 },
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await keptAlive(stage.port, client.port)
    await client.get('/')
    await stage.asleep()
    // TCP's own keep-alive watches over those who sleep too.
    await keptAlive(stage.port, client.port)
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
    const client = await stage.connect('slept')
    expect((await client.get('/now')).body).toBe('[/now]')
  },
  // Without park it is the same socket that got the warm-up.
  check: ({ connections: [log] }) => expect(log).not.toContain('data GET /now'),
  design: (seen) => ({
    ...seen,
    connections: seen.connections.map((log) => log.flatMap((event) => withData(event)))
  })
})

function withData(event: string): string[] {
  return event.startsWith('GET /now: HTTP') ? [event, 'data GET /now'] : [event]
}

parity('a handler that keeps the socket of a request busy: it is not parked while that writes', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(`[${request.url}]`)
      if (request.url !== '/1') return
      // Not HTTP, but the socket is the application's as well.
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
    await stage.asleep()
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

parity('memory is given back: the parsers that are let go of are not those in use', {
  serve: echoPath,
  play: async (stage) => {
    const clients: Client[] = []
    for (let i = 0; i < 50; i++) clients.push(await stage.open())
    for (let round = 0; round < 6; round++) {
      const answers = clients.map((client, i) => client.get(`/${round}/${i}`))
      if (round % 3 === 1) await release()
      expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(clients.map((_, i) => `[/${round}/${i}]`))
      if (round % 2 === 0) await stage.asleep(50)
      if (round % 3 === 2) await release()
    }
  }
})

/** Bytes that are not all alike. */
function pattern(length: number): Buffer {
  const unit = Buffer.from(Array.from({ length: 9973 }, (_, i) => 33 + ((i * i) % 90)))
  return Buffer.alloc(length, unit)
}

/** Waits until TCP's keep-alive timer (02) runs on the server's side of a connection. */
async function keptAlive(serverPort: number, clientPort: number): Promise<void> {
  const hex = (port: number): string => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  // Columns: number, local, remote, state (01: established), queues, timer and when it ends.
  const row = new RegExp(`^ *\\d+: ${hex(serverPort)} ${hex(clientPort)} 01 \\S+ 02:`, 'm')
  await until(() => row.test(readFileSync('/proc/self/net/tcp', 'latin1')))
}

/** One request over a Duplex that is no socket. */
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
