/** `ebb pulse`, `ebb bench` and `ebb box` at servers that talk, from the command line. */
import { spawnSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { Cli, ebb, run } from './support/cli.js'
import { directory, freePort } from './support/sockets.js'

const SERVER = fileURLToPath(new URL('./support/talking-server.mjs', import.meta.url))
const ONCE = ['-i', '1', '--pulses', '0']

/** Starts a server in a process of its own. */
async function talking(scheme: string): Promise<Cli & { port: number }> {
  const cli = new Cli([process.execPath, SERVER, scheme])
  const [, port] = await cli.said(/^(\d+)$/m)
  return Object.assign(cli, { port: Number(port) })
}

/** What connections say, by scheme. */
const SAYING = {
  http: ['--every', '50ms'],
  ws: ['--message', '{id} {n}', '--expect-echo', '--every', '50ms', '--ping', '100ms'],
  mqtt: ['--topic', 'a/{id}', '--message', '{n}', '--qos', '1', '--every', '50ms', '--ping', '100ms']
}

const SCHEMES = ['http', 'ws', 'mqtt'] as const

test.each(SCHEMES)('several processes speak %s', async (scheme) => {
  const { port } = await talking(scheme)
  const args = ['pulse', `${scheme}://localhost:${port}/`, '--big', '30', ...ONCE, '-l', '1', '--procs', '2', '--json']
  const { code, stdout, stderr } = await run([...args, ...SAYING[scheme]])
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('note') })
  const { connected, traffic, answers, unanswered } = JSON.parse(stdout)
  expect({ connected, unanswered }).toEqual({ connected: 30, unanswered: {} })
  expect(traffic.sent).toBeGreaterThan(60)
  expect(traffic.answered).toBeGreaterThan(60)
  if (scheme !== 'http') expect(traffic.pongs).toBeGreaterThan(30)
  expect(answers.uncorrected).not.toBe(null)
})

test.each(SCHEMES)('a server of %s that is killed is lost, and said to be', async (scheme) => {
  const server = await talking(scheme)
  const url = `${scheme}://127.0.0.1:${server.port}`
  const cli = ebb([
    'pulse',
    url,
    '--big',
    '40',
    '-i',
    '3',
    '--pulses',
    '0',
    '-l',
    '1',
    '-bs',
    '100ms',
    ...SAYING[scheme]
  ])
  await cli.said(/40 connected/)
  server.kill('SIGKILL')
  const { code, stdout, stderr } = await cli.ended
  expect(code).toBe(2)
  expect(stdout).toMatch(/^lost while held +40 \(/m)
  expect(stdout).toMatch(/^failed +40 \(ECONNREFUSED 40\)$/m)
  expect(stderr).toMatch(/nothing connected any more to (http|ws|mqtt):/)
})

test('wrong answers are counted by cause, and each cause has a sentence', async () => {
  const { port } = await talking('http')
  const refused = await run(['pulse', `ws://127.0.0.1:${port}/`, '--big', '5', ...ONCE, '-l', '0'])
  expect(refused).toMatchObject({ code: 2, stdout: expect.stringMatching(/^failed +5 \(HTTP_200 5\)$/m) })
  expect(refused.stderr).toContain('the server does not agree to speak WebSocket')
  const garbage = await run(['pulse', `mqtt://127.0.0.1:${port}`, '--big', '5', ...ONCE, '-l', '0', '--json'])
  expect(JSON.parse(garbage.stdout)).toMatchObject({ failed: { GARBAGE: 5 }, connected: 0 })
})

test.each([
  [['pulse', 'ftp://host/'], 'the scheme ftp:// is not known'],
  [['pulse', 'ws://host/', '--method', 'PUT'], '--method is for http://'],
  [['pulse', 'tcp://host:1', '--header', 'a: b'], '--header is for http:// or ws://'],
  [['pulse', 'http://host/', '--header', 'a'], 'a header is "Name: value"'],
  [['pulse', 'http://host/', '--message', 'x'], '--message is not for HTTP: give --body'],
  [['pulse', 'http://host/', '--payload', 'x'], '--payload is not for HTTP: give --body'],
  [['pulse', 'http://host/', '--expect-echo'], '--expect-echo is not for HTTP'],
  [['pulse', 'ws://host/', '--every', '5s'], '--every needs a message to send: give --message'],
  [['pulse', 'ws://host/', '--message', 'a', '--every', '0'], '--every of 0 needs answers to wait for: give --expect'],
  [['pulse', 'ws://host/', '--message', 'a', '--payload', 'a'], '--payload is another name of --message'],
  [['pulse', 'ws://host/', '--message', ''], '--message "": it must not be empty'],
  [['pulse', 'host:1', '--procs', '1k'], '--procs "1k": it must be a whole number from 1 to 256'],
  [['pulse', 'tls://host:1', '--cert', SERVER], '--cert and --key belong together'],
  [['pulse', 'ws://host/', 'http://host/', '--subprotocol', 'a'], '--subprotocol is for ws://'],
  [['pulse', 'http://host/', '--ca', '/no/such'], 'cannot read /no/such'],
  [['pulse', 'http://host/', '--insecure'], '--insecure is for tls://'],
  [['pulse', 'mqtt://host', '--topic', 'a'], '--topic and --message belong together'],
  [['pulse', 'unix:/run/a', '--swarm', 'a'], 'a swarm cannot reach a Unix socket'],
  [['pulse', 'wss://127.0.0.1:1/', '--swarm', 'a', '--ca', SERVER], 'are not sent to the agents of a swarm'],
  [['pulse', 'wss://127.0.0.1:1/', '--swarm', 'a', '--cert', SERVER, '--key', SERVER], 'are not sent to the agents'],
  [
    ['bench', '--url', 'ws://127.0.0.1:{port}/', '--method', 'GET', '--', 'node', 'server.js'],
    '--method is for http://'
  ],
  [['bench', '--url', 'ws://127.0.0.1:{port}/'], '--url needs a server'],
  [['bench', '--url', 'ws://127.0.0.1/', '--', 'node', 'server.js', '{port}'], 'write {port}']
])('refuses %j', async (args, why) => {
  const { code, stderr } = await run(args)
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(why) })
})

const SMALL = [
  '--big',
  '20',
  '--small',
  '10',
  '-i',
  '1',
  '-l',
  '300ms',
  '-bs',
  '100ms',
  '-ss',
  '100ms',
  '--pulses',
  '1'
]

test('ebb bench gives bytes per WebSocket', async () => {
  const command = ['--', process.execPath, SERVER, 'ws', '{port}']
  const args = ['bench', '--url', 'ws://localhost:{port}/', '--ping', '100ms', ...SMALL]
  const { code, stdout, stderr } = await run([...args, ...command])
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('failed') })
  expect(stdout).toMatch(/^per WebSocket +(?:[✓~✗] )?-?[\d,]+ B$/m)
  const json = await run([...args, '--json', ...command])
  expect(JSON.parse(json.stdout).verdicts[0]).toMatchObject({ protocol: 'ws', big: 20, failed: 0, lost: 0 })
})

test('ebb box speaks to its servers', async () => {
  const folder = directory()
  writeFileSync(
    join(folder, 'box.yaml'),
    `rest: 200ms
servers:
  - command: ['${process.execPath}', '${SERVER}', 'mqtt', '{port}']
    plan: { big: 20, iterations: 1, small: 10, pulses: 1, linger: 300ms, bigSeparation: 100ms }
    connect: { url: 'mqtt://127.0.0.1:{port}', topic: 'a/{id}', payload: '{n}', qos: 1, every: 50ms, ping: 100ms }
`
  )
  const { code, stderr } = await run(['box', join(folder, 'box.yaml')])
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringMatching(/failed|lost|answer/) })
})

/** Debian installs nginx in a directory that may not be in a user's `PATH`. */
const PATH = `${process.env.PATH}:/usr/sbin`
const hasNginx = spawnSync('sh', ['-c', 'command -v nginx'], { env: { PATH } }).status === 0

describe.skipIf(!hasNginx)('nginx', () => {
  test('answers requests, closes idle connections, and is asked for what it does not have', async () => {
    const [folder, port] = [directory(), await freePort()]
    // If root starts nginx, its workers run as another user.
    chmodSync(folder, 0o755)
    writeFileSync(join(folder, 'index.html'), 'x'.repeat(100_000))
    writeFileSync(
      join(folder, 'nginx.conf'),
      `daemon off; pid ${folder}/pid; worker_processes 1; events { worker_connections 500; }
http { access_log off; keepalive_timeout 500ms; gzip on; gzip_min_length 1; gzip_types text/html;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder};
  scgi_temp_path ${folder}; server { listen 127.0.0.1:${port}; root ${folder}; } }`
    )
    new Cli(['nginx', '-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], { env: { PATH } })
    const url = `http://127.0.0.1:${port}`
    await vi.waitFor(async () => expect((await fetch(url)).status).toBe(200), { timeout: 30_000, interval: 50 })
    const asked = async (
      path: string,
      ...args: string[]
    ): Promise<{ lost: object; traffic: object; unanswered: object }> => {
      const { stdout } = await run(['pulse', `${url}${path}`, '--big', '20', ...ONCE, '--json', ...args])
      return JSON.parse(stdout)
    }
    const whole = await asked('/index.html', '--every', '50ms', '-l', '1')
    expect(whole).toMatchObject({ lost: {}, unanswered: {} })
    // With gzip, nginx sends chunks.
    const gzip = await asked('/index.html', '--every', '50ms', '-l', '1', '--header', 'Accept-Encoding: gzip')
    expect(gzip).toMatchObject({ lost: {}, unanswered: {} })
    expect(await asked('/none', '-l', '0')).toMatchObject({
      unanswered: { HTTP_404: 20 },
      traffic: { statuses: { 404: 20 } }
    })
    expect(await asked('/index.html', '-l', '2')).toMatchObject({ lost: { FIN: 20 }, unanswered: {} })
  })
})
