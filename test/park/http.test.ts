/**
 * Requests and connections of a parked server: the same bytes as with plain Node, wherever the connection is parked.
 */
import net, { type Socket } from 'node:net'
import { release } from 'ebb'
import { expect } from 'vitest'
import { type Client, echoPath, GET, parity, parityFromEach, pause, silence } from '../support/parity.js'

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

parity('keep-alive: parked between any two requests', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.untilParked()
    for (let i = 0; i < 5; i++) {
      expect((await client.get(`/${i}`)).body).toBe(`[/${i}]`)
      await stage.untilParked()
      // The first byte causes the first wake.
      await stage.stats(({ woken, parkedAgain }) => woken === i + 1 && parkedAgain === i + 1)
    }
  }
})

parity('keep-alive: several connections, parked at different times', {
  serve: echoPath,
  play: async (stage) => {
    const clients = []
    for (let i = 0; i < 8; i++) clients.push(await stage.connect())
    for (let round = 0; round < 3; round++) {
      await stage.untilParked(8)
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
    void client.send(GET('/1') + GET('/2') + GET('/3'))
    for (const path of ['/1', '/2', '/3']) expect((await client.response()).body).toBe(`[${path}]`)
    await stage.untilParked()
    expect((await client.get('/4')).body).toBe('[/4]')
  }
})

parityFromEach('pipelined: answered in the order of the requests, whichever response is ready first', {
  serve: (server) => {
    server.on('request', (request, response) => {
      const rank = Number(request.url?.slice(1))
      if (Number.isNaN(rank)) response.end('[/warm]')
      else setTimeout(() => response.end(`[${request.url}]`), (3 - rank) * 3 * 30)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(GET('/1') + GET('/2') + GET('/3'))
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
    void client.send(GET('/1') + second.slice(0, 20))
    await client.reads('0')
    void client.send(second.slice(20, 30))
    expect((await client.response()).body).toMatch(/!/)
    // The connection must not count as idle: half of a head is in the parser.
    await silence()
    void client.send(second.slice(30))
    expect((await client.response()).body).toBe('[/2]')
  }
})

parityFromEach('pipelined: half of a head arrives with the end of the previous request, then silence, then the rest', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    const second = GET('/2')
    for (const cut of [1, 3, 5, 14, second.length - 3, second.length - 1]) {
      void client.send(GET(`/${cut}`) + second.slice(0, cut))
      expect((await client.response()).body).toBe(`[/${cut}]`)
      await silence()
      void client.send(second.slice(cut))
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
      void client.send(piece)
    }
    expect((await client.response()).body).toBe('[/slowly]')
    await stage.untilParked()
    expect((await client.get('/again')).body).toBe('[/again]')
  }
})

parityFromEach('a request begins with empty lines', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send(`\r\n\r\n${GET('/1')}`)
    expect((await client.response()).body).toBe('[/1]')
    await stage.untilParked()
    // The empty line that some old clients send after a body, not counted in its length.
    void client.send('\r\n')
    await silence()
    void client.send(GET('/2'))
    expect((await client.response()).body).toBe('[/2]')
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
      void client.send(`${head}early`)
      await client.reads('HTTP/1.1 101 Go On\r\n\r\n')
      for (const word of ['one', 'two', 'three']) {
        await silence()
        await stage.stats(({ awake, parked }) => awake === 1 && parked === 0)
        void client.send(word)
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

parityFromEach('upgrade: refused by the application, and without an upgrade listener', {
  serve: (server) => {
    server.on('request', (request, response) => response.end(`[${request.url} ${request.headers.upgrade}]`))
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/ws', 'Connection: Upgrade\r\nUpgrade: x\r\n')).body).toBe('[/ws x]')
    await stage.untilParked()
    expect((await client.get('/', '')).body).toBe('[/ undefined]')
    void client.send('CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('upgrade: the peer resets the connection', {
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
    void client.send(GET('/ws', 'Connection: Upgrade\r\nUpgrade: echo\r\n'))
    await client.reads('\r\n\r\n')
    await silence()
    client.rst()
    await stage.have(0)
  },
  check: ({ connections: [log] }) => expect(log).toEqual(expect.arrayContaining(['error ECONNRESET', 'close true']))
})

parity('a release of memory frees pooled parsers, not those in use', {
  serve: echoPath,
  play: async (stage) => {
    const clients: Client[] = []
    for (let i = 0; i < 50; i++) clients.push(await stage.open())
    for (let round = 0; round < 6; round++) {
      const answers = clients.map((client, i) => client.get(`/${round}/${i}`))
      if (round % 3 === 1) await release()
      expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(clients.map((_, i) => `[/${round}/${i}]`))
      if (round % 2 === 0) await stage.untilParked(50)
      if (round % 3 === 2) await release()
    }
  }
})
