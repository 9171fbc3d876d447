/**
 * Request and response bodies of a parked server, in pieces, with pauses, to slow readers: the same as with plain Node.
 */
import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import { echoBody, echoPath, GET, parityFromEach, pattern, pause, silence, turn } from '../support/parity.js'

parityFromEach('POST: a body in pieces, with silences', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n')
    for (const piece of ['hello', ' ', 'world', '....']) {
      await silence()
      void client.send(piece)
    }
    expect((await client.response()).body).toBe('[hello world....]')
    await stage.untilParked()
    void client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc')
    expect((await client.response()).body).toBe('[abc]')
  }
})

parityFromEach('POST: a chunked body cut anywhere, with trailers', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n')
    const chunked = '5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n'
    for (let i = 0; i < chunked.length; i += 7) {
      await silence()
      void client.send(chunked.slice(i, i + 7))
    }
    expect((await client.response()).body).toBe('[hello world]')
    await stage.untilParked()
    await client.dribble(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`)
    expect((await client.response()).body).toBe('[hello world]')
  },
  check: ({ connections: [log] }) => expect(log?.filter((event) => event === 'end X-Sum,1')).toHaveLength(2)
})

parityFromEach('POST: answered before its body is complete; the rest comes after a silence', {
  serve: echoPath,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello')
    expect((await client.response()).body).toBe('[/1]')
    await silence()
    void client.send(`world${GET('/2')}`)
    expect((await client.response()).body).toBe('[/2]')
    void client.send('POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab')
    expect((await client.response()).body).toBe('[/3]')
    await silence()
    void client.send('c\r\n')
    await silence()
    void client.send(`0\r\n\r\n${GET('/4')}`)
    expect((await client.response()).body).toBe('[/4]')
  }
})

parityFromEach('POST: a body that is not read', {
  serve: (server) => {
    server.on('request', async (request, response) => {
      await pause(request.url === '/warm' ? 0 : 50)
      response.end(`[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    const body = Buffer.alloc(500_000, 'x')
    void client.send(`POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`)
    void client.send(body)
    expect((await client.response()).body).toBe('[/1]')
    await stage.untilParked()
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
    void client.send(`PUT /1 HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`)
    void client.send(body)
    const digest = createHash('sha1').update(body).digest('hex')
    expect((await client.response()).body).toBe(`${body.length} ${digest}`)
    await stage.untilParked()
    expect((await client.get('/2')).status).toBe(200)
  }
})

parityFromEach('Expect: 100-continue', {
  serve: echoBody,
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(100)
    await silence()
    void client.send('hello')
    expect((await client.response()).body).toBe('[hello]')
    await stage.untilParked()
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
    void client.send('POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(100)
    void client.send('hello')
    expect((await client.response()).body).toBe('[hello]')
    await stage.untilParked()
    void client.send('POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    expect((await client.response()).status).toBe(403)
    // Node closes the connection, because it is unknown whether a body follows.
    expect(await client.over()).toBe('FIN')
  }
})

parityFromEach('Expect: an unknown expectation', {
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
    void client.send(GET('/'))
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
      void client.send('HEAD / HTTP/1.1\r\nHost: x\r\n\r\n')
      expect((await client.response({ bodiless: true })).status).toBe(200)
      if (sleeping) await stage.untilParked()
      expect((await client.get('/204')).status).toBe(204)
      if (sleeping) await stage.untilParked()
      expect((await client.get('/304')).status).toBe(304)
      if (sleeping) await stage.untilParked()
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
    await stage.untilParked()
    expect((await client.get('/')).status).toBe(200)
  }
})

parityFromEach('HTTP/1.0', {
  serve: (server) => {
    server.on('request', (request, response) => {
      // Without a length, a response to HTTP/1.0 ends with the connection.
      response.setHeader('Content-Length', 4)
      response.end(request.url === '/warm' ? 'warm' : `[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    void client.send('GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    const { head, body } = await client.response()
    expect(head).toMatch(/^Connection: keep-alive$/m)
    expect(body).toBe('[/1]')
    await stage.untilParked()
    void client.send('GET /2 HTTP/1.0\r\n\r\n')
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
    void client.send('GET / HTTP/1.0\r\n\r\n')
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
    // In this scenario, parked and awake connections are told apart by their number.
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
    void client.send(GET('/large') + GET('/pipelined'))
    await client.reads('HTTP/1.1 200')
    for (let i = 0; i < 3; i++) {
      client.socket.pause()
      await silence()
      client.socket.resume()
      await turn()
    }
    expect((await client.response()).body).toMatch(/\r\nthe end\r\n0\r\n\r\n$/)
    expect((await client.response()).body).toBe('[/pipelined]')
    await stage.untilParked()
    expect((await client.get('/after')).body).toBe('[/after]')
  },
  check: ({ connections: [log] }) => expect(log).toEqual(expect.arrayContaining(['write false', 'drain']))
})

parityFromEach('a reader that reads nothing for a long time: its connection stays awake', {
  serve: (server) => {
    server.on('request', (request, response) => {
      response.end(request.url === '/large' ? pattern(20_000_000) : `[${request.url}]`)
    })
  },
  play: async (stage) => {
    const client = await stage.connect()
    client.socket.pause()
    void client.send(GET('/large'))
    for (let i = 0; i < 5; i++) {
      await silence()
      await stage.stats(({ awake }) => awake === 1)
    }
    client.socket.resume()
    const { body } = await client.response()
    expect(body === pattern(20_000_000).toString('latin1')).toBe(true)
    await stage.untilParked()
    expect((await client.get('/after')).body).toBe('[/after]')
  }
})

parityFromEach('a slow response, and one that is sent in small pieces', {
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
    await stage.untilParked()
    expect((await client.get('/trickle')).body).toContain('[/trickle]')
    await stage.untilParked()
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
    void client.send(Array.from({ length: 100 }, (_, i) => GET(`/${i},`)).join(''))
    await silence()
    client.socket.resume()
    for (let i = 0; i < 100; i++) {
      expect((await client.response()).body).toBe(Buffer.alloc(50_000, `/${i},`).toString())
    }
  }
})
