/** Limits of a parked HTTP server: what is closed, when, and with which events, the same as with plain Node. */
import type http from 'node:http'
import net, { type Socket } from 'node:net'
import { expect } from 'vitest'
import { GET, IDLE, parity, parityFromEach, pause, type See, silence } from '../support/parity.js'

const POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n'

/** Interval (ms) at which Node checks for timeouts. */
const CHECK = 20
/** Longer than any test. */
const NEVER = 600_000

function echoPath(server: http.Server): void {
  server.on('request', (request, response) => {
    if (request.url !== '/never') response.end(`[${request.url}]`)
  })
}

function tellTimeouts(server: http.Server, see: See, then: (socket: Socket) => void): void {
  server.on('timeout', (socket: Socket) => {
    expect(socket).toBeInstanceOf(net.Socket)
    see(`timeout, destroyed ${socket.destroyed}, writable ${socket.writable}`, socket)
    then(socket)
  })
}

function tellClientErrors(server: http.Server, see: See): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    see(`clientError ${error.code} ${error.message}, writable ${socket.writable}`, socket as Socket)
    socket.end('HTTP/1.1 418 Tea\r\n\r\n')
  })
}

for (const [state, idle] of [
  ['parked', IDLE],
  ['awake', NEVER]
] as const) {
  parity(`keepAliveTimeout, ${state}`, {
    options: { keepAliveTimeout: 200 },
    park: { idle },
    serve: echoPath,
    lasts: 200,
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      await stage.time(() => client.over())
      expect(client.ended).toBe('FIN')
      await stage.have(0)
      await stage.stats(({ closed }) => closed[idle === NEVER ? 'socket' : 'timeout'] === 1)
    }
  })

  parity(`keepAliveTimeout, ${state}: a request begins it anew`, {
    options: { keepAliveTimeout: 1 },
    park: { idle },
    serve: echoPath,
    // Node adds one second.
    lasts: 1,
    play: async (stage) => {
      const client = await stage.open()
      for (let i = 0; i < 3; i++) {
        await client.get('/')
        await pause(400)
        expect(client.ended).toBe(undefined)
      }
      await client.get('/')
      await stage.time(() => client.over())
    }
  })

  parity(`keepAliveTimeout, ${state}, with a listener of 'timeout' that destroys`, {
    options: { keepAliveTimeout: 200 },
    park: { idle },
    serve: (server, see) => {
      echoPath(server)
      tellTimeouts(server, see, (socket) => socket.destroy())
    },
    lasts: 200,
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      await stage.time(() => client.over())
    },
    check: ({ connections: [log] }) => expect(log).toContain('timeout, destroyed false, writable true')
  })

  parity(`keepAliveTimeout, ${state}, with a listener of 'timeout' that says good-bye`, {
    options: { keepAliveTimeout: 1 },
    park: { idle },
    serve: (server, see) => {
      echoPath(server)
      tellTimeouts(server, see, (socket) => socket.end('bye'))
    },
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      await client.reads('bye')
      expect(await client.over()).toBe('FIN')
    }
  })

  parity(`keepAliveTimeout, ${state}, with a listener of 'timeout' that lets it be`, {
    // headersTimeout does not apply to a connection between two requests.
    options: { keepAliveTimeout: 1, headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: CHECK },
    park: { idle },
    serve: (server, see) => {
      echoPath(server)
      tellTimeouts(server, see, () => {})
    },
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/1')
      await stage.until((events) => events.includes('timeout, destroyed false, writable true'))
      await pause(300)
      expect((await client.get('/2')).body).toBe('[/2]')
    }
  })

  parity(`keepAliveTimeout 0, ${state}`, {
    options: { keepAliveTimeout: 0, headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: CHECK },
    park: { idle },
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.open()
      expect((await client.get('/1')).head).not.toContain('Keep-Alive')
      await pause(500)
      expect((await client.get('/2')).body).toBe('[/2]')
    }
  })

  parity(`server.timeout where keepAliveTimeout is 0, ${state}`, {
    options: { keepAliveTimeout: 0 },
    park: { idle },
    serve: (server) => {
      server.timeout = 400
      echoPath(server)
    },
    lasts: 400,
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      await stage.time(() => client.over())
      expect(client.ended).toBe('FIN')
    }
  })

  parity(`a limit that the application gives its sockets, ${state}`, {
    options: { keepAliveTimeout: 0 },
    park: { idle },
    serve: (server) => {
      server.on('connection', (socket: Socket) => socket.setTimeout(400))
      echoPath(server)
    },
    lasts: 400,
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      await stage.time(() => client.over())
      expect(client.ended).toBe('FIN')
    }
  })
}

parity('headersTimeout: a silent connection gets 408', {
  options: { headersTimeout: 300, requestTimeout: 0, connectionsCheckingInterval: CHECK },
  serve: echoPath,
  lasts: 300,
  play: async (stage) => {
    const client = await stage.open()
    await stage.time(() => client.over())
    expect(client.received).toMatch(/^HTTP\/1\.1 408 /)
    expect(client.ended).toBe('FIN')
    await stage.have(0)
  }
})

parity("headersTimeout: a silent connection, with 'clientError'", {
  options: { headersTimeout: 300, requestTimeout: 0, connectionsCheckingInterval: CHECK },
  serve: (server, see) => {
    echoPath(server)
    tellClientErrors(server, see)
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.open()
    await stage.time(() => client.over())
    expect(client.received).toMatch(/^HTTP\/1\.1 418 /)
  },
  check: ({ connections: [log] }) => {
    expect(log?.[0]).toBe('clientError ERR_HTTP_REQUEST_TIMEOUT Request timeout, writable true')
  }
})

parity('requestTimeout without headersTimeout: a silent connection gets 408', {
  options: { headersTimeout: 0, requestTimeout: 300, connectionsCheckingInterval: CHECK },
  serve: echoPath,
  lasts: 300,
  play: async (stage) => {
    const client = await stage.open()
    await stage.time(() => client.over())
    expect(client.received).toMatch(/^HTTP\/1\.1 408 /)
  }
})

parity('no limits: a silent connection stays open', {
  options: { headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 1, connectionsCheckingInterval: CHECK },
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.open()
    await pause(500)
    expect((await client.get('/')).body).toBe('[/]')
  }
})

parityFromEach('headersTimeout: half of a head', {
  options: { headersTimeout: 300, requestTimeout: 0, connectionsCheckingInterval: CHECK },
  serve: echoPath,
  lasts: 300,
  play: async (stage) => {
    const client = await stage.connect()
    // The time of a parked connection begins with its first byte.
    if (client.received !== '') await pause(200)
    void client.send('G')
    await stage.time(async () => {
      await silence()
      void client.send('ET / HTTP/1.1\r\n')
      await client.over()
    })
    expect(client.received).toContain('HTTP/1.1 408 ')
  }
})

parityFromEach("headersTimeout: half of a head, with 'clientError'", {
  options: { headersTimeout: 200, requestTimeout: 0, connectionsCheckingInterval: CHECK },
  serve: (server, see) => {
    echoPath(server)
    tellClientErrors(server, see)
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('GET / HTTP/1.1\r\n')
    await client.over()
    expect(client.received).toContain('HTTP/1.1 418 ')
  }
})

parityFromEach('headersTimeout: a head in time, byte by byte', {
  options: { headersTimeout: 5000, requestTimeout: 0, connectionsCheckingInterval: CHECK },
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    for (const byte of 'GET / HTTP/1.1\r\nHost: x\r\n\r\n') {
      void client.send(byte)
      await pause(10)
    }
    expect((await client.response()).body).toBe('[/]')
  }
})

for (const from of ['parked', 'awake'] as const) {
  parity(`an empty line between two requests is not the beginning of one (${from})`, {
    from,
    options: { headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: CHECK },
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.connect()
      void client.send('\r\n')
      await pause(400)
      expect((await client.get('/')).body).toBe('[/]')
    }
  })
}

parityFromEach('requestTimeout: half of a body', {
  options: { headersTimeout: 100, requestTimeout: 300, connectionsCheckingInterval: CHECK },
  serve: (server) => {
    server.on('request', (request, response) => {
      request.resume().on('end', () => response.end())
    })
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.time(async () => {
      void client.send(`${POST}half`)
      await client.over()
    })
    expect(client.received).toContain('HTTP/1.1 408 ')
  }
})

parityFromEach('requestTimeout: a handler may take longer', {
  options: { headersTimeout: 50, requestTimeout: 100, connectionsCheckingInterval: CHECK },
  serve: (server) => {
    server.on('request', async (request, response) => {
      if (request.url !== '/warm') await pause(300)
      response.end('late')
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    expect((await client.get('/')).body).toBe('late')
  }
})

for (const limit of [1, 2, 3]) {
  // The client closes after `Connection: close`; otherwise the keep-alive timeout does.
  const options = { keepAliveTimeout: 1 }
  parity(`maxRequestsPerSocket: ${limit}`, {
    options,
    serve: (server) => {
      server.maxRequestsPerSocket = limit
      echoPath(server)
    },
    play: async (stage) => {
      const client = await stage.open()
      for (let i = 1; i <= limit; i++) {
        const { head } = await client.get(`/${i}`)
        expect(head.includes('Connection: close')).toBe(i === limit)
        if (i < limit) await stage.untilParked()
      }
      expect(await client.over()).toBe('FIN')
    }
  })

  parityFromEach(`maxRequestsPerSocket: ${limit}, and more in one packet`, {
    options,
    serve: (server) => {
      server.maxRequestsPerSocket = limit
      server.on('request', async (request, response) => {
        // The later requests arrive while the first is answered.
        if (request.url !== '/warm') await silence()
        response.end(`[${request.url}]`)
      })
    },
    play: async (stage) => {
      const client = await stage.connect(limit === 1 ? 'fresh' : undefined)
      void client.send(GET('/1') + GET('/2') + GET('/3') + GET('/4'))
      await client.over()
    }
  })
}

parity('maxRequestsPerSocket: set while the server listens', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.open()
    await client.get('/1')
    await stage.untilParked()
    await client.get('/2')
    stage.server.maxRequestsPerSocket = 2
    await stage.untilParked()
    const { head } = await client.get('/3')
    await stage.untilParked()
    expect(head).toContain('keep-alive')
  }
})

parity('maxRequestsPerSocket: requests with Expect are counted', {
  serve: (server) => {
    server.maxRequestsPerSocket = 3
    echoPath(server)
    server.on('checkContinue', (request, response) => {
      response.writeContinue()
      server.emit('request', request, response)
    })
  },
  play: async (stage) => {
    const client = await stage.connect('parked')
    void client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx')
    expect((await client.response()).status).toBe(100)
    expect((await client.response()).head).toContain('Connection: keep-alive')
    await stage.untilParked()
    expect((await client.get('/2')).head).toContain('Connection: close')
    expect(await client.over()).toBe('FIN')
  }
})

parity('server.timeout: a silent connection', {
  options: { connectionsCheckingInterval: CHECK },
  serve: (server) => {
    server.timeout = 300
    echoPath(server)
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.open()
    await stage.time(() => client.over())
    expect(client).toMatchObject({ received: '', ended: 'FIN' })
  }
})

parity('server.setTimeout() with its listener: a silent connection', {
  serve: (server, see) => {
    server.setTimeout(300, (socket) => {
      see(`timeout, destroyed ${socket.destroyed}`, socket)
      socket.end('HTTP/1.1 503 Too Late\r\n\r\n')
    })
    echoPath(server)
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.open()
    await stage.time(() => client.over())
    expect(client).toMatchObject({ received: 'HTTP/1.1 503 Too Late\r\n\r\n', ended: 'FIN' })
  },
  check: ({ connections: [log] }) => expect(log).toEqual(['timeout, destroyed false'])
})

parityFromEach('server.timeout: half of a head', {
  // On a kept-alive connection, keepAliveTimeout applies until the head is complete.
  options: { keepAliveTimeout: 1 },
  serve: (server) => {
    server.timeout = 300
    echoPath(server)
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.time(async () => {
      void client.send('GET / HTTP/1.1\r\n')
      await client.over()
    })
  }
})

parityFromEach('keepAliveTimeout: half of a head after an idle time', {
  options: { keepAliveTimeout: 1, headersTimeout: NEVER, requestTimeout: NEVER },
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('GET / HTTP/1.1\r\n')
    // A new connection is not kept alive yet.
    if (client.received !== '') await Promise.race([client.over(), pause(3000)])
    expect(client.ended).toBe(client.received === '' ? undefined : 'FIN')
  }
})

parityFromEach('server.timeout: a handler that does not answer', {
  serve: (server) => {
    server.timeout = 300
    echoPath(server)
  },
  lasts: 300,
  play: async (stage) => {
    const client = await stage.connect()
    await stage.time(async () => {
      void client.send(GET('/never'))
      await client.over()
    })
    expect(client.ended).toBe('FIN')
  }
})

parity('server.timeout does not close connections between two requests', {
  serve: (server) => {
    server.timeout = 100
    echoPath(server)
  },
  play: async (stage) => {
    const client = await stage.open()
    await client.get('/1')
    await pause(400)
    expect((await client.get('/2')).body).toBe('[/2]')
  }
})

parityFromEach('request.setTimeout(), response.setTimeout(), socket.setTimeout()', {
  serve: (server, see) => {
    server.on('request', (request, response) => {
      if (request.url === '/warm') {
        response.end()
        return
      }
      const { socket } = request
      request.resume()
      if (request.url === '/1') request.setTimeout(100, () => response.end('[request]'))
      if (request.url === '/2') response.setTimeout(100, () => response.end('[response]'))
      if (request.url === '/3') socket.setTimeout(100, () => see('socket timeout', socket))
      if (request.url === '/3') response.on('timeout', () => response.end('[socket]'))
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf')
    expect((await client.response()).body).toBe('[request]')
    void client.send('whole.')
    await stage.untilParked()
    expect((await client.get('/2')).body).toBe('[response]')
    await stage.untilParked()
    expect((await client.get('/3')).body).toBe('[socket]')
  }
})
