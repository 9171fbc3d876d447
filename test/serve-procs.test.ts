/** `ebb serve --procs`: several server processes on one port. */
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Cli, ebb, MAIN, run, type Server, server } from './support/cli.js'
import { alive, descendants } from './support/processes.js'
import { until } from './support/sockets.js'

/** Opens connections, which the end of the test closes. `lost()` counts those that the server closed. */
async function crowd(port: number, n: number): Promise<{ sockets: Socket[]; lost: () => number }> {
  let lost = 0
  const one = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket))
      socket.resume().once('error', reject)
      socket.once('close', () => lost++)
    })
  const sockets = await Promise.all(Array.from({ length: n }, one))
  for (const socket of sockets) socket.removeAllListeners('error').on('error', () => {})
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  return { sockets, lost: () => lost }
}

const servers = (cli: Server): number[] => descendants(cli.pid)

/** Resolves when the last line of the log says `n` clients. */
const holds = (cli: Server, n: number): Promise<void> => until(() => cli.clients() === n)

/** Polls a condition that no event announces. */
async function settled(ready: () => boolean): Promise<void> {
  while (!ready()) await wait(20)
}

test.each(['park', 'net'])('%s: all processes listen on one port, and the log has one line for all', async (mode) => {
  const cli = await server(['--procs', '3', '--mode', mode])
  expect(cli.stdout).toMatch(
    new RegExp(`^Listening on 127\\.0\\.0\\.1:\\d+ \\(${mode}, pid ${cli.pid}, 3 servers\\)$`, 'm')
  )
  expect(servers(cli)).toHaveLength(3)
  const { sockets, lost } = await crowd(cli.port, 90)
  await holds(cli, 90)
  for (const socket of sockets.splice(0, 40)) socket.destroy()
  await holds(cli, 50)
  expect(lost()).toBe(40)
  for (const socket of sockets) socket.destroy()
  await cli.said(/^Cycle #\s*1: 0 clients/m)
  const { code, stdout } = await cli.end('SIGTERM')
  expect(code).toBe(0)
  // The same lines as a single server logs, so that the same programs can read them.
  for (const line of stdout.trim().split('\n').slice(1)) {
    expect(line).toMatch(
      /^(Cycle #\s*\d+: \d+ clients \| System: \d+ Inuse: \d+ Released: \d+ Objects: -|Release #.*)$/
    )
  }
})

describe('how a server process is started', () => {
  const THREADS = '--v8-pool-size='
  const ARENAS = 'MALLOC_ARENA_MAX='

  /** Starts two servers and returns the settings of one, in the order in which they count. */
  async function settings(mode: string, env: NodeJS.ProcessEnv = {}, options: string[] = []): Promise<string[]> {
    const args = ['serve', '--port', '0', '--procs', '2', '--mode', mode]
    const cli = new Cli([process.execPath, ...options, MAIN, ...args], { env: { MALLOC_ARENA_MAX: undefined, ...env } })
    await cli.said(/^Listening/m)
    const [pid] = descendants(cli.pid)
    const words = ['cmdline', 'environ'].flatMap((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0'))
    expect(await cli.end('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
    return words.filter((word) => word.startsWith(THREADS) || word.startsWith(ARENAS))
  }

  test('park: with few threads of V8, and one arena of malloc', async () => {
    expect(await settings('park')).toEqual([`${THREADS}1`, `${ARENAS}1`])
  })

  test('what the user has set counts', async () => {
    const own = await settings('park', { MALLOC_ARENA_MAX: '3' }, [`${THREADS}2`])
    expect(own).toEqual([`${THREADS}1`, `${THREADS}2`, `${ARENAS}3`])
  })

  test('net: as Node starts it', async () => {
    expect(await settings('net')).toEqual([])
  })
})

test('--log json prints the same events, with the number of servers', async () => {
  const cli = ebb(['serve', '--port', '0', '--procs', '2', '--log', 'json'])
  await cli.said(/"event":"cycle"/)
  const { stdout } = await cli.end('SIGINT')
  const [listening, cycle] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(listening).toMatchObject({ event: 'listening', mode: 'park', procs: 2, pid: cli.pid })
  expect(cycle).toMatchObject({ event: 'cycle', cycle: 0, clients: 0, objects: null })
})

test('kill -9 of a server closes its connections and no others, and the server is restarted', async () => {
  const cli = await server(['--procs', '4'])
  const { sockets, lost } = await crowd(cli.port, 200)
  await holds(cli, 200)
  for (let round = 0; round < 3; round++) {
    const before = servers(cli)
    const victim = before[Math.floor(Math.random() * before.length)] as number
    const fallen = lost()
    await wait(Math.random() * 150)
    process.kill(victim, 'SIGKILL')
    const [, clients] = await cli.said(new RegExp(`^Server ${victim} ended \\(SIGKILL\\) with (\\d+) clients`, 'm'))
    await settled(() => lost() === fallen + Number(clients))
    await settled(() => {
      const now = servers(cli)
      return (
        now.length === 4 && now.some((pid) => !before.includes(pid) && cli.stdout.includes(`Server ${pid} listens`))
      )
    })
    await holds(cli, 200 - lost())
    // New connections are served, beside those that are still open.
    const more = await crowd(cli.port, 20)
    await holds(cli, 220 - lost())
    for (const socket of more.sockets) socket.destroy()
    await holds(cli, 200 - lost())
  }
  expect(sockets.filter((socket) => !socket.destroyed)).toHaveLength(200 - lost())
  expect(await cli.end('SIGTERM')).toMatchObject({ code: 0 })
})

test('the backoff of a server that keeps dying doubles each time', async () => {
  const cli = await server(['--procs', '2'])
  const kept = servers(cli)[0] as number
  for (const seconds of ['0.1', '0.2', '0.4']) {
    const pid = servers(cli).find((pid) => pid !== kept) as number
    process.kill(pid, 'SIGKILL')
    await cli.said(
      new RegExp(`^Server ${pid} ended \\(SIGKILL\\) with 0 clients; another starts in ${seconds} s$`, 'm')
    )
    await settled(() => servers(cli).some((now) => now !== kept && cli.stdout.includes(`Server ${now} listens`)))
  }
})

test('if all servers are killed at once, the port stays reserved and all are restarted', async () => {
  const cli = await server(['--procs', '3'])
  await crowd(cli.port, 60)
  await holds(cli, 60)
  for (const pid of servers(cli)) process.kill(pid, 'SIGKILL')
  // Meanwhile no other server gets the port, not even to share it.
  const other = await run(['serve', '--port', String(cli.port), '--mode', 'net'])
  expect(other.stderr).toMatch(/^ebb: EADDRINUSE: port \d+ on 127\.0\.0\.1 is taken/)
  await settled(() => (cli.stdout.match(/listens in its place/g) ?? []).length === 3)
  await crowd(cli.port, 30)
  await holds(cli, 30)
})

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s with 150 clients closes all of them, ends every process and exits 0',
  async (signal) => {
    const cli = await server(['--procs', '3'])
    const pids = servers(cli)
    const { lost } = await crowd(cli.port, 150)
    await holds(cli, 150)
    expect(await cli.end(signal)).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(pids.filter(alive)).toEqual([])
    await settled(() => lost() === 150)
  }
)

test('SIGTERM during the start leaves no process', async () => {
  for (const ms of [60, 150, 250]) {
    const cli = ebb(['serve', '--port', '0', '--procs', '6'])
    await wait(ms)
    const pids = descendants(cli.pid)
    const { code, signal } = await cli.end('SIGTERM')
    // Before Node has loaded the program, the signal has its default effect.
    expect([0, null]).toContain(code)
    expect([null, 'SIGTERM']).toContain(signal)
    await settled(() => !pids.some(alive))
  }
})

test('SIGHUP is passed on, and ends the servers and their supervisor', async () => {
  const cli = await server(['--procs', '2'])
  const pids = servers(cli)
  expect(await cli.end('SIGHUP')).toMatchObject({ code: null, signal: 'SIGHUP' })
  expect(pids.filter(alive)).toEqual([])
})

test('SIGUSR2 is passed on to servers that handle it', async () => {
  const cli = await server(['--procs', '2'], {
    env: { NODE_OPTIONS: '--import ebb/auto', EBB_SIGNAL: 'SIGUSR2', EBB_LOG: '1' }
  })
  cli.kill('SIGUSR2')
  await until(() => (cli.stderr.match(/signal/g) ?? []).length >= 2)
  expect(servers(cli)).toHaveLength(2)
  expect(await cli.end('SIGTERM')).toMatchObject({ code: 0 })
})

test('a server that is still running at the second signal is killed', async () => {
  const cli = await server(['--procs', '2'])
  const [stuck] = servers(cli) as [number]
  process.kill(stuck, 'SIGSTOP')
  cli.kill('SIGTERM')
  await settled(() => servers(cli).length === 1)
  expect(await cli.end('SIGTERM')).toMatchObject({ code: 0 })
  expect(alive(stuck)).toBe(false)
})

test('kill -9 of the supervisor, at any moment, ends its servers and frees the port', async () => {
  for (const ms of [0, 80, 200]) {
    const cli = ebb(['serve', '--port', '0', '--procs', '3'])
    if (ms > 0) await wait(ms)
    else await cli.said(/Listening on/)
    const pids = descendants(cli.pid)
    await cli.end('SIGKILL')
    await settled(() => !pids.some(alive))
  }
  const cli = await server(['--procs', '2'])
  const pids = servers(cli)
  const { lost } = await crowd(cli.port, 40)
  await holds(cli, 40)
  await cli.end('SIGKILL')
  await settled(() => !pids.some(alive) && lost() === 40)
  const next = await server(['--port', String(cli.port)])
  expect(next.port).toBe(cli.port)
})

test('a taken port is reported in one sentence, and no server is left', async () => {
  const one = await server()
  const several = await server(['--procs', '2'])
  for (const { port } of [one, several]) {
    for (const mode of ['park', 'net']) {
      const { code, stdout, stderr } = await run(['serve', '--procs', '3', '--mode', mode, '--port', String(port)])
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toBe(
        `ebb: EADDRINUSE: port ${port} on 127.0.0.1 is taken: choose another with --port, or 0 for any that is free\n`
      )
    }
  }
  const elsewhere = await run(['serve', '--procs', '2', '--port', '0', '--host', '192.0.2.1'])
  expect(elsewhere).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^ebb: EADDRNOTAVAIL: this machine has no address 192\.0\.2\.1/)
  })
})

test('an invalid --procs is reported in one sentence', async () => {
  for (const procs of ['0', '-1', 'x', '1025']) {
    const { code, stderr } = await run(['serve', '--procs', procs])
    expect(code).toBe(1)
    expect(stderr).toMatch(/--procs/)
  }
})

// The number of free descriptors decides which call fails first: the pipe, the fork, or several forks in one turn.
test.each([41, 44, 46, 48, 50, 51, 53, 56, 58])(
  '%d descriptors for 40 servers: fails with one sentence',
  async (descriptors) => {
    const command = [process.execPath, MAIN, 'serve', '--port', '0', '--procs', '40']
    // Runs in a process group of its own: a signal for a process that could not be started would reach the whole group.
    const cli = new Cli(['setsid', ...command], { shell: `ulimit -n ${descriptors}` })
    const { code, signal, stdout, stderr } = await cli.ended
    expect({ code, signal, stdout }).toEqual({ code: 1, signal: null, stdout: '' })
    expect(stderr).toMatch(/^ebb: EMFILE: a server process cannot be started: .*EMFILE.*\n$/)
  }
)
