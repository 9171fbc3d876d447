/** `ebb/park`: servers of programs that do not know of ebb, each in a process of its own. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { Cli, ROOT } from './support/cli.js'
import {
  askUntil,
  ES_IMPORTS,
  echoUntil,
  IMPORT,
  open,
  project,
  SOON,
  serve,
  serveSource,
  webProgram
} from './support/preload.js'
import { freePort } from './support/sockets.js'

/** For programs that start in another folder. */
const PRELOAD = fileURLToPath(import.meta.resolve('ebb/park'))
const LOGGED = { EBB_PARK_IDLE: '1ms' }

describe('an unchanged program: its HTTP connections and WebSockets are parked', () => {
  const PROGRAMS = {
    'import { createServer }': { name: 'app.mjs', source: webProgram(ES_IMPORTS) },
    'import http': {
      name: 'app.mjs',
      source: webProgram(
        "import http from 'http'\nimport * as ws from 'ws'\nconst { createServer } = http, { WebSocketServer } = ws\n"
      )
    },
    'require()': {
      name: 'app.cjs',
      source: webProgram("const { createServer } = require('http')\nconst { WebSocketServer } = require('ws')\n")
    },
    'new http.Server': {
      name: 'app.cjs',
      source: webProgram(
        "const http = require('http'), { WebSocketServer } = require('ws'), createServer = (app) => new http.Server(app)\n"
      )
    }
  }

  async function works(file: string, args = IMPORT): Promise<void> {
    const program = await serve(file, SOON, args)
    await askUntil(program.port, 'woken')
    const webSockets = [await open(program.url), await open(program.url)]
    for (const webSocket of webSockets) await echoUntil(webSocket, 'echo parked')
    const closed = Promise.all(webSockets.map(async (webSocket) => (await once(webSocket, 'close'))[0]))
    program.kill('SIGTERM')
    expect(await closed).toEqual([1001, 1001])
    expect(await program.ended).toEqual({ code: 0, signal: null, stdout: `${program.port}\nclosed\n`, stderr: '' })
  }

  test.each(Object.entries(PROGRAMS))('%s', async (_, { name, source }) => {
    await works(join(project({ [name]: source }), name))
  })

  test('-r, and together with ebb/auto', async () => {
    const file = join(project({ 'app.cjs': PROGRAMS['require()'].source }), 'app.cjs')
    await works(file, ['-r', 'ebb/park'])
    await works(file, [...IMPORT, '--import', 'ebb/auto'])
    await works(file, ['-r', 'ebb/auto', '-r', 'ebb/park', ...IMPORT])
  })

  test.each(['esm', 'cjs'] as const)('bundled and minified to one file: %s', async (format) => {
    const folder = project({ 'app.mjs': webProgram(ES_IMPORTS) })
    const outfile = join(folder, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs')
    const banner = {
      js:
        format === 'esm'
          ? "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
          : ''
    }
    await build({
      entryPoints: [join(folder, 'app.mjs')],
      outfile,
      bundle: true,
      minify: true,
      platform: 'node',
      format,
      banner,
      logLevel: 'silent'
    })
    await works(outfile)
  })
})

describe('servers of all kinds', () => {
  test('a class of the program keeps its own methods', async () => {
    const program = await serveSource(`
      import http from 'node:http'
      class Mine extends http.Server {
        stats() { return 'mine' }
        shutdown(done) { this.close(done); this.closeAllConnections() }
      }
      const keys = (object) => Object.keys(object).join()
      const server = new Mine(({ socket }, response) => response.end(server.stats() + (socket === server.last ? '' : ' woken')))
      server.on('request', ({ socket }) => { server.last = socket })
      server.listen(0, () => console.log(server.address().port))
      process.once('SIGTERM', () => server.shutdown(() => console.log('down')))`)
    await askUntil(program.port, 'mine woken')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, stdout: `${program.port}\ndown\n`, stderr: '' })
  })

  test('several servers, each with a line in the log', async () => {
    const program = await serveSource(
      `import http from 'node:http'
      const servers = Array.from({ length: 12 }, () => http.createServer((_, response) => response.end('hello')))
      for (const server of servers) await new Promise((done) => server.listen(0, '127.0.0.1', done))
      console.log(servers[11].address().port)
      process.once('SIGTERM', () => servers.map((server) => server.close()))`,
      LOGGED
    )
    await askUntil(program.port, 'hello')
    program.kill('SIGTERM')
    const { stderr } = await program.ended
    const lines = stderr.trimEnd().split('\n')
    expect(lines).toHaveLength(11)
    expect(lines.pop()).toBe('ebb: parking more servers, without a line for each')
    for (const line of lines) {
      expect(line).toMatch(/^ebb: parking HTTP connections and WebSockets of 127\.0\.0\.1:\d+, idle 1 ms$/)
    }
  })

  test('a server that the program has parked keeps its options, and its WebSockets are parked, too', async () => {
    const program = await serveSource(
      webProgram(`${ES_IMPORTS}import { park } from 'ebb'
        setTimeout(() => park(server, { idle: 1 }).listen(0, '127.0.0.1', () => console.log(server.address().port)))
        await 1`).replace(/server\.listen\(0.*/, ''),
      { EBB_PARK_IDLE: '1h' }
    )
    await askUntil(program.port, 'woken')
    const webSocket = await open(program.url)
    await echoUntil(webSocket, 'echo awake')
    expect(program.stderr).toMatch(/^ebb: parking WebSockets of 127\.0\.0\.1:\d+, idle 3600000 ms\n$/)
  })

  test('park() after listen() adds its methods, and warns of options that come too late', async () => {
    const program = await serveSource(`
      import http from 'node:http'
      import { park } from 'ebb'
      const server = http.createServer((_, response) => response.end(String(server.stats().woken > 1)))
      server.listen(0, () => console.log(server.address().port))
      try { park(server, { proxyProtocol: true }) } catch ({ code }) { console.error(code) }
      console.error(park(server, { idle: '5s', carry: undefined }) === server, server.supported)
      try { park(server) } catch ({ code }) { console.error(code) }`)
    await askUntil(program.port, 'true')
    expect(program.stderr.replace(/\(node:\d+\)|\(Use .*\n/g, '').split('\n')).toEqual([
      'ERR_INVALID_ARG_VALUE',
      'true true',
      'ERR_INVALID_ARG_VALUE',
      ' [EBB_OPTIONS_IGNORED] Warning: ebb/park has parked this server when it began to listen: call park() before listen(), for idle to have an effect',
      ''
    ])
  })

  test('https is parked until the handshake, http2 never', async () => {
    const folder = project({
      'app.mjs': `
        import fs from 'node:fs'
        import http2 from 'node:http2'
        import https from 'node:https'
        const pem = fs.readFileSync('pem')
        const app = (_, response) => response.end('hello')
        const servers = [
          https.createServer({ cert: pem, key: pem }, app),
          http2.createSecureServer({ cert: pem, key: pem, allowHTTP1: true }, app),
          http2.createServer(app)
        ]
        for (const server of servers) await new Promise((done) => server.listen(0, '127.0.0.1', done))
        console.log(JSON.stringify(servers.map((server) => server.address().port)))`
    })
    spawnSync(
      'openssl',
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout pem -out crt'.split(
        ' '
      ),
      { cwd: folder }
    )
    spawnSync('sh', ['-c', 'cat crt >> pem'], { cwd: folder })
    const program = new Cli([process.execPath, '--import', PRELOAD, 'app.mjs'], {
      cwd: folder,
      env: LOGGED
    })
    const [, ports = ''] = await program.said(/^(\[.*\])\n/m)
    const [tls, secure, plain] = JSON.parse(ports) as [number, number, number]
    for (const port of [tls, secure]) {
      const request = https.get({ port, host: '127.0.0.1', rejectUnauthorized: false })
      expect(await text((await once(request, 'response'))[0])).toBe('hello')
    }
    const session = http2.connect(`http://127.0.0.1:${plain}`)
    expect(await text(session.request())).toBe('hello')
    session.close()
    expect(program.stderr).toBe(`ebb: parking TLS connections until their handshake of 127.0.0.1:${tls}\n`)
  })

  test('in workers of a cluster and in worker threads', async () => {
    const server = webProgram(ES_IMPORTS)
    const folder = project({
      'server.mjs': server,
      'cluster.mjs': `import cluster from 'node:cluster'
        cluster.setupPrimary({ exec: new URL('server.mjs', import.meta.url).pathname })
        for (let i = 0; i < 2; i++) cluster.fork()`,
      'thread.mjs': `import { Worker } from 'node:worker_threads'
        const workers = [1, 2].map(() => new Worker(new URL('server.mjs', import.meta.url)))`
    })
    for (const file of ['cluster.mjs', 'thread.mjs']) {
      const program = await serve(join(folder, file))
      await askUntil(program.port, 'woken')
      await echoUntil(await open(program.url), 'echo parked')
      expect(program.stderr).toBe('')
    }
  })
})

describe('servers of net', () => {
  /** Says when its listener is called: at once for a plain server, at the first byte for a parked one. */
  const program = (listen: string, more = '') => `
    import net from 'node:net'
    ${more}
    const server = net.createServer((socket) => {
      console.log('connection')
      socket.on('error', () => {}).on('data', (bytes) => socket.write(bytes))
    })
    server.listen(${listen}, () => console.log(server.address().port))`

  async function isParked(port: number, said: () => string): Promise<boolean> {
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    // A plain server has accepted the first connection when it echoes the byte of the second.
    const second = net.connect(port, '127.0.0.1')
    second.write('x')
    await once(second, 'data')
    const count = said().match(/connection/g)?.length
    socket.write('x')
    await once(socket, 'data')
    socket.destroy()
    second.destroy()
    return count === 1
  }

  test.each([
    ['unset', undefined, false],
    ['none', 'none', false],
    ['all', 'all', true],
    ['its port', 'PORT', true],
    ['several ports', '1234, PORT', true],
    ['another port', '1234', false]
  ])('EBB_PARK_NET: %s', async (_, value, parked) => {
    const port = await freePort()
    const env = { ...SOON, EBB_PARK_NET: value?.replace('PORT', String(port)) }
    const server = await serveSource(program(`${port}, '127.0.0.1'`), env)
    expect(await isParked(port, () => server.stdout)).toBe(parked)
    const onHandle = `import { createServer } from 'node:net'
      const first = createServer()
      await new Promise((done) => first.listen(${port}, '127.0.0.1', done))`
    server.kill('SIGKILL')
    await server.ended
    // The port of a handle is known only when the server listens.
    const second = await serveSource(program('first._handle', onHandle), { ...env, EBB_PARK_LOG: '1' })
    expect(second.stderr.includes('TCP connections until their first byte')).toBe(parked)
  })

  test('the primary of a cluster goes on giving connections to its workers', async () => {
    const folder = project({
      'app.mjs': `import cluster from 'node:cluster'
        import net from 'node:net'
        if (cluster.isPrimary) cluster.fork()
        else {
          const server = net.createServer((socket) => socket.pipe(socket))
          server.listen(0, '127.0.0.1', () => console.log(server.address().port))
        }`
    })
    const server = await serve(join(folder, 'app.mjs'), { EBB_PARK_NET: 'all' })
    const socket = net.connect(server.port, '127.0.0.1')
    socket.write('hello')
    expect(String((await once(socket, 'data'))[0])).toBe('hello')
    socket.destroy()
    expect(server.stderr.match(/parking/g)).toHaveLength(1)
  })
})

describe('EBB_PARK_HTTP and EBB_PARK_WS', () => {
  test.each([
    ['none', 'all', 'same', 'parked'],
    ['all', 'none', 'woken', 'awake'],
    ['1', '0', 'woken', 'awake'],
    ['1234', '1234', 'same', 'awake']
  ])('%s, %s', async (http, ws, answer, state) => {
    const program = await serveSource(webProgram(ES_IMPORTS), { ...SOON, EBB_PARK_HTTP: http, EBB_PARK_WS: ws })
    await askUntil(program.port, answer)
    await echoUntil(await open(program.url), `echo ${state}`)
  })
})

test('EBB_PARK_CARRY: properties of sockets survive sleep', async () => {
  const program = await serveSource(
    `import http from 'node:http'
    let last
    const server = http.createServer(({ socket }, response) => {
      response.end(socket === last ? 'same' : 'woken ' + socket.user + socket.other)
      Object.assign(last = socket, { user: 'ann', other: 1 })
    })
    server.listen(0, () => console.log(server.address().port))`,
    { ...SOON, EBB_PARK_CARRY: 'user, other' }
  )
  await askUntil(program.port, 'woken ann1')
})

describe('variables', () => {
  const start = (env: NodeJS.ProcessEnv, args = IMPORT) =>
    spawnSync(process.execPath, [...args, '-e', 'console.log(1)'], { cwd: ROOT, env, encoding: 'utf8' })

  test.each([
    ['HTTP', 'yes', 'all, none, or ports such as 3000 or 3000,8080'],
    ['WS', '3000,', 'all, none, or ports such as 3000 or 3000,8080'],
    ['NET', '65536', 'all, none, or ports such as 3000 or 3000,8080'],
    ['IDLE', 'soon', "milliseconds, or a time with a unit such as '250ms', '5s' or '2m'"],
    ['DEFLATE', '2', '1 or 0'],
    ['CARRY', 'a,,b', 'names of properties such as user,session'],
    ['GIVE_BACK', 'no', '1 or 0'],
    ['LOG', 'quiet', '1 or 0']
  ])('EBB_PARK_%s=%s is refused', (name, value, what) => {
    expect(start({ [`EBB_PARK_${name}`]: value })).toMatchObject({
      status: 1,
      stdout: '',
      stderr: `ebb/park: EBB_PARK_${name} must be ${what}, not ${JSON.stringify(value)}\n`
    })
  })

  test('unknown ones cause a warning, except those of others', () => {
    const env = {
      EBB_PARK_IDEL: '5s',
      EBB_PARK_LOUD: '1',
      EBB_PARK_SERVICE_HOST: 'x',
      EBB_BUDGET: '0.1',
      EBB_PARK_WS: ''
    }
    const both = [...IMPORT, '--import', 'ebb/auto']
    for (const args of [IMPORT, both]) {
      const { status, stdout, stderr } = start(env, args)
      expect({ status, stdout, warnings: stderr.match(/Warning: .*/g) }).toEqual({
        status: 0,
        stdout: '1\n',
        warnings: [
          'Warning: ebb/park ignores the unknown variable EBB_PARK_IDEL: did you mean EBB_PARK_IDLE?',
          expect.stringMatching(/EBB_PARK_LOUD: (did you mean|the known ones are) EBB_PARK_/)
        ]
      })
    }
  })
})

test('a process without servers loads neither net nor the library', () => {
  const source = `const { readFileSync } = require('node:fs')
    console.log(JSON.stringify([process.moduleLoadList, readFileSync('/proc/self/maps', 'latin1').includes('koffi')]))`
  const [plain, preloaded] = [[], IMPORT].map((args) => {
    const { stdout } = spawnSync(process.execPath, [...args, '-e', source], { cwd: ROOT, encoding: 'utf8' })
    return JSON.parse(stdout) as [modules: string[], koffi: boolean]
  }) as [[string[], boolean], [string[], boolean]]
  const added = preloaded[0].filter((name) => !plain[0].includes(name))
  expect(added.filter((name) => /NativeModule (?:net|http|tls|stream|worker_threads)$/.test(name))).toEqual([])
  expect(preloaded[1]).toBe(false)
})

test('child processes and other working directories', async () => {
  const folder = project({ 'app.mjs': webProgram(ES_IMPORTS) })
  const parent = `import { spawn } from 'node:child_process'
    spawn(process.execPath, [${JSON.stringify(join(folder, 'app.mjs'))}], { cwd: '/', stdio: 'inherit' })`
  const file = join(project({ 'parent.mjs': parent }), 'parent.mjs')
  const program = await serve(file, { ...SOON, NODE_OPTIONS: `--import ${PRELOAD}` }, [])
  await askUntil(program.port, 'woken')
})

test('under the permission model: plain Node and one warning, or parked where addons are allowed', async () => {
  const permission = Number.parseInt(process.versions.node, 10) < 23 ? '--experimental-permission' : '--permission'
  const file = join(project({ 'app.mjs': webProgram(ES_IMPORTS) }), 'app.mjs')
  const net = process.allowedNodeEnvironmentFlags.has('--allow-net') ? ['--allow-net'] : []
  const args = [permission, '--allow-fs-read=*', ...net, '--disable-warning=ExperimentalWarning', ...IMPORT]
  const plain = await serve(file, SOON, args)
  await askUntil(plain.port, 'same')
  await echoUntil(await open(plain.url), 'echo awake')
  expect(plain.stderr.match(/\[EBB_UNSUPPORTED\]/g)).toHaveLength(1)
})
